"""A table as CSV (raw names, all digits) and as Markdown (display names, rounded, footnotes)."""

import csv
import io
from collections.abc import Mapping

from segshift.tables.table import DASH, SPREAD, Cell, Column, Number, Row, Table, display

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_csv(table: Table) -> str:
    """Empty cells are dashes. Behind a column ``<name>`` of numbers stand ``<name>_sd``, where one has a
    spread over seeds, and ``<name>_low`` and ``<name>_high``, where one has an interval."""
    parts = [_parts(column, table.column(column.key)) for column in table.columns]
    header = [
        column.key + ending
        for column, own in zip(table.columns, parts, strict=True)
        for ending in (ENDINGS[part] for part in own)
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        cells: list[object] = []
        for own, cell in zip(parts, row.cells, strict=True):
            numbers = [getattr(cell, part, None) for part in own] if isinstance(cell, Number) else [cell]
            cells += ["" if v is None else v for v in [*numbers, *[None] * (len(own) - len(numbers))]]
        writer.writerow(repr(float(cell)) if isinstance(cell, float) else cell for cell in cells)
    return stream.getvalue()


ENDINGS = {"value": "", "spread": "_sd", "low": "_low", "high": "_high"}


def _parts(column: Column, cells: list[Cell]) -> list[str]:
    """What of a column's numbers stands in columns of their own."""
    numbers = [cell for cell in cells if isinstance(cell, Number)]
    if column.kind == "span":
        return ["low", "high"]
    spread = column.kind == "dice" and any(number.spread is not None for number in numbers)
    interval = any(number.low is not None for number in numbers)
    return ["value", *(["spread"] if spread else []), *(["low", "high"] if interval else [])]


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
