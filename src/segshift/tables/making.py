"""Any table of scores: of tables.yaml, a selection, or an experiment's own."""

from collections.abc import Sequence
from dataclasses import replace

from segshift.grid import Grid
from segshift.measures import METRICS
from segshift.table_entries import SelectionTable, Statistics
from segshift.tables import aggregate, layout, selection
from segshift.tables.asked import Asked, Tracked, not_checked
from segshift.tables.table import Table


def build(grid: Grid, name: str, asked: list[Asked], tracked: Tracked, remarks: Sequence[str] = ()) -> Table:
    """A table of scores.

    Args:
        grid: the configuration, expanded.
        name: a table's number in tables.yaml, or an experiment.
        asked: the scores that it should have, see ``asked.of_grid`` and ``runs.asked``.
        tracked: what is known of them.
        remarks: what is to be said about all of it, before its own remarks.
    """
    table = _build(grid, name, asked, tracked, remarks)
    return replace(table, remarks=(*table.remarks, *not_checked(tracked.unchecked)))


def _build(grid: Grid, name: str, asked: list[Asked], tracked: Tracked, remarks: Sequence[str]) -> Table:
    entry = grid.config.tables.get(name)
    if entry is None:
        table = aggregate.build(grid, name, asked, tracked)
        wanted = grid.config.experiments[name].statistics
        settings = wanted if isinstance(wanted, Statistics) else Statistics()
        return _bearing(table, grid, settings, quiet=True) if wanted else table
    if isinstance(entry, SelectionTable):
        table = selection.build(grid, name, asked, tracked, remarks)
        if not entry.statistics:
            return table
        from segshift.tables import priced

        return priced.build(table, grid, entry)
    table = layout.build(grid, name, asked, tracked, remarks)
    if not entry.statistics:
        return table
    settings = entry.statistics if isinstance(entry.statistics, Statistics) else Statistics()
    return _bearing(table, grid, settings, METRICS[entry.metric].rises)


def _bearing(
    table: Table, grid: Grid, settings: Statistics, rises: bool = True, quiet: bool = False
) -> Table:
    """The table with its statistics; imported here, since numpy and scipy take half a second."""
    if any(score.origin for number in table.numbers for score in number.scores):
        return table  # somebody's numbers, to be printed beside ours
    from segshift.tables import bearing

    return bearing.build(table, grid, settings, rises, quiet)
