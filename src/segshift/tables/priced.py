"""What a rule of selection costs, with the interval of the cost.

Beside the cost in overall Dice that a selection shows stands the cost in DG: how much lower the mean over
other datasets than the source is than that of the choice by test scores. Interval and cost take both choices
as given: that the best was chosen by these very scores makes the cost look somewhat larger than it is.
"""

from collections.abc import Sequence
from dataclasses import replace

from segshift.grid import Grid
from segshift.statistics import intervals
from segshift.statistics.sample import Cell, sample
from segshift.table_entries import SelectionTable
from segshift.tables.asked import Asked
from segshift.tables.means import weights
from segshift.tables.samples import Groups, cell, groups
from segshift.tables.selection import RULES
from segshift.tables.table import Column, Evidence, Number, Row, Table

GIVEN = "Intervals of costs are 95 % and take the choices as given."


def build(table: Table, grid: Grid, entry: SelectionTable) -> Table:
    """A selection with intervals of its costs, and costs in DG; as it is where it has no costs."""
    rules = [rule for rule in RULES if any(column.key == f"{rule}_cost" for column in table.columns)]
    if not rules:
        return table
    keys = [column.key for column in table.columns]
    price = Price(grid, entry, groups(grid))
    columns: list[Column] = []
    for column in table.columns:
        if column.key in {f"{rule}_cost" for rule in rules}:
            extra = replace(
                column, key=column.key.replace("_cost", "_cost_dg"), title="Cost in DG", interval=True
            )
            columns += [replace(column, interval=True), extra]
        else:
            columns.append(column)
    rows = tuple(_row(row, keys, rules, price) for row in table.rows)
    known = any(number.low is not None for row in rows for number in row.cells if isinstance(number, Number))
    said = (GIVEN,) if known else ()
    return replace(table, columns=tuple(columns), rows=rows, remarks=(*table.remarks, *said))


class Price:
    """Prices choices against the choice by test scores."""

    def __init__(self, grid: Grid, entry: SelectionTable, group: Groups) -> None:
        self.grid, self.average, self.group = grid, entry.average, group

    def cost(self, best: Sequence[Evidence], chosen: Sequence[Evidence]) -> Number:
        """How much better the best is, with its interval; a dash if one has no scores."""
        if not best or not chosen:
            return Number(None)
        found = sample([self._cells(best), self._cells(chosen)])
        value = float(found.values[0] - found.values[1])
        interval = intervals.of_difference(found, 0, 1)
        number = Number(value, tuple(chosen))
        return number if interval is None else replace(number, low=interval.low, high=interval.high)

    def _cells(self, scores: Sequence[Evidence]) -> list[Cell]:
        shares: Sequence[float] = [1 / len(scores)] * len(scores)
        if self.average == "anatomy_first":
            anatomies = (self.grid.config.datasets[score.target].anatomy for score in scores)
            asked = [
                Asked(score.model, score.target, anatomy=anatomy)
                for score, anatomy in zip(scores, anatomies, strict=True)
            ]
            shares = weights(asked, self.average)
        return [cell(score, share, self.group) for score, share in zip(scores, shares, strict=True)]


def _row(row: Row, keys: list[str], rules: list[str], price: Price) -> Row:
    oracle = row.cells[keys.index("oracle_cost")] if "oracle_cost" in keys else None
    best = oracle.scores if isinstance(oracle, Number) else ()
    cells = []
    for key, own in zip(keys, row.cells, strict=True):
        if key not in {f"{rule}_cost" for rule in rules}:
            cells.append(own)
            continue
        if not isinstance(own, Number) or own.value is None:
            cells += [own, Number(None)]
            continue
        found = price.cost(best, own.scores)
        cells += [replace(own, low=found.low, high=found.high)]
        cells += [price.cost(*([one for one in ones if _shifted(one)] for ones in (best, own.scores)))]
    return replace(row, cells=tuple(cells))


def _shifted(score: Evidence) -> bool:
    return score.target != score.model.source
