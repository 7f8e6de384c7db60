"""The typed table: behind every number stand the scores that it was made of."""

from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True)
class Evidence:
    """One score, as it was tracked: Dice in percent of a model on a target's test volumes."""

    cell: str
    target: str
    dice: float
    volumes: tuple[str, ...]
    run: str  # id of the MLflow run


@dataclass(frozen=True)
class Number:
    """A number of a table, or a dash; ``spread``: the standard deviation over seeds, if there are several."""

    value: float | None
    scores: tuple[Evidence, ...] = ()
    spread: float | None = None


@dataclass(frozen=True)
class Column:
    """``key`` heads the column in CSV, ``title`` in print. ``kind``: text, whole, count or dice."""

    key: str
    title: str
    kind: str = "dice"


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; names on axes are raw, numbers are not rounded.

    ``notes`` maps a column's key to the footnotes of its cell.
    """

    cells: tuple[str | int | Number | None, ...]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """``name``: the experiment. ``remarks``: about the whole table. ``partial``: scores are missing."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    partial: bool = False

    def column(self, key: str) -> list[str | int | Number | None]:
        """The cells of a column, from top to bottom."""
        index = [column.key for column in self.columns].index(key)
        return [row.cells[index] for row in self.rows]

    @property
    def footnotes(self) -> list[str]:
        """Footnotes of cells, in the order in which a reader meets them."""
        keys = [column.key for column in self.columns]
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
