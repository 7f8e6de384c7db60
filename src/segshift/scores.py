"""Score files: a row per target, split, checkpoint, volume and class, never averaged. Standard library only.

Dice and IoU are percentages with all digits of a double. A class that neither truth nor prediction shows in a
volume has empty cells and does not count. A row of class ``all`` holds the loss of a volume. What more was
asked for adds columns, and with native scores rows, see ``docs/metrics.md``.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, astuple, dataclass, fields
from pathlib import Path

from segshift.errors import SegShiftError, unknown
from segshift.measures import METRICS, SPACES, SURFACES, key, smoothed

SPLITS = ("validation", "test")
SECONDS = "seconds.json"  # beside the score files of a model
WHOLE = "all"  # the class of rows that hold a volume's loss


@dataclass(frozen=True)
class Row:
    """One line of a score file.

    ``checkpoint`` is ``model`` (the one that tables use), ``lowest_loss`` or ``last``. ``tp``, ``fp`` and
    ``fn`` count pixels. ``dice`` and ``iou`` are percentages. ``model`` and ``data`` are digests of the
    checkpoint and of the target's manifest.

    The others are None where they were not asked for. ``space``: on which grid, ``prepared`` or ``native``.
    ``slice_dice``, also by the other two rules for absent classes, and ``nsd`` are percentages, ``hd95`` and
    ``assd`` mm. ``tolerance`` is NSD's, mm. ``missed``: HD95 and ASSD of a structure that truth or prediction
    lacks, mm.
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
    space: str = "prepared"
    slice_dice: float | None = None
    slice_dice_truth_only: float | None = None
    slice_dice_one: float | None = None
    hd95: float | None = None
    assd: float | None = None
    nsd: float | None = None
    tolerance: float | None = None
    missed: float | None = None


ALL_COLUMNS = tuple(field.name.rstrip("_") for field in fields(Row))
_DEFAULTS = tuple(field.default for field in fields(Row))
COLUMNS = tuple(name for name, default in zip(ALL_COLUMNS, _DEFAULTS, strict=True) if default is MISSING)
MORE = ALL_COLUMNS[len(COLUMNS) :]  # in a file only where one of its rows has something to say there
_TYPES = dict.fromkeys(("tp", "fp", "fn"), int)
_TYPES |= {name: float for name in ("dice", "iou", "loss", *MORE) if name != "space"}


