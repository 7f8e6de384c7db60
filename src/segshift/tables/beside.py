"""A table's numbers beside somebody else's, with the difference, such as ours beside the published ones.

Their number is made of the same scores as ours, whatever else they have: the same sources, backbones,
tunings, heads, adaptations and targets, by the same formula. Where they lack one it is a dash with a
footnote, so no mean over other models stands beside ours. Seeds are their own.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace

from segshift.grid import Grid
from segshift.table_entries import LOSS, SelectionTable
from segshift.tables import asked as asking
from segshift.tables import making, runs
from segshift.tables.asked import Asked
from segshift.tables.runs import Run
from segshift.tables.table import Cell, Column, Number, Row, Table, named

OURS, DIFFERENCE = "Ours", "Difference"
NOTHING = "They have none of its scores."


def build(grid: Grid, name: str, ours: Table, asked: list[Asked], found: list[Run], origin: str) -> Table:
    """Our table with their numbers in it.

    Args:
        grid: the configuration, expanded.
        name: the table's number in tables.yaml, or an experiment.
        ours: the table as it was built.
        asked: the scores that ours was built of.
        found: their scores.
        origin: whose they are; ends the keys of their columns.
    """
    entry = grid.config.tables.get(name)
    tracked = runs.tracked(found, entry.experiments if entry else [name], origin)
    theirs = making.build(_by_test_scores(grid, name), name, same(asked, found), tracked)
    return merged(ours, theirs, origin, named("origin", origin, grid.config.labels))


def same(asked: Iterable[Asked], found: Iterable[Run]) -> list[Asked]:
    """The scores of ours that are possible, with their seeds."""
    asked = list(asked)
    seeds: dict[tuple[str, ...], set[int]] = {}
    for run in found:
        seeds.setdefault(run.model[1:4], set()).add(run.model.seed)
    usual = set().union(*seeds.values())
    rows = asking.by_model(asked).values()
    possible = {one.score for ones in rows if not asking.waits(ones) for one in ones}
    return list(
        dict.fromkeys(
            replace(one, model=one.model._replace(seed=seed), waits_for=())
            for one in asked
            if one.score in possible
            for seed in sorted(seeds.get(one.model[1:4], usual))
        )
    )


def common(asked: Iterable[Asked], found: Iterable[Run]) -> bool:
    """True if they have any of our scores, be it of another seed."""
    theirs = {(run.model._replace(seed=0), run.target) for run in found}
    return any((one.model._replace(seed=0), one.target) in theirs for one in asked)


def _by_test_scores(grid: Grid, name: str) -> Grid:
    """The same configuration, but a selection is by test scores: other people's files hold no others."""
    entry = grid.config.tables.get(name)
    if not isinstance(entry, SelectionTable):
        return grid
    other = copy.copy(grid)
    tables = grid.config.tables | {name: entry.model_copy(update={"rule": "oracle"})}
    other.config = grid.config.model_copy(update={"tables": tables})
    return other


# ---- two tables into one -----------------------------------------------------------------------------------


def merged(ours: Table, theirs: Table, origin: str, label: str) -> Table:
    """Their columns behind ours: of a mean theirs and the difference, of a rank, a count or a choice theirs.

    Args:
        ours: a table.
        theirs: one of the same entry; rows that ours does not have are left out.
        origin: ends the keys of their columns.
        label: what stands above them in print.
    """
    rows = {_place(row): row for row in theirs.rows}
    pairs = {column.key: _columns(column, origin, label) for column in ours.columns}
    columns = tuple(column for three in pairs.values() for column in three)
    remarks = [f"{label}: {remark}" for remark in theirs.remarks if remark not in ours.remarks]
    differ = any(column.kind == "difference" for column in columns)
    legend = f"{ours.legend} {DIFFERENCE}: ours less theirs ({label}), in points." if differ else ours.legend
    return replace(
        ours,
        columns=columns,
        rows=tuple(_row(row, rows.get(_place(row)), ours, theirs, pairs, label) for row in ours.rows),
        remarks=(*ours.remarks, *remarks),
        legend=legend.strip(),
    )


def _place(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(row.axes.items()))


def _columns(column: Column, origin: str, label: str) -> tuple[Column, ...]:
    """Ours, theirs and the difference. Differences to the best of a column are in the CSV alone."""
    if column.kind == "text" and not column.choice:
        return (column,)
    group = ": ".join(filter(None, (column.group, column.title)))
    printed = column.shown and (column.kind != "percent" or column.key == LOSS)
    own = replace(column, title=OURS, group=group, shown=printed)
    other = replace(
        column, key=f"{column.key}_{origin}", title=label, group=group, shown=printed, axis=column.key
    )
    if column.kind in ("count", "millions"):
        return column, replace(other, shown=False)
    if column.kind not in ("dice", "percent"):
        return own, other
    return own, other, replace(own, key=f"{column.key}_difference", title=DIFFERENCE, kind="difference")


def _row(
    row: Row,
    other: Row | None,
    ours: Table,
    theirs: Table,
    pairs: Mapping[str, tuple[Column, ...]],
    label: str,
) -> Row:
    keys = {column.key: i for i, column in enumerate(theirs.columns)}
    numbers = [cell for cell in other.cells if isinstance(cell, Number)] if other else []
    nothing = not any(number.scores for number in numbers)
    cells: list[Cell] = []
    notes = dict(row.notes)
    for column, cell in zip(ours.columns, row.cells, strict=True):
        own, *more = pairs[column.key]
        cells.append(cell)
        if not more:
            continue
        there = other is not None and own.key in keys
        empty = Number(None) if isinstance(cell, Number) else None
        cells.append(beside := other.cells[keys[own.key]] if there else empty)
        told = other.notes.get(own.key, ()) if other else ()
        if nothing and column.kind in ("dice", "percent"):
            told = (NOTHING,)
        if own.kind == "whole":
            told = ()  # what is said of a rank is said of the row, and stands in it already
        if why := tuple(f"{label}: {note}" for note in told if note not in row.notes.get(own.key, ())):
            notes[more[0].key] = why
        if len(more) == 2:
            cells.append(_difference(cell, beside))
    return replace(row, cells=tuple(cells), notes=notes)


def _difference(ours: Number, theirs: Number) -> Number:
    scores = (*ours.scores, *theirs.scores)
    if ours.value is None or theirs.value is None:
        return Number(None, scores)
    return Number(ours.value - theirs.value, scores)
