"""``segshift import-runs``: scores from a plain file, such as published ones, into MLflow; and back in bulk.

One MLflow run a model, with the tag ``origin``. Importing the same file twice changes nothing. Where a file
says something else than the last time, the run is superseded by a new one: MLflow keeps what was said before.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segshift import grid as grids
from segshift import tracking
from segshift.entries import NAME, Config
from segshift.errors import SegShiftError
from segshift.exported_scores import IMPORTED
from segshift.grid import Grid, Model
from segshift.identity import EXTERNAL
from segshift.imported import ORIGIN, PRINTED, PUBLISHED, memory, read
from segshift.mlflow_store import Run as Tracked
from segshift.mlflow_store import Store
from segshift.pages import link
from segshift.paths import Results, write
from segshift.stages import tabulate_file, track
from segshift.stages.beside import Others
from segshift.syncing import CELL, NAME_AXES, RUN, SUPERSEDED, headline, overall
from segshift.tables import runs
from segshift.tables.runs import Run
from segshift.tables.table import Table

GREY = "#7f7f7f"


def run(
    file: Path,
    config_folder: str | Path,
    results: Results,
    origin: str = PUBLISHED,
    out: Path | None = None,
) -> None:
    """Bring MLflow to what a file says: runs of this origin that it does not name are superseded.

    Args:
        file: a line a score, with the columns of ``config/published/runs.csv``.
        config_folder: says what its datasets and experiments are, and where MLflow is.
        results: where it is remembered which runs they are.
        origin: whose scores these are; each origin is a set of its own.
        out: a file that lists each model and its MLflow run, written when all are there.

    Raises:
        SegShiftError: a mistake in the file, or MLflow does not answer.
    """
    if not NAME.fullmatch(origin):
        raise SegShiftError(f"import-runs: the origin {origin!r} may hold a-z, 0-9 and _ only")
    if origin in (EXTERNAL, IMPORTED):
        raise SegShiftError(f"import-runs: the origin {origin} is that of segshift score and import-scores")
    grid = grids.read(config_folder)
    wanted = entries(runs.read(file, grid), grid, origin)
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    with track.alone(results.tracking / "lock"):
        store = Store(uri, grid.config.project.tracking.experiment)
        ids, made = _import(store, wanted, origin)
        known = track.read(memory(results))
        known.setdefault(tracking.key(results, uri), {})[origin] = ids
        write(memory(results), json.dumps(known, indent=1) + "\n")
    if out:
        write(out, "".join(f"{path} {run}\n" for path, run in sorted(ids.items())))
    scores = sum(len(entry.dice) for entry in wanted.values())
    where = tracking.shown(uri)
    print(f"{origin}: {scores} scores of {len(ids)} models in {where}, {made} of the models new or changed")


def tabulate(
    config_folder: str | Path,
    results: Results,
    folder: Path,
    names: list[str] | None = None,
    origin: str = PUBLISHED,
    other: str | None = None,
) -> list[Table]:
    """Write the tables of what was imported, as ``tabulate --runs`` does from the file, and return them.

    Args:
        config_folder: the configuration, which says what each table is.
        results: where it is remembered which runs they are.
        folder: where to write.
        names: numbers of tables; default: all of which there is a score.
        origin: as it was imported.
        other: an origin or a CSV file, whose numbers are printed beside these.

    Raises:
        SegShiftError: it was not imported, or lacks everything that a named table shows.
    """
    grid = grids.read(config_folder)
    tabulate_file.check(grid, names)
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    found = read(grid, results, origin)
    pages = link(grid, Store(uri, grid.config.project.tracking.experiment))
    return tabulate_file.write(
        grid, found, origin, results, folder, Others(grid, results, other), names, pages
    )


# ---- from lines to MLflow runs -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What the MLflow run of a model holds; ``dice`` by target."""

    tags: dict[str, str]
    parameters: dict[str, str]
    dice: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """Scores, and the means that MLflow's list shows."""
        model = Model.parse(self.tags[CELL])
        scores = {f"test/{target}/dice": value for target, value in self.dice.items()}
        return scores | overall(self.dice, model.source, model.adapt is not None)

    def matches(self, run: Tracked) -> bool:
        """True if a run holds this and no more."""
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        return (run.info.status, tags, run.data.params, run.data.metrics) == (
            "FINISHED",
            self.tags | {SUPERSEDED: "false"},
            self.parameters,
            self.metrics,
        )


def entries(lines: Iterable[Run], grid: Grid, origin: str) -> dict[str, Entry]:
    """What MLflow shall hold, by path of the model."""
    models: dict[Model, list[Run]] = {}
    for line in lines:
        models.setdefault(line.model, []).append(line)
    made = {model.path: _entry(model, own, grid.config, origin) for model, own in models.items()}
    return dict(sorted(made.items()))


def _entry(model: Model, lines: list[Run], config: Config, origin: str) -> Entry:
    axes = {"anatomy": config.datasets[model.source].anatomy} | model._asdict()
    axes |= {"adapt": model.adapt or "none"}
    axes = {axis: str(value) for axis, value in axes.items() if value is not None}
    printed: dict[str, dict[str, Any]] = {}
    for line in sorted(lines, key=lambda line: (line.experiment, line.target, line.table)):
        counts = {"trainable": line.trainable, "head": line.head}
        known = printed.setdefault(line.experiment, {**counts, "tables": {}})
        known |= {key: value for key, value in counts.items() if value is not None}
        tables = known["tables"].setdefault(line.target, [])
        if line.table not in tables:
            tables.append(line.table)
    dice = {line.target: line.dice for line in sorted(lines, key=lambda line: line.target)}
    tags = axes | {CELL: model.path, RUN: origin, ORIGIN: origin}
    tags |= {PRINTED + name: json.dumps(known) for name, known in printed.items()}
    tags |= headline(overall(dice, model.source, model.adapt is not None))
    return Entry(tags, axes | _counts(printed), dice)


def _counts(printed: dict[str, dict[str, Any]]) -> dict[str, str]:
    """``trainable``; one for each experiment where their tables count differently."""
    counts = {name: known["trainable"] for name, known in printed.items() if known["trainable"] is not None}
    if len(set(counts.values())) == 1:
        return {"trainable": str(next(iter(counts.values())))}
    return {f"trainable/{name}": str(count) for name, count in counts.items()}


def _import(store: Store, wanted: dict[str, Entry], origin: str) -> tuple[dict[str, str], int]:
    """Ids of the runs by path of the model, and how many of them were made."""
    there: dict[str, str] = {}
    for known in store.tagged({ORIGIN: origin, SUPERSEDED: "false"}):
        path = known.data.tags.get(CELL, "")
        if path not in there and path in wanted and wanted[path].matches(known):
            there[path] = known.info.run_id
        else:
            store.log(known.info.run_id, tags={SUPERSEDED: "true"})
    ids = {path: there.get(path) or _create(store, entry) for path, entry in wanted.items()}
    return ids, len(ids) - len(there)


def _create(store: Store, entry: Entry) -> str:
    now = tracking.now()
    path = entry.tags[CELL]
    axes = {axis: value for axis in NAME_AXES if (value := entry.tags.get(axis, "none")) != "none"}
    looks = {"mlflow.runColor": GREY, "mlflow.note.content": f"Imported ({entry.tags[ORIGIN]}): `{path}`"}
    run = store.create(" ".join(axes.values()), now, entry.tags | {SUPERSEDED: "false"} | looks)
    store.log(run, [(name, value, now, 0) for name, value in entry.metrics.items()], entry.parameters)
    store.status(run, "FINISHED", now)
    return run
