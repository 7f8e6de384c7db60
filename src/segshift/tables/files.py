"""A table's files: which formats there are, and how they are written."""

from collections.abc import Mapping
from pathlib import Path

from segshift.table_entries import Scores, TableEntry
from segshift.tables import writers
from segshift.tables.html import Pages, to_html
from segshift.tables.latex import to_latex
from segshift.tables.table import Table
from segshift.tables.wide import wide

FORMATS = ("csv", "md", "tex", "html")


def texts(
    table: Table,
    entry: TableEntry | None,
    labels: Mapping[str, Mapping[str, str]],
    pages: Pages | None = None,
) -> dict[str, str | bytes]:
    """What stands in each file of a table, by ending: the CSV is long, print may be wide.

    Args:
        table: what to write.
        entry: of tables.yaml; none for the table of an experiment.
        labels: display names by axis.
        pages: where MLflow shows runs.
    """
    beside = any(column.kind == "difference" for column in table.columns)  # wide enough already
    across = entry.across if isinstance(entry, Scores) and not beside else None
    printed = wide(table, across, labels)
    return {
        "csv": writers.to_csv(table),
        "md": writers.to_markdown(printed, labels),
        "tex": to_latex(printed, labels),
        "html": to_html(printed, labels, pages),
    } | dict(table.beside)


def write(file: Path, text: str | bytes) -> None:
    """Write by rename: a reader sees the old file or the new one."""
    part = file.with_name(file.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(text.encode() if isinstance(text, str) else text)
    part.replace(file)
