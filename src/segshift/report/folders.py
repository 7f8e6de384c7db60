"""What the report takes from a model's folder: Dice by volume and class, and curves."""

import csv
from pathlib import Path
from typing import NamedTuple

from segshift import tracking
from segshift.errors import SegShiftError
from segshift.scores import check_columns
from segshift.summaries import CHECKPOINT, SPACE, SPLIT

POINTS = 60  # of a curve that are kept; more cannot be told apart in a plot of this size
SHOWN = {
    "epoch/loss": "training loss",
    "validation/loss": "validation loss",
    "validation/dice": "validation Dice",
}


class ClassRow(NamedTuple):
    """Dice in percent of a class in a test volume; None where neither truth nor prediction shows it."""

    target: str
    volume: str
    patient: str
    name: str
    dice: float | None


class Curve(NamedTuple):
    """Values by optimizer step."""

    steps: list[int]
    values: list[float]


def classes(file: Path) -> list[ClassRow]:
    """The rows of a score file that tables are made of: test volumes of the model that counts.

    Raises:
        SegShiftError: it is missing, has other columns, or a Dice is no number.
    """
    try:
        with file.open(newline="") as stream:
            reader = csv.reader(stream)
            check_columns(file, header := tuple(next(reader, ())))
            at = {name: number for number, name in enumerate(header)}
            kept = [
                line
                for line in reader
                if line[at["checkpoint"]] == CHECKPOINT
                and line[at["split"]] == SPLIT
                and line[at["class"]] != "all"
                and ("space" not in at or line[at["space"]] == SPACE)
            ]
    except FileNotFoundError:
        raise SegShiftError(f"the score file {file} is missing") from None
    names = ("target", "volume", "patient", "class")
    return [
        ClassRow(*(line[at[name]] for name in names), float(line[at["dice"]]) if line[at["dice"]] else None)
        for line in kept
    ]


def curves(folder: Path, run: str | None) -> dict[str, Curve]:
    """Curves of all attempts that belong to one training, thinned where they are long.

    Args:
        folder: a model's.
        run: the training's key, as in ``run.json``; None: that of the last attempt.
    """
    attempts = tracking.read(folder)
    run = run or (attempts[-1].run if attempts else None)
    points: dict[str, dict[int, float]] = {}
    for attempt in attempts:
        for point in attempt.points if attempt.run == run else ():
            for name, value in point.values.items():
                if name in SHOWN:
                    points.setdefault(SHOWN[name], {})[point.step] = value
    return {name: _thinned(sorted(values.items())) for name, values in points.items()}


def _thinned(points: list[tuple[int, float]]) -> Curve:
    """At most ``POINTS`` points, the first and the last among them."""
    if len(points) > POINTS:
        last = len(points) - 1
        points = [points[round(number * last / (POINTS - 1))] for number in range(POINTS)]
    return Curve([step for step, _ in points], [value for _, value in points])
