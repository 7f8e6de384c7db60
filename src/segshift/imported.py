"""Scores that ``import-runs`` put into MLflow, read back in bulk."""

import json
from collections.abc import Iterable
from pathlib import Path

from segshift import tracking
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model
from segshift.mlflow_store import Run as Tracked
from segshift.mlflow_store import Store
from segshift.paths import Results
from segshift.syncing import CELL
from segshift.tables.runs import Run

PUBLISHED = "published"  # the origin, unless another is named
ORIGIN = "origin"  # tag: whose scores they are
PRINTED = "segshift.printed."  # tag: what the tables of an experiment print of a model, as JSON


def read(grid: Grid, results: Results, origin: str = PUBLISHED) -> list[Run]:
    """The lines of the file that was imported, from MLflow, in the order of the models' paths.

    Raises:
        SegShiftError: nothing was imported, or MLflow does not have it any more.
    """
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    known = _known(results).get(tracking.key(results, uri), {})
    where = tracking.shown(uri)
    if not known:
        raise SegShiftError(f"no runs were imported into {where}: run segshift import-runs FILE")
    if origin not in known:
        raise unknown("unknown origin", origin, known)
    database = tracking.database(uri)
    if database and not database.exists():
        raise SegShiftError(f"the tracking database {database} is gone: run segshift import-runs FILE")
    ids = known[origin]
    found = Store(uri, grid.config.project.tracking.experiment).runs(list(ids.values()))
    if gone := [path for path, run in ids.items() if run not in found]:
        raise SegShiftError(
            f"{len(gone)} imported runs are gone from {where}, the first is {gone[0]}: "
            "run segshift import-runs FILE"
        )
    return [line for run in ids.values() for line in _lines(found[run])]


def memory(results: Results) -> Path:
    """The file that remembers which runs were imported."""
    return results.tracking / "imported.json"


def _known(results: Results) -> dict[str, dict[str, dict[str, str]]]:
    try:
        return json.loads(memory(results).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _lines(run: Tracked) -> Iterable[Run]:
    where = f"MLflow run {run.info.run_id}"
    try:
        model = Model.parse(run.data.tags[CELL])
        printed = {
            key.removeprefix(PRINTED): json.loads(value)
            for key, value in sorted(run.data.tags.items())
            if key.startswith(PRINTED)
        }
        for experiment, known in printed.items():
            counts = known["trainable"], known["head"]
            for target, tables in known["tables"].items():
                dice = run.data.metrics[f"test/{target}/dice"]
                for table in tables:
                    yield Run(where, experiment, model, target, dice, table, *counts, run.info.run_id)
    except (KeyError, TypeError, ValueError) as error:
        raise SegShiftError(
            f"{where} does not hold what was imported ({error!r}): run segshift import-runs FILE"
        ) from None
