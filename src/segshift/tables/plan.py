"""Which tables there are, what each shows, which are made together. Plain Python: the Snakefile asks it."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from segshift.grid import Grid, Model


def names(grid: Grid) -> list[str]:
    """Tables that `all` builds: those of tables.yaml with anything to show, or else one an experiment."""
    entries = grid.config.tables
    return [name for name in entries if _makes(grid, name)] if entries else built(grid)


def built(grid: Grid) -> list[str]:
    """Experiments that `all` builds: those of which something can be made."""
    return [name for name in grid.experiments if grid.config.experiments[name].in_all and grid.scored(name)]


def _makes(grid: Grid, table: str) -> bool:
    entry = grid.config.tables[table]
    experiments = [name for name in entry.experiments if grid.config.experiments[name].in_all]
    if not entry.in_all or (entry.experiments and not experiments):
        return False
    return not entry.experiments or any(
        not grid.planned(model, target) and shows(grid, table, model, target)
        for name in experiments
        for model, target in grid.experiments[name].scores
    )


def shows(grid: Grid, table: str, model: Model, target: str) -> bool:
    """True if a table's `where` keeps a score; one from before adaptation is of every adaptation."""
    where = grid.config.tables[table].where
    if not where:
        return True
    axes = model._asdict() | {"anatomy": grid.config.datasets[model.source].anatomy}
    axes["adapt"] = model.adapt or "none"
    return all(
        axes[axis] in names or (axis == "adapt" and target == model.source) for axis, names in where.items()
    )


def jobs(grid: Grid) -> dict[str, list[str]]:
    """All tables of tables.yaml by the job that makes them.

    Those that `all` builds from the same experiments are made by one job: to start Python and MLflow and to
    read the scores takes seconds, a table milliseconds. Every other table is made alone.
    """
    usual = set(names(grid))
    found: dict[str, list[str]] = {}
    for name, entry in grid.config.tables.items():
        together = entry.experiments if name in usual else []
        found.setdefault("tables_" + "_".join(together) if together else f"table_{name}", []).append(name)
    return found


class Needs(NamedTuple):
    """What tables are made of: experiments whose scores they show, datasets that they count, and origins of
    imported scores that stand beside them."""

    experiments: list[str]
    datasets: list[str]
    origins: list[str]


def needs(grid: Grid, tables: Iterable[str]) -> Needs:
    """What tables of tables.yaml are made of, as far as it can be made."""
    entries = [grid.config.tables[name] for name in tables]
    known = grid.datasets()
    experiments = dict.fromkeys(name for entry in entries for name in entry.experiments if grid.scored(name))
    counted = dict.fromkeys(name for entry in entries for name in getattr(entry, "expected", ()))
    origins = dict.fromkeys(origin for entry in entries if (origin := getattr(entry, "beside", None)))
    return Needs(list(experiments), [name for name in counted if name in known], list(origins))


def digest(grid: Grid, table: str) -> str:
    """Digest of what a table of tables.yaml shows beside numbers: its entry, names, and experiments."""
    entry = grid.config.tables[table]
    datasets = {name: grid.config.datasets[name] for name in getattr(entry, "expected", ())}
    named = {name: [data.anatomy, data.modality, data.module] for name, data in datasets.items()}
    digests = [experiment_digest(grid, name) for name in entry.experiments]
    return _digest([entry.model_dump(), named, digests, grid.config.labels])


def experiment_digest(grid: Grid, experiment: str) -> str:
    """Digest of what an experiment's table shows beside numbers: scores, what is left out, title, names."""
    entry, expanded = grid.config.experiments[experiment], grid.experiments[experiment]
    scores = [(model.path, target, grid.planned(model, target)) for model, target in expanded.scores]
    left_out = [(model.path, target, reason) for model, target, reason in expanded.left_out]
    more = [] if entry.statistics is True else [entry.model_dump(include={"statistics"})]
    return _digest([entry.title, grid.config.labels, scores, left_out, *more])


def _digest(shown: list[object]) -> str:
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]
