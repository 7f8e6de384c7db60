"""Any table of scores: of tables.yaml, a selection, or an experiment's own."""

from collections.abc import Sequence

from segshift.grid import Grid
from segshift.table_entries import SelectionTable
from segshift.tables import aggregate, layout, selection
from segshift.tables.asked import Asked, Tracked
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
    entry = grid.config.tables.get(name)
    if entry is None:
        return aggregate.build(grid, name, asked, tracked)
    make = selection.build if isinstance(entry, SelectionTable) else layout.build
    return make(grid, name, asked, tracked, remarks)
