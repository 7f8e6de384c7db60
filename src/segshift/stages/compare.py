"""``segshift compare A B``: two rows or two cells on the same patients."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from segshift import grid as grids
from segshift import scores, tracking
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Score
from segshift.paths import Results
from segshift.tables import asked as asking
from segshift.tables import paired, paired_classes, paired_text, runs
from segshift.tables.paired import Comparison, Side
from segshift.tables.paired_classes import Read
from segshift.tables.samples import groups
from segshift.tables.table import Evidence, Volume, named


def run(
    config_folder: str | Path,
    results: Results,
    one: str,
    other: str,
    experiment: str | None = None,
    file: Path | None = None,
    form: str = "text",
) -> Comparison:
    """Print a comparison, and return it.

    Args:
        config_folder: the configuration.
        results: where the score files lie.
        one: a row (backbone/tuning/head) or a cell, see ``tables/paired.py``.
        other: what it is compared with.
        experiment: only scores that this experiment has; default: all.
        file: a plain file of scores instead of results.
        form: ``text``, ``json`` or ``paragraph``.

    Raises:
        SegShiftError: a side is neither row nor cell, or the two have nothing in common.
    """
    grid, sides = grids.read(config_folder), (paired.side(one), paired.side(other))
    if experiment is not None and experiment not in grid.experiments:
        raise unknown("unknown experiment", experiment, grid.experiments)

    @cache  # both the scores and the classes are made of it
    def read(path: str) -> list[scores.Row]:
        own = results.run(path) / "scores.csv"
        return scores.read(own) if own.exists() else []

    found = list(_of_file(grid, file, experiment) if file else _of_results(grid, read, experiment, sides))
    group = groups(grid)
    comparison = paired.compare(*sides, found, group)
    if not file:
        own = [one for pair in paired.pairs(*sides, found)[0] for one in pair[2:]]
        comparison = replace(
            comparison, classes=_classes(grid, read, sides, found), remarks=_remarks(results, own)
        )
    comparison = replace(comparison, names=_names(grid, *sides))
    print(_told(comparison, form))
    return comparison


def _told(found: Comparison, form: str) -> str:
    if form == "json":
        return json.dumps(paired_text.as_json(found), indent=1)
    return paired_text.paragraph(found) if form == "paragraph" else "\n".join(paired_text.lines(found))


def _names(grid: Grid, one: Side, other: Side) -> tuple[str, str]:
    """Display names: of what differs, or all that a side says."""
    axes = ("source", "backbone", "tuning", "head", "seed", "adapt", "target")
    differs = [axis for axis in axes if getattr(one, axis) != getattr(other, axis)] or list(axes)
    shown = []
    for side in (one, other):
        names = {axis: name for axis in differs if (name := getattr(side, axis)) not in (None, "*")}
        words = [
            f"seed {name}" if axis == "seed" else named(axis, name, grid.config.labels)
            for axis, name in names.items()
        ]
        shown.append(", ".join(words) or side.text)
    return shown[0], shown[1]


def _of_results(
    grid: Grid, read: Read, experiment: str | None, sides: tuple[Side, Side]
) -> Iterator[Evidence]:
    """Scores of both sides that score files hold."""
    names = [experiment] if experiment else list(grid.experiments)
    for one in asking.of_grid(grid, names):
        if one.left_out or all(side.place(one.model, one.target) is None for side in sides):
            continue
        rows = read(one.model.path)
        volumes = tuple(
            Volume(*names, dice) for names, dice in scores.by_volume(_test(rows, one.target)).items()
        )
        if volumes:
            dice = scores.mean(volume.dice for volume in volumes)
            yield Evidence(one.model.path, one.target, dice, volumes)


def _test(rows: list[scores.Row], target: str) -> Iterator[scores.Row]:
    return scores.select(rows, target, "test")


def _of_file(grid: Grid, file: Path, experiment: str | None) -> Iterator[Evidence]:
    lines = [run for run in runs.read(file, grid) if experiment in (None, run.experiment)]
    if not lines:
        raise SegShiftError(f"{file} has no scores of the experiment {experiment}")
    for line in {run.score: run for run in lines}.values():
        yield Evidence(line.model.path, line.target, line.dice)


def _remarks(results: Results, found: list[Evidence]) -> tuple[str, ...]:
    """What must be said of scores of another tool's model that were not checked for leakage."""
    unchecked = {
        Score(one.model, one.target)
        for one in found
        if not tracking.checked_for_leakage(
            one.model, tracking.read_record(results.run(one.cell)), one.target
        )
    }
    return tuple(asking.not_checked(unchecked))


def _classes(grid: Grid, read: Read, sides: tuple[Side, Side], found: list[Evidence]) -> dict:
    own, _ = paired.pairs(*sides, found)
    return paired_classes.of_pairs(own, read, lambda target: grid.config.datasets[target].anatomy)
