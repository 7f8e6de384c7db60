"""Friedman's test and critical-difference diagram of a table's rows: an illustration, beside the tie set."""

from segshift.grid import Grid
from segshift.scores import mean
from segshift.statistics.friedman import Friedman, friedman
from segshift.tables import diagram
from segshift.tables.columns import TITLES
from segshift.tables.samples import is_mean, sections
from segshift.tables.table import Evidence, Row, Table, named, rounded


def build(
    table: Table, grid: Grid, deciding: str, blocks: str, rises: bool = True
) -> tuple[list[str], dict[str, str | bytes]]:
    """Remarks, and a diagram as SVG, PDF and PNG where the table has one section.

    Args:
        table: the table.
        grid: for names of rows.
        deciding: the column whose scores are ranked.
        blocks: ``models`` (a trained model: backbone × source) or ``cells`` (with target).
        rises: more is better.
    """
    said, beside, found = [], {}, sections(table)
    for rows in found:
        one = of_rows(table, grid, deciding, rows, blocks, rises)
        if one is None:
            continue
        start = f"{table.rows[rows[0]].section}: " if len(found) > 1 else ""
        what = "trained models" if blocks == "models" else "cells"
        said.append(f"{start}Blocks are {what}. {one.said} {_within(one)}")
        if len(found) == 1:
            beside |= {f"ranks.{form}": diagram.drawn(one, form, table.heading) for form in diagram.FORMATS}
    return said or [
        "Friedman's test is left out: it needs three rows and two blocks that all rows have."
    ], beside


def of_rows(
    table: Table, grid: Grid, deciding: str, rows: list[int], blocks: str = "models", rises: bool = True
) -> Friedman | None:
    """Friedman's test of some rows; None where there are too few rows or blocks."""
    index = [column.key for column in table.columns].index(deciding)
    axes = varying(table, rows)
    values, trainings = {}, set()
    for at in rows:
        number = table.rows[at].cells[index]
        if is_mean(number):
            own = _blocks(number.scores, table.rows[at], blocks)
            values[label(table.rows[at], axes, grid)] = own
            trainings.add(len({score.cell for score in number.scores if not score.model.adapt}) or len(own))
    common = set.intersection(*map(set, values.values())) if values else set()
    if len(values) < 3 or len(common) < 2:
        return None
    return friedman(values, min(trainings), rises)


def _blocks(scores: tuple[Evidence, ...], row: Row, blocks: str) -> dict[tuple[str, ...], float]:
    """A row's values by block; seeds are averaged, since they are repetitions of one block."""
    found: dict[tuple[str, ...], list[float]] = {}
    for score in scores:
        model = score.model
        averaged = [
            getattr(model, axis) for axis in ("backbone", "tuning", "head") if row.axes.get(axis) == "mean"
        ]
        target = [score.target] if blocks == "cells" else []
        found.setdefault((model.source, *averaged, *target), []).append(score.dice)
    return {block: mean(values) for block, values in found.items()}


def varying(table: Table, rows: list[int]) -> list[str]:
    """The axes that tell these rows apart."""
    axes = [axis for axis in TITLES if any(axis in table.rows[at].axes for at in rows)]
    return [axis for axis in axes if len({table.rows[at].axes.get(axis) for at in rows}) > 1] or axes[:1]


def label(row: Row, axes: list[str], grid: Grid) -> str:
    """A row's display name on some axes."""
    return ", ".join(named(axis, row.axes[axis], grid.config.labels) for axis in axes if axis in row.axes)


def _within(one: Friedman) -> str:
    within = one.within
    ranks = f"First by mean rank: {one.names[0]} ({rounded(one.mean_ranks[0])})"
    return f"{ranks}; {len(within)} of {len(one.names)} rows (itself included) lie within it."
