"""A table as CSV (raw names, all digits) and as Markdown (display names, rounded, footnotes)."""

import csv
import io
from collections.abc import Mapping

from segshift.tables.table import DASH, SPREAD, Column, Number, Row, Table, display

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_csv(table: Table) -> str:
    """Empty cells are dashes; a column ``<name>_sd`` follows each number that has a spread over seeds."""
    spread = {
        column.key
        for column in table.columns
        if column.kind == "dice"
        and any(isinstance(cell, Number) and cell.spread is not None for cell in table.column(column.key))
    }
    header = []
    for column in table.columns:
        header += [column.key, f"{column.key}_sd"] if column.key in spread else [column.key]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        cells: list[object] = []
        for column, cell in zip(table.columns, row.cells, strict=True):
            values = [cell.value, cell.spread] if isinstance(cell, Number) else [cell]
            cells += ["" if v is None else v for v in values[: 2 if column.key in spread else 1]]
        writer.writerow(repr(cell) if isinstance(cell, float) else cell for cell in cells)
    return stream.getvalue()


def to_markdown(table: Table, labels: Mapping[str, Mapping[str, str]]) -> str:
    """A title, the table, its numbered footnotes and its remarks.

    Args:
        table: what to write.
        labels: display names by axis, as in labels.yaml.
    """
    numbers = {note: str(n).translate(SUPERSCRIPTS) for n, note in enumerate(table.footnotes, 1)}
    shown = [(i, column) for i, column in enumerate(table.columns) if column.shown]
    grid = [[" ".join(filter(None, (column.group, column.title))) for _, column in shown]]
    grid += [[_cell(column, row, i, labels, numbers) for i, column in shown] for row in table.rows]
    widths = [max(3, *(len(line[i]) for line in grid)) for i in range(len(shown))]
    left = [column.kind == "text" for _, column in shown]
    lines = [
        "| "
        + " | ".join(
            c.ljust(w) if at_left else c.rjust(w) for c, w, at_left in zip(line, widths, left, strict=True)
        )
        + " |"
        for line in grid
    ]
    rule = "|".join(
        f" {'-' * w} " if at_left else f" {'-' * (w - 1)}: " for w, at_left in zip(widths, left, strict=True)
    )
    lines.insert(1, f"|{rule}|")
    title = f"# {table.heading}" + (" (partial)" if table.partial else "")
    notes = [f"{number} {note}" for note, number in numbers.items()]
    explained = " ".join(filter(None, (table.legend, SPREAD if table.spread else "")))
    return "\n\n".join(filter(None, [title, "\n".join(lines), *notes, *table.remarks, explained])) + "\n"


def _cell(
    column: Column,
    row: Row,
    index: int,
    labels: Mapping[str, Mapping[str, str]],
    numbers: Mapping[str, str],
) -> str:
    cell = row.cells[index]
    marks = " ".join(numbers[note] for note in row.notes.get(column.key, ()))
    text = display(column, cell, labels).replace("|", "\\|")
    if isinstance(cell, Number) and cell.bold:
        text = f"**{text}**"
    return f"{text}{marks}" if text == DASH or not marks else f"{text} {marks}"
