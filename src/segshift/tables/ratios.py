"""Intervals of the columns that are ratios of means: differences to the best in percent, and the loss.

Patients are drawn once for all rows. The best is the row that is best in the table, in every drawing.
"""

from dataclasses import replace

from segshift.statistics import ratios
from segshift.table_entries import LOSS, STATISTICS
from segshift.tables.columns import split
from segshift.tables.samples import Groups, cells, is_mean, sections
from segshift.tables.table import Number, Table


def of_ratio(table: Table, group: Groups, models: bool = False, rises: bool = True) -> Table:
    """The table with intervals of ``<statistic>_diff_pct`` (and ``_pct``) and of the loss."""
    keys = [column.key for column in table.columns]
    wanted = {key: pair for key in keys if (pair := _base(key, keys))}
    if not wanted:
        return table
    means = [cell for row in table.rows for cell in row.cells if is_mean(cell)]
    everything = [one for number in means for one in cells(number, group)]
    if not everything or not all(one.volumes for one in everything):
        return table
    draws, rows = ratios.Draws.of(everything), [list(row.cells) for row in table.rows]
    for key, (value, base) in wanted.items():
        for section in sections(table):
            best = _best(table, section, keys.index(value), rises) if base is None else None
            for at in section:
                first = table.rows[at].cells[keys.index(value)]
                second = best if base is None else table.rows[at].cells[keys.index(base)]
                own = table.rows[at].cells[keys.index(key)]
                shown = isinstance(own, Number) and own.value is not None and first is not second
                if shown and is_mean(first) and is_mean(second):
                    found = ratios.of_ratio(cells(first, group), cells(second, group), draws, models=models)
                    if found is not None:
                        rows[at][keys.index(key)] = replace(own, low=found.low, high=found.high)
    return replace(
        table,
        rows=tuple(replace(row, cells=tuple(own)) for row, own in zip(table.rows, rows, strict=True)),
    )


def _base(key: str, keys: list[str]) -> tuple[str, str | None] | None:
    """What a percent column compares: a statistic with the column's best (None), or DG with DS."""
    if key == LOSS:
        shifted = next((name for name in keys if STATISTICS.get(name) == "dg"), None)
        return (shifted, "ds") if shifted and "ds" in keys else None
    statistic, ending = split(key)
    return (statistic, None) if ending in ("_diff_pct", "_pct") and statistic in keys else None


def _best(table: Table, section: list[int], index: int, rises: bool) -> Number | None:
    """The mean that a section's rows are compared with, known by its own difference of 0."""
    means = [cell for at in section if is_mean(cell := table.rows[at].cells[index])]
    return (max if rises else min)(means, key=lambda number: number.value, default=None)
