"""``segshift track``: send journals and scores to MLflow; once, or live while a workflow runs."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from typing import Any

from segshift import grid as grids
from segshift import lock, saved_view, tracking
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model
from segshift.mlflow_store import Gone, Store, StoreError
from segshift.paths import Results, write
from segshift.syncing import Syncer, sent

VARYING = ("source", "backbone", "tuning", "head", "adapt", "target")  # what tells rows of a ranking apart
NAMED = 3  # models in a sentence


def run(
    config_folder: str | Path,
    results: Results,
    experiments: list[str] | None = None,
    follow: bool = False,
    every: float = 15.0,
    out: Path | None = None,
) -> None:
    """Track all models that have a journal.

    Args:
        config_folder: the configuration whose grid says which models there are.
        results: where they lie.
        experiments: only the models of these experiments, source cells included; default: of all.
        follow: go on, a pass every ``every`` seconds, until standard input ends; then a last pass.
        every: seconds between two passes.
        out: a file that lists each tracked model and its MLflow run, written after a complete pass.

    Raises:
        SegShiftError: MLflow does not answer, a model's files are damaged, or another follower runs.
    """
    grid = grids.read(config_folder)
    for name in experiments or ():
        if name not in grid.experiments:
            raise unknown("track: unknown experiment", name, grid.experiments)
    tracker = Tracker(grid, results, grid.models(experiments or None))
    if follow:
        _follow(tracker, results, every)
    else:
        try:
            tracker.tick()
        except StoreError as error:
            raise SegShiftError(f"{error}{tracker.waiting()}") from error
        where = tracking.shown(tracker.uri)
        print(f"tracked {len(tracker.tracked)} models in {where}, {tracker.changed} of them new or changed")
    if out:
        write(out, "".join(f"{path} {run}\n" for path, run in sorted(tracker.tracked.items())))


def _follow(tracker: "Tracker", results: Results, every: float) -> None:
    guard = lock.take(results.tracking / "follow.lock")
    if guard is None:
        raise SegShiftError(f"another follower tracks here: {(results.tracking / 'follow.lock').read_text()}")
    with guard:
        while not select([sys.stdin], [], [], every)[0]:
            try:
                tracker.tick()
            except SegShiftError as error:
                waiting = tracker.waiting() if isinstance(error, StoreError) else ""
                print(f"will try again: {error}{waiting}", flush=True)
        tracker.tick()


class Tracker:
    """Passes over models, and what is remembered between them."""

    def __init__(self, grid: Grid, results: Results, models: list[Model]) -> None:
        self.grid, self.results, self.models = grid, results, models
        self.uri = tracking.uri(results, grid.config.project.tracking.uri)
        self.store: Store | None = None
        self.verified = False
        self.tracked: dict[str, str] = {}
        self.changed = 0

    def tick(self) -> None:
        """One pass, alone: it waits for another process's pass to end.

        Raises:
            SegShiftError: MLflow does not answer; or, after all others were sent, that some models could not
                be read.
        """
        key = tracking.key(self.results, self.uri)
        with alone(self.results.tracking / "lock"):
            cursors = read(self.results.tracking / "cursors.json")
            memory = cursors.setdefault(key, {"models": {}, "runs": {}})
            self.store = self.store or Store(self.uri, self.grid.config.project.tracking.experiment)
            if memory.get("experiment") != self.store.experiment:
                memory = cursors[key] = {"experiment": self.store.experiment, "models": {}, "runs": {}}
            syncer = Syncer(self.grid, self.results, self.store, memory["models"], memory["runs"])
            try:
                if not self.verified:
                    syncer.verify()
                    self.verified = True
                failed = self._sync(syncer)
                self._views(memory)
            finally:
                self._remember(key, cursors)
        if failed:
            raise SegShiftError("could not be tracked: " + "; ".join(failed))

    def waiting(self) -> str:
        """What MLflow does not have as it is on disk, as the end of a sentence; empty if there is nothing."""
        key = tracking.key(self.results, self.uri)
        known = read(self.results.tracking / "cursors.json").get(key, {}).get("models", {})
        with_journal = [m.path for m in self.models if (self.results.run(m.path) / "journal").is_dir()]
        missing = [path for path in with_journal if not sent(self.results.run(path), known.get(path))]
        if not missing:
            return ""
        named = ", ".join(missing[:NAMED]) + (", …" if len(missing) > NAMED else "")
        return f"; not tracked yet, and kept on disk: {len(missing)} of {len(with_journal)} models ({named})"

    def _sync(self, syncer: Syncer) -> list[str]:
        """Sync every model; sentences about those whose files are damaged."""
        failed, self.changed = [], 0
        for model in self.models:
            if not (self.results.run(model.path) / "journal").is_dir():
                continue
            try:
                try:
                    self.changed += syncer.sync(model)
                except Gone:  # somebody deleted it since the last pass
                    syncer.verify()
                    self.changed += syncer.sync(model)
            except StoreError:
                raise
            except SegShiftError as error:
                failed.append(f"{model.path} ({error})")
        return failed

    def _views(self, memory: dict[str, Any]) -> None:
        """Write the saved views that changed; a nicety, so a refusal is only told."""
        models = self.grid.models()
        # of one cell: that with the most attempts, for there is something to see
        known = {path: len(one["runs"]) for path, one in sorted(memory["models"].items())}
        cell = max(known, key=known.get, default=models[0].path if models else "")
        distinct = {axis: {getattr(model, axis) for model in models} for axis in VARYING}
        several = [axis for axis in VARYING if len(distinct[axis]) > 1]
        grouped = several if len({model.seed for model in models}) > 1 else []
        views = saved_view.states(cell, grouped)
        written = memory.setdefault("views", {})
        for key, state in views.items():
            if written.get(key) != state:
                try:
                    self.store.tag_experiment(f"{saved_view.TAG}{key}", state)
                except StoreError as error:
                    print(f"the saved view {key} could not be written: {error}", flush=True)
                else:
                    written[key] = state

    def _remember(self, key: str, cursors: dict[str, Any]) -> None:
        known = cursors[key]["models"]
        write(self.results.tracking / "cursors.json", json.dumps(cursors))
        runs = read(self.results.tracking / "runs.json")
        runs[key] = {path: model["run"] for path, model in sorted(known.items())}
        write(self.results.tracking / "runs.json", json.dumps(runs, indent=1) + "\n")
        self.tracked = {model.path: runs[key][model.path] for model in self.models if model.path in runs[key]}


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Wait for another process to let go of a lock file, and hold it."""
    while (held := lock.take(file)) is None:
        time.sleep(0.2)
    with held:
        yield


def read(file: Path) -> dict[str, Any]:
    """A remembered dict; an empty one where the file is lost or broken, since MLflow can be asked."""
    try:
        content = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
