"""Score files: a row per target, split, checkpoint, volume and class, never averaged. Standard library only.

Dice and IoU are percentages with all digits of a double. A class that neither truth nor prediction shows in a
volume has empty cells and does not count. A row of class ``all`` holds the loss of a volume.
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from segshift.errors import SegShiftError, unknown

SPLITS = ("validation", "test")
WHOLE = "all"  # the class of rows that hold a volume's loss


@dataclass(frozen=True)
class Row:
    """One line of a score file.

    ``checkpoint`` is ``model`` (the one that tables use), ``lowest_loss`` or ``last``. ``tp``, ``fp`` and
    ``fn`` count pixels. ``dice`` and ``iou`` are percentages. ``model`` and ``data`` are digests of the
    checkpoint and of the target's manifest.
    """

    target: str
    split: str
    checkpoint: str
    volume: str
    patient: str
    class_: str
    tp: int | None
    fp: int | None
    fn: int | None
    dice: float | None
    iou: float | None
    loss: float | None
    model: str
    data: str


COLUMNS = tuple(name.rstrip("_") for name in (field.name for field in fields(Row)))
_TYPES = {"tp": int, "fp": int, "fn": int, "dice": float, "iou": float, "loss": float}


def write(file: Path, rows: Iterable[Row]) -> None:
    """Write rows in the given order; the file appears only when it is complete."""
    part = file.with_name(file.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        # repr of a double is the shortest text that reads back as the same double
        writer.writerows([repr(v) if isinstance(v, float) else v for v in astuple(row)] for row in rows)
    part.replace(file)


def read(file: Path) -> list[Row]:
    """All rows of a score file.

    Raises:
        SegShiftError: it is missing, has other columns, or a cell is no number; the line is named.
    """
    try:
        with file.open(newline="") as stream:
            reader = csv.reader(stream)
            if (header := tuple(next(reader, ()))) != COLUMNS:
                raise SegShiftError(f"{file}: its columns are {', '.join(header)}, not {', '.join(COLUMNS)}")
            return [_row(file, number, cells) for number, cells in enumerate(reader, 2)]
    except FileNotFoundError:
        raise SegShiftError(f"the score file {file} is missing") from None


def _row(file: Path, number: int, cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise SegShiftError(f"{file}: line {number} has {len(cells)} cells, not {len(COLUMNS)}")
    values = []
    for column, cell in zip(COLUMNS, cells, strict=True):
        try:
            values.append((_TYPES[column](cell) if cell else None) if column in _TYPES else cell)
        except ValueError:
            raise SegShiftError(f"{file}: line {number}: {column} is {cell!r}, which is no number") from None
    return Row(*values)


def mean(values: Iterable[float]) -> float:
    """The plain mean, with a sum that does not depend on the order.

    Raises:
        ValueError: there are no values.
    """
    values = list(values)
    if not values:
        raise ValueError("the mean of nothing")
    return math.fsum(values) / len(values)


def dice(rows: Iterable[Row], target: str, split: str, checkpoint: str = "model") -> float:
    """Dice in percent: the mean over the classes of each volume, then the mean over volumes.

    Raises:
        SegShiftError: no row of that target, split and checkpoint has a Dice.
    """
    volumes: dict[str, list[float]] = {}
    for row in select(rows, target, split, checkpoint):
        if row.dice is not None:
            volumes.setdefault(row.volume, []).append(row.dice)
    if not volumes:
        if split not in SPLITS:
            raise unknown("scores: unknown split", split, SPLITS)
        raise SegShiftError(f"no Dice of checkpoint {checkpoint} on the {split} volumes of {target}")
    return mean(mean(values) for values in volumes.values())


def volumes(rows: Iterable[Row], target: str, split: str, checkpoint: str = "model") -> list[str]:
    """Names of the volumes behind ``dice``, in the order of the file."""
    return list(
        dict.fromkeys(r.volume for r in select(rows, target, split, checkpoint) if r.dice is not None)
    )


def targets(rows: Iterable[Row]) -> list[str]:
    """Datasets that were scored, in the order of the file."""
    return list(dict.fromkeys(row.target for row in rows))


def select(rows: Iterable[Row], target: str, split: str, checkpoint: str = "model") -> Iterator[Row]:
    """The rows of a target, split and checkpoint."""
    key = (target, split, checkpoint)
    return (row for row in rows if (row.target, row.split, row.checkpoint) == key)
