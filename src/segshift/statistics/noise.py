"""How much scores vary by themselves: over seeds and over patients; and cells that look like accidents."""

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from segshift.statistics.sample import Cell

ROBUST = 3.0  # robust standard deviations below its siblings that make a cell suspect
SIBLINGS = 5  # fewer have no spread to speak of
MAD = 1.4826  # the median absolute deviation of normal values times this is their standard deviation


class Noise(NamedTuple):
    """Standard deviations, pooled over cells; None where nothing varies. ``cells``: how many."""

    seed: float | None
    patient: float | None
    cells: int


def noise(cells: Iterable[tuple[Hashable, Cell]]) -> dict[Hashable, Noise]:
    """Standard deviations over seeds and over patients, by place (such as dataset and backbone).

    Args:
        cells: pairs of place and cell; cells of one name and place differ in their seed.
    """
    places: dict[Hashable, dict[str, list[Cell]]] = {}
    for place, cell in cells:
        places.setdefault(place, {}).setdefault(cell.name, []).append(cell)
    return {
        place: Noise(
            pooled([cell.value for cell in seeds] for seeds in models.values()),
            pooled(_patients(seeds) for seeds in models.values()),
            len(models),
        )
        for place, models in places.items()
    }


def pooled(samples: Iterable[Iterable[float]]) -> float | None:
    """√ of the variances' mean, each weighted by its degrees of freedom; None if none has two values."""
    squares, dfs = 0.0, 0
    for values in map(list, samples):
        if len(values) > 1:
            squares += (len(values) - 1) * float(np.var(values, ddof=1))
            dfs += len(values) - 1
    return math.sqrt(squares / dfs) if dfs else None


def _patients(seeds: list[Cell]) -> list[float]:
    """Patients' values of a cell, seeds and volumes averaged."""
    values: dict[str, list[float]] = {}
    for cell in seeds:
        for patient, value in cell.volumes:
            values.setdefault(patient, []).append(value)
    return [sum(own) / len(own) for own in values.values()]


class Suspect(NamedTuple):
    """A cell that is ``distance`` robust standard deviations below the median of its siblings."""

    name: Hashable
    value: float
    median: float
    distance: float


def suspects(siblings: Mapping[Hashable, Mapping[Hashable, float]]) -> list[Suspect]:
    """Cells more than three robust standard deviations below their siblings; they are marked, never dropped.

    Args:
        siblings: values by cell, in groups that should be alike: all models on one source and target.
    """
    found = []
    for group in siblings.values():
        values = np.array(list(group.values()))
        if len(values) < SIBLINGS:
            continue
        median = float(np.median(values))
        spread = MAD * float(np.median(np.abs(values - median)))
        if spread > 0:
            found += [
                Suspect(name, value, median, (median - value) / spread)
                for name, value in group.items()
                if median - value > ROBUST * spread
            ]
    return found
