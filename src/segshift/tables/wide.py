"""A table in print where the names of an axis stand beside each other, as in the thesis's 4.3 and 4.5."""

from collections.abc import Mapping
from dataclasses import replace

from segshift.tables.table import Cell, Column, Number, Row, Table, display


def wide(table: Table, across: str | None, labels: Mapping[str, Mapping[str, str]]) -> Table:
    """One row for all names of an axis; the other columns stand once, or once a name under its label.

    Args:
        table: a long table; it is returned as it is if the axis has fewer than two names in it.
        across: the axis' column, or None.
        labels: display names by axis.
    """
    names = list(dict.fromkeys(table.column(across))) if across else []
    if len(names) < 2:
        return table
    at = {column.key: i for i, column in enumerate(table.columns) if column.shown and column.key != across}
    once = [key for key in at if table.columns[at[key]].kind == "text" and key != "anatomies"]
    many = [key for key in at if key not in once and table.columns[at[key]].kind != "text"]
    lines: dict[tuple[Cell, ...], dict[Cell, Row]] = {}
    for row in table.rows:
        name = row.cells[[column.key for column in table.columns].index(across)]
        lines.setdefault(tuple(row.cells[at[key]] for key in once), {})[name] = row
    columns = [table.columns[at[key]] for key in once]
    for name in names:
        group = display(Column(across, "", "text"), name, labels)
        columns += [replace(table.columns[at[key]], key=f"{name}_{key}", group=group) for key in many]
    rows = [_row(head, found, names, once, many, at) for head, found in lines.items()]
    return replace(table, columns=tuple(columns), rows=tuple(rows))


def _row(
    head: tuple[Cell, ...],
    found: Mapping[Cell, Row],
    names: list[Cell],
    once: list[str],
    many: list[str],
    at: Mapping[str, int],
) -> Row:
    cells: list[Cell] = list(head)
    notes: dict[str, tuple[str, ...]] = {}
    for row in found.values():
        for key in once:
            if key in row.notes:
                notes[key] = tuple(dict.fromkeys((*notes.get(key, ()), *row.notes[key])))
    for name in names:
        row = found.get(name)
        for key in many:
            cells.append(row.cells[at[key]] if row else Number(None))
            if row and key in row.notes:
                notes[f"{name}_{key}"] = row.notes[key]
    return Row(tuple(cells), notes)