def write(file: Path, rows: Iterable[Row]) -> None:
    """Write rows in the given order; the file appears only when it is complete."""
    lines = [astuple(row) for row in rows]
    kept = [
        number
        for number, default in enumerate(_DEFAULTS)
        if default is MISSING or any(line[number] != default for line in lines)
    ]
    part = file.with_name(file.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([ALL_COLUMNS[number] for number in kept])
        # repr of a double is the shortest text that reads back as the same double
        writer.writerows(
            [repr(line[n]) if isinstance(line[n], float) else line[n] for n in kept] for line in lines
        )
    part.replace(file)


def read(file: Path) -> list[Row]:
    """All rows of a score file.

    Raises:
        SegShiftError: it is missing, has other columns, or a cell is no number; the line is named.
    """
    try:
        with file.open(newline="") as stream:
            reader = csv.reader(stream)
            check_columns(file, header := tuple(next(reader, ())))
            return [_row(file, header, number, cells) for number, cells in enumerate(reader, 2)]
    except FileNotFoundError:
        raise SegShiftError(f"the score file {file} is missing") from None


def write_seconds(folder: Path, target: str, seconds: float) -> None:
    """Note what a target's scoring took; not in its score file, which is the same on every machine.

    Args:
        folder: a model's.
        target: that was scored.
        seconds: on its device, with the loading of the model for the first target of a process.
    """
    file = folder / "scores" / SECONDS
    part = file.with_name(file.name + ".part")
    part.write_text(json.dumps(read_seconds(folder) | {target: round(seconds, 3)}) + "\n")
    part.replace(file)


def read_seconds(folder: Path) -> dict[str, float]:
    """What the scoring of each target took; empty where nobody noted it, and no number hangs on it."""
    try:
        return json.loads((folder / "scores" / SECONDS).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def check_columns(file: Path, header: tuple[str, ...]) -> None:
    """Are these the columns of a score file?

    Raises:
        SegShiftError: they are not.
    """
    if header != COLUMNS + tuple(name for name in MORE if name in header):
        known = f"{', '.join(COLUMNS)}, and where it was asked for {', '.join(MORE)}"
        raise SegShiftError(f"{file}: its columns are {', '.join(header)}, not {known}")


def _row(file: Path, header: tuple[str, ...], number: int, cells: list[str]) -> Row:
    if len(cells) != len(header):
        raise SegShiftError(f"{file}: line {number} has {len(cells)} cells, not {len(header)}")
    values = {}
    for column, cell in zip(header, cells, strict=True):
        try:
            value = (_TYPES[column](cell) if cell else None) if column in _TYPES else cell
        except ValueError:
            raise SegShiftError(f"{file}: line {number}: {column} is {cell!r}, which is no number") from None
        values["class_" if column == "class" else column] = value
    return Row(**values)


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
    """``score`` in Dice, in percent."""
    return score(rows, target, split, checkpoint)


def score(
    rows: Iterable[Row],
    target: str,
    split: str,
    checkpoint: str = "model",
    metric: str = "dice",
    absent: str = "skip",
    space: str = "prepared",
) -> float:
    """The mean of a metric over the classes of each volume, then the mean over volumes.

    Args:
        rows: of a score file.
        target: a dataset.
        split: ``validation`` or ``test``.
        checkpoint: see ``Row``.
        metric: see ``measures.METRICS``.
        absent: what counts of a class that the truth does not show, see ``value``.
        space: ``prepared`` or ``native``.

    Raises:
        SegShiftError: no row of that target, split, checkpoint and space has the metric.
    """
    found = by_volume(select(rows, target, split, checkpoint, space), metric, absent)
    if not found:
        if split not in SPLITS:
            raise unknown("scores: unknown split", split, SPLITS)
        where = f"on the {split} volumes of {target}" + (f", space {space}" if space != "prepared" else "")
        raise SegShiftError(f"no {METRICS[metric].title} of checkpoint {checkpoint} {where}")
    return mean(found.values())


def by_volume(
    rows: Iterable[Row], metric: str = "dice", absent: str = "skip"
) -> dict[tuple[str, str], float]:
    """The mean of a metric over the classes of each volume, by volume and patient; none where none counts.

    ``rows`` are those of one target, split, checkpoint and space.
    """
    volumes: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if (one := value(row, metric, absent)) is not None:
            volumes.setdefault((row.volume, row.patient), []).append(one)
    return {volume: mean(values) for volume, values in volumes.items()}


def means(rows: Iterable[Row], target: str, split: str, rules: Iterable[str] = ("skip",)) -> dict[str, float]:
    """``score`` of every metric that was computed, in every space, by ``measures.key``; none without rows.

    Args:
        rows: of a score file.
        target: a dataset.
        split: ``validation`` or ``test``.
        rules: for absent classes, see ``value``.

    Raises:
        SegShiftError: there are rows, and none of them has a Dice.
    """
    found = {}
    rows, rules = list(rows), list(rules)
    for space in SPACES:
        own = list(select(rows, target, split, space=space))
        for metric in METRICS if own else ():
            for absent in rules if has(own, metric) else ():
                if by_volume(own, metric, absent) or (metric, absent) == ("dice", "skip"):
                    name = key(metric, absent, space)
                    found[name] = score(own, target, split, metric=metric, absent=absent, space=space)
    return found


def value(row: Row, metric: str = "dice", absent: str = "skip") -> float | None:
    """What a row says of a metric; None if it does not count.

    ``absent``: what of a class that the truth of a volume does not show. ``skip``: it does not count where
    the prediction does not show it either. ``truth_only``: it never counts. ``one``: it always does; shown
    by neither, it is perfect. Dice and IoU have 1 added above and below there, as in the thesis's code.
    """
    if row.class_ == WHOLE or absent == "skip":
        return getattr(row, metric)
    if metric == "slice_dice":
        return getattr(row, f"slice_dice_{absent}")
    if absent == "truth_only":
        return getattr(row, metric) if row.tp + row.fn else None
    if metric in SURFACES:
        nothing = row.missed is not None and not (row.tp + row.fp + row.fn)
        return METRICS[metric].best if nothing else getattr(row, metric)
    return smoothed(metric, row.tp, row.fp, row.fn)


def has(rows: Iterable[Row], metric: str) -> bool:
    """True if a metric was computed in rows (though it may count for no class of them)."""
    sign = {"slice_dice": "slice_dice_one"} | dict.fromkeys(SURFACES, "missed")
    return any(getattr(row, sign.get(metric, "tp")) is not None for row in rows)


def volumes(rows: Iterable[Row], target: str, split: str, checkpoint: str = "model") -> list[str]:
    """Names of the volumes behind ``dice``, in the order of the file."""
    return list(
        dict.fromkeys(r.volume for r in select(rows, target, split, checkpoint) if r.dice is not None)
    )


def targets(rows: Iterable[Row]) -> list[str]:
    """Datasets that were scored, in the order of the file."""
    return list(dict.fromkeys(row.target for row in rows))


def select(
    rows: Iterable[Row], target: str, split: str, checkpoint: str = "model", space: str = "prepared"
) -> Iterator[Row]:
    """The rows of a target, split, checkpoint and space."""
    wanted = (target, split, checkpoint, space)
    return (row for row in rows if (row.target, row.split, row.checkpoint, row.space) == wanted)
