"""The typed table: behind every number stand the scores that it was made of."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from segshift.grid import Model

DASH = "–"
MEANS = "DS on the source itself, DG on its siblings, OV on all."
LEGEND = f"Dice in %: {MEANS}"
LEAST_P = 0.001  # smaller p-values are printed as below it
SPREAD = "± is the standard deviation over seeds."
SUMMARIES = {"mean": "Mean", "all": "All"}  # in place of a name: a row over all names of an axis


class Volume(NamedTuple):
    """A test volume: its patient, and Dice in percent, the mean over its classes."""

    name: str
    patient: str
    dice: float


@dataclass(frozen=True)
class Evidence:
    """One score: Dice in percent of a model on a target's test volumes, of which it is the mean.

    ``cell``: the model's path. ``validation``: its Dice on the target's validation volumes, where that is
    known. ``volumes`` and ``run`` (the id of the MLflow run) are empty if the score comes from a plain file.
    In a table of another metric it is that metric wherever Dice is said.
    ``origin``: whose score it is, where it is not this project's.
    """

    cell: str
    target: str
    dice: float
    volumes: tuple[Volume, ...] = ()
    run: str = ""
    validation: float | None = None
    origin: str = ""

    @property
    def model(self) -> Model:
        """The model's place on every axis, its seed among them."""
        return Model.parse(self.cell)


@dataclass(frozen=True)
class Number:
    """A number of a table, or a dash; ``spread``: the standard deviation over seeds, if there are several.

    ``scores``: what it was made of, one for each model (so for each seed) and target. ``weights``: of a mean,
    how much of each score is in it, in the same order; they sum to 1, and ``value`` is the weighted sum. So
    a mean of the same kind over other values of the same scores (one seed's, resampled volumes') is a sum
    with the same weights. A number that is no mean (a difference, a rank, a count) has none.
    ``bold``: among the best of its column, as the table's entry says.
    ``low``, ``high``: its interval, where the table has statistics; of the kind ``span``, all there is.
    """

    value: float | None
    scores: tuple[Evidence, ...] = ()
    spread: float | None = None
    bold: bool = False
    weights: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def by_seed(self) -> dict[int, float]:
        """A mean over seeds, seed by seed; each is the same mean over the scores of one seed."""
        parts: dict[int, list[tuple[float, float]]] = {}
        for score, weight in zip(self.scores, self.weights, strict=False):
            parts.setdefault(score.model.seed, []).append((weight, score.dice))
        return {
            seed: math.fsum(w * dice for w, dice in part) / math.fsum(w for w, _ in part)
            for seed, part in sorted(parts.items())
        }


Cell = str | int | Number | None


@dataclass(frozen=True)
class Column:
    """``key`` heads the column in CSV, ``title`` in print, ``group`` stands above neighbours that share it.

    ``kind``: text, whole (an int), count (an int of parameters), millions (a Number: parameters in
    millions), dice, percent or difference (Numbers; the last with its sign), span (a Number: from ``low`` to
    ``high``), p (a Number: a p-value). ``choice``: a text that was
    chosen by scores. ``axis``: whose names a text shows, if not those that ``key`` says. ``shown``: false for
    a column of the CSV alone. ``interval``: intervals of its numbers are printed too.
    """

    key: str
    title: str
    kind: str = "dice"
    group: str = ""
    shown: bool = True
    choice: bool = False
    axis: str = ""
    interval: bool = False


@dataclass(frozen=True)
class Row:
    """Cells in the order of the columns; names on axes are raw, numbers are not rounded.

    ``notes`` maps a column's key to the footnotes of its cell. ``section``: rows of one section stand
    together and are ranked, compared and marked bold among themselves; a line divides sections in print.
    ``axes``: what tells the row apart, a name (``mean``: averaged) by axis; no two rows have the same.
    """

    cells: tuple[Cell, ...]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    section: str = ""
    axes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """``name``: the stem of its files, an experiment or ``table_<number>``. ``remarks``: about all of it.

    ``partial``: scores are missing. ``number``: as in the thesis. ``legend``: what its numbers are.
    ``beside``: what its statistics write in files of their own, by ending.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    partial: bool = False
    number: str = ""
    legend: str = LEGEND
    beside: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def heading(self) -> str:
        """Number and title, as they stand above the table."""
        return f"Table {self.number}: {self.title}" if self.number else self.title

    @property
    def spread(self) -> bool:
        """True if a number has a standard deviation over seeds."""
        return any(number.spread is not None for number in self.numbers)

    @property
    def numbers(self) -> Iterator[Number]:
        """All cells that are numbers, row by row, with the scores behind them."""
        return (cell for row in self.rows for cell in row.cells if isinstance(cell, Number))

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
        if column.kind == "span":
            return f"{cell.low:.0f}" + (f"–{cell.high:.0f}" if cell.high != cell.low else "")
        if column.kind == "p":
            return rounded(cell.value, 3) if cell.value >= LEAST_P else f"<{LEAST_P}"
        text = rounded(cell.value)
        if column.kind == "difference":
            return text if text.startswith("-") or float(text) == 0 else f"+{text}"
        text += f" ± {rounded(cell.spread)}" if cell.spread is not None else ""
        known = column.interval and cell.low is not None and cell.high is not None
        return f"{text} [{rounded(cell.low)}, {rounded(cell.high)}]" if known else text
    if cell is None:
        return DASH
    if isinstance(cell, int):
        return counted(cell) if column.kind == "count" else str(cell)
    return named(column.axis or column.key, cell, labels)


def named(axis: str, name: str, labels: Mapping[str, Mapping[str, str]]) -> str:
    """The display name of a name on an axis (or of an origin); without one, the name."""
    axis = {"source": "dataset", "target": "dataset", "dataset_id": "dataset"}.get(axis, axis)
    if axis == "origin" and name not in labels.get(axis, {}):
        return name.replace("_", " ").capitalize()
    return labels.get(axis, {}).get(name) or SUMMARIES.get(name, name)
