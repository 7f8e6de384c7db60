"""In which state every cell of a grid is, from its folder alone; two thousand of them in a fraction of a
second.

A state is what a person would say; ``segshift why`` has the evidence for one cell.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segshift import row_plan, slurm, tracking
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.settings import digest, read_settings
from segshift.steering import logs, workflows
from segshift.steering.code import Code
from segshift.steering.journals import Glance, glance

DONE = ("model.ckpt", "run.json", "scores.csv")
#: State -> its letter in a matrix and what it means.
STATES = {
    "done": ("#", "done"),
    "older": ("o", "made by older code"),
    "changed": ("c", "made with other settings: will be made again"),
    "trained": ("t", "trained, not scored"),
    "running": ("r", "running"),
    "queued": ("q", "queued"),
    "stopped": ("s", "stopped: goes on from its last state"),
    "failed": ("F", "failed"),
    "missing": (".", "missing"),
    "left out": ("x", "left out on purpose"),
    "planned": ("p", "not yet possible"),
}
WORKS = ("RUNNING", "COMPLETING", "STAGE_OUT")  # states of a Slurm job that has started


@dataclass(frozen=True)
class State:
    """What a cell is at.

    ``note`` says more, such as the last line of an error; ``epoch`` of ``epochs`` are finished, ``left`` is
    in seconds, ``seconds`` are those that its training took on its device so far. ``log`` is where to read.
    """

    state: str
    note: str = ""
    seconds: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    left: float | None = None
    log: str | None = None


class States:
    """States of models; the same look at Slurm and at the workflow for all of them."""

    def __init__(self, grid: Grid, results: Results, jobs: Iterable[slurm.Job] = ()) -> None:
        """``jobs``: what Slurm has of this folder."""
        self.grid, self.results = grid, results
        self.jobs: Mapping[str, slurm.Job] = {job.about: job for job in jobs}
        self.code = Code(grid, results)
        self.records: dict[str, dict[str, Any]] = {}  # run.json of finished models, by path
        self.renewed: set[str] = set()  # paths of those that are trained again, or are going to be

    @cached_property
    def workflow(self) -> str | None:
        """Who works in this folder, if somebody does."""
        return workflows.holder(self.results)

    def of(self, model: Model) -> State:
        """A model's state."""
        path = model.path
        if path not in self.grid.jobs and (planned := self.grid.planned(model)):
            return State("planned", f"{', '.join(planned)} planned")
        folder, verb = self.results.run(path), "adapt" if model.adapt else "train"
        files = _files(folder)
        if told := _made_elsewhere(model, folder, files, self.results):
            return told
        trained = "model.ckpt" in files and self._record(path, files) is not None
        seconds = float(self.records[path].get("device_seconds", 0)) if trained else 0.0
        stale = self._stale(folder, files, self.records[path]) if trained else ""
        if stale:
            self.renewed.add(path)
        if working := self._working(path, folder, files, verb, trained, seconds):
            return working
        if not trained:
            return self._unfinished(path, folder, files, verb)
        if stale:
            return State("changed", stale, seconds)
        if "scores.csv" not in files or self._old_scores(files, self.records[path]):
            return self._unscored(path, files, seconds)
        if waiting := self._waiting(path, files):
            return State("trained", f"not scored on {', '.join(waiting)}", seconds)
        if self.records[path].get("code") not in (None, self.code.digest(model)):
            return State("older", "", seconds)
        return State("done", "", seconds)

    @cached_property
    def rows(self) -> dict[str, str]:
        """By path of a model: the row that trains it, if the workflow has one for it."""
        planned = row_plan.read(self.results).items() if self.jobs else ()
        return {path: name for name, row in planned for path in row.models}

    # ---- what is being done ----------------------------------------------------------------------------

    def _working(
        self,
        path: str,
        folder: Path,
        files: Mapping[str, os.DirEntry],
        verb: str,
        trained: bool,
        spent: float,
    ) -> State | None:
        """Running or queued, as the cell's lock, Slurm, and a young log under a workflow say."""
        if "resume" in files and tracking.lives(folder):
            self.renewed.add(path)
            seen = glance(folder)
            log = _log(files, verb)
            if seen is None or seen.status:
                return State("running", "starts", spent, log=log)
            return State("running", "", spent + seen.spent, seen.epoch, seen.epochs, seen.left, log)
        for rule in (verb, "evaluate", "row"):
            name = self.rows.get(path, "") if rule == "row" else f"{rule}_{path.replace('/', '_')}"
            if job := self.jobs.get(name):
                if rule != "evaluate":
                    self.renewed.add(path)
                waits = job.state not in WORKS
                what = "waits" if waits else "runs"
                note = f"{rule}: Slurm job {job.number} {what} ({job.state.lower()})"
                return State("queued" if waits else "running", note, spent)
        if trained and "scores.csv" not in files and "evaluate.log" in files and self.workflow:
            log = files["evaluate.log"]
            young = log.stat().st_mtime >= files["run.json"].stat().st_mtime
            if young and not logs.error(Path(log.path)):
                return State("running", "is being scored", spent, log=log.path)
        return None

    # ---- what is not finished --------------------------------------------------------------------------

    def _unfinished(self, path: str, folder: Path, files: Mapping[str, os.DirEntry], verb: str) -> State:
        seen = glance(folder) if "journal" in files else None
        log = _log(files, verb)
        spent = seen.spent if seen and seen.status != "FINISHED" else 0.0
        if seen and seen.status == "FAILED":
            return State("failed", seen.error or "without a word", spent, seen.epoch, seen.epochs, log=log)
        since = seen.ended if seen else 0.0
        if log and Path(log).stat().st_mtime >= since and (said := logs.error(Path(log))):
            return State("failed", said, spent, log=log)
        for rule in (verb, "row") if self.results.slurm.is_dir() else ():
            file = logs.of_slurm(self.results, path, rule)
            if file and file.stat().st_mtime >= since and (said := logs.slurm_error(file)):
                return State("failed", said, spent, log=str(file))
        if seen and seen.status != "FINISHED":
            return _stopped(seen, folder, spent, log)
        missing = [name for name in DONE if name not in files]
        lost = f"lacks {', '.join(missing)}" if len(missing) < len(DONE) else ""
        return State("missing", lost)

    def _unscored(self, path: str, files: Mapping[str, os.DirEntry], seconds: float) -> State:
        log = _name(files, "evaluate.log")
        if log and (said := logs.error(Path(log))):
            return State("failed", said, seconds, log=log)
        file = logs.of_slurm(self.results, path, "evaluate") if self.results.slurm.is_dir() else None
        if said := logs.slurm_error(file):
            return State("failed", said, seconds, log=str(file))
        note = "its scores are of an older model" if "scores.csv" in files else "no scores yet"
        return State("trained", note, seconds)

    def _waiting(self, path: str, files: Mapping[str, os.DirEntry]) -> list[str]:
        """Targets that were asked for since the model was scored."""
        if "scores" not in files:
            return []
        scored = {entry.name for entry in os.scandir(files["scores"].path)}
        return [target for target in self.grid.targets.get(path, ()) if f"{target}.csv" not in scored]

    # ---- what is finished ------------------------------------------------------------------------------

    def _record(self, path: str, files: Mapping[str, os.DirEntry]) -> dict[str, Any] | None:
        """run.json; None where there is none, or one that is no record (``segshift why`` says so)."""
        if "run.json" not in files:
            return None
        try:
            with open(files["run.json"].path) as stream:
                record = json.load(stream)
            record["run"]
        except (ValueError, KeyError, TypeError):
            return None
        self.records[path] = record
        return record

    def _stale(self, folder: Path, files: Mapping[str, os.DirEntry], record: dict[str, Any]) -> str:
        """Whether settings.yaml is newer than what was made with it, and says something else."""
        if "settings.yaml" not in files or "settings" not in record:
            return ""
        if files["settings.yaml"].stat().st_mtime_ns <= files["run.json"].stat().st_mtime_ns:
            return ""
        return "its settings changed since" if digest(read_settings(folder)) != record["settings"] else ""

    def _old_scores(self, files: Mapping[str, os.DirEntry], record: dict[str, Any]) -> bool:
        """True if scores are older than the model, and name another one."""
        scores = files["scores.csv"]
        mine = record.get("model")
        if mine is None or scores.stat().st_mtime_ns >= files["run.json"].stat().st_mtime_ns:
            return False
        with open(scores.path) as stream:
            header, first = (next(stream, "").rstrip("\n").split(",") for _ in range(2))
        named = dict(zip(header, first, strict=False))
        return named.get("checkpoint") == "model" and named.get("model") != mine


