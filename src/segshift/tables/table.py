"""The typed table: behind every number stand the scores that it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal

DASH = "–"
LEGEND = "Dice in %: DS on the source itself, DG on its siblings, OV on all."
SPREAD = "± is the standard deviation over seeds."
SUMMARIES = {"mean": "Mean", "all": "All"}  # in place of a name: a row over all names of an axis


@dataclass(frozen=True)
class Evidence:
    """One score: Dice in percent of a model on a target's test volumes.

    ``validation``: the same on its validation volumes, where that is known. ``volumes`` and ``run`` (the id
    of the MLflow run) are empty if the score comes from a plain file.
    """

    cell: str
    target: str
    dice: float
    volumes: tuple[str, ...] = ()
    run: str = ""
    validation: float | None = None


@dataclass(frozen=True)
class Number:
    """A number of a table, or a dash; ``spread``: the standard deviation over seeds, if there are several.

    ``bold``: among the best of its column, as the table's entry says.
    """

    value: float | None
    scores: tuple[Evidence, ...] = ()
    spread: float | None = None
    bold: bool = False


Cell = str | int | Number | None


@dataclass(frozen=True)
class Column:
    """``key`` heads the column in CSV, ``title`` in print, ``group`` stands above neighbours that share it.

    ``kind``: text, whole (an int), count (an int of parameters), millions (a Number: parameters in
    millions), dice or percent (Numbers). ``shown``: false for a column of the CSV alone.
    """

    key: str
    title: str
    kind: str = "dice"
    group: str = ""
    shown: bool = True


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; names on axes are raw, numbers are not rounded.

    ``notes`` maps a column's key to the footnotes of its cell. ``section``: rows of one section stand
    together and are ranked, compared and marked bold among themselves; a line divides sections in print.
    """

    cells: tuple[Cell, ...]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    section: str = ""


@dataclass(frozen=True)
class Table:
    """``name``: the stem of its files, an experiment or ``table_<number>``. ``remarks``: about all of it.

    ``partial``: scores are missing. ``number``: as in the thesis. ``legend``: what its numbers are.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    partial: bool = False
    number: str = ""
    legend: str = LEGEND

    @property
    def heading(self) -> str:
        """Number and title, as they stand above the table."""
        return f"Table {self.number}: {self.title}" if self.number else self.title

    @property
    def spread(self) -> bool:
        """True if a number has a standard deviation over seeds."""
        cells = [cell for row in self.rows for cell in row.cells]
        return any(isinstance(cell, Number) and cell.spread is not None for cell in cells)

    def column(self, key: str) -> list[Cell]:
        """The cells of a column, from top to bottom."""
        index = [column.key for column in self.columns].index(key)
        return [row.cells[index] for row in self.rows]

    @property
    def footnotes(self) -> list[str]:
        """Footnotes of the cells that print shows, in the order in which a reader meets them."""
        keys = [column.key for column in self.columns if column.shown]
        return list(
            dict.fromkeys(note for row in self.rows for key in keys for note in row.notes.get(key, ()))
        )


def rounded(value: float, decimals: int = 2) -> str:
    """A number as it is shown. The only place that rounds: half away from zero, as people do by hand.

    It is brought to nine decimals first: 0.125 that arithmetic left as 0.12499999999999 is rounded up.
    """
    exact = Decimal(value).quantize(Decimal("1e-9"), ROUND_HALF_UP)
    text = str(exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))
    return text.removeprefix("-") if float(text) == 0 else text


def counted(value: int) -> str:
    """A count of parameters: 967, 52.24K, 4.74M or 1.14G."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if value >= size:
            return rounded(value / size) + unit
    return str(value)


def display(column: Column, cell: Cell, labels: Mapping[str, Mapping[str, str]]) -> str:
    """A cell as every writer shows it: display name, rounded number or dash; no footnotes, nothing escaped.

    Args:
        column: the cell's column; its key says which axis' names apply.
        cell: what stands there.
        labels: display names by axis, as in labels.yaml.
    """
    if isinstance(cell, Number):
        if cell.value is None:
            return DASH
        if column.kind == "millions":
            return counted(round(cell.value * 1e6))
        return rounded(cell.value) + (f" ± {rounded(cell.spread)}" if cell.spread is not None else "")
    if cell is None:
        return DASH
    if isinstance(cell, int):
        return counted(cell) if column.kind == "count" else str(cell)
    axis = {"source": "dataset", "target": "dataset", "dataset_id": "dataset"}.get(column.key, column.key)
    return labels.get(axis, {}).get(cell) or SUMMARIES.get(cell, cell)