def _made_elsewhere(
    model: Model, folder: Path, files: Mapping[str, os.DirEntry], results: Results
) -> State | None:
    """The state of a model of which nothing but scores can be here: another tool's, or another site's."""
    if model.external and "scores.csv" not in files:
        return State("planned", "segshift score brings its masks' scores")
    if "model.ckpt" in files or not {"run.json", "scores.csv"} <= files.keys():
        return None
    try:
        record = tracking.read_record(folder) or {}
    except SegShiftError:
        return None
    if changed := tracking.scored_before(record, results):
        return State("changed", f"its masks were scored before {', '.join(changed)} changed: segshift score")
    origin = record.get("origin")
    return State("done", f"its scores are {origin}") if origin else None


def _stopped(seen: Glance, folder: Path, spent: float, log: str | None) -> State:
    """An attempt that ended without an error: it was killed, or told to end."""
    saved = (folder / "resume" / "state.ckpt").exists()
    where = "goes on from its last state" if saved else "nothing was saved, so it begins again"
    note = f"{seen.error or 'it ended without a word'}; {where}"
    return State("stopped", note, spent, seen.epoch, seen.epochs, log=log)


def _files(folder: Path) -> dict[str, os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except FileNotFoundError:
        return {}


def _log(files: Mapping[str, os.DirEntry], verb: str) -> str | None:
    """The younger one of a model's own log and of what it said in a row."""
    found = [files[name] for name in (f"{verb}.log", "row.log") if name in files]
    return max(found, key=lambda file: file.stat().st_mtime).path if found else None


def _name(files: Mapping[str, os.DirEntry], name: str) -> str | None:
    return files[name].path if name in files else None
