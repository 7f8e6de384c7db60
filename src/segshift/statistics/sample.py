"""What the statistics of some rows are made of: each row's value by seed, and what each patient adds to it.

A statistic is linear: fixed weights over cells (a model of one seed on one dataset), each of them the mean
over the dataset's test volumes. Rows, seeds, sources and targets are crossed with patients; datasets that
share patients form a group, and only within a group can patients of two cells be the same.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    """A score behind a statistic. ``weight``: how much of it is in the statistic, over all seeds; ``group``:
    which patients its dataset has; ``name``: the cell apart from its seed; ``volumes``: (patient, value) of
    each test volume, of which ``value`` is the mean; empty where they are not known."""

    name: str
    seed: int
    weight: float
    value: float
    group: str = ""
    volumes: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Sample:
    """k rows of one statistic, of P patients and S seeds.

    ``values`` (k,): the statistic, as a table prints it. ``by_seed`` (k, S): the same statistic of each seed
    that all rows have. ``parts`` (k, P): what each patient adds to the statistic, seeds averaged, so that a
    row sums to its value. ``moves`` (k, P): the same less the mean of each cell, so that it says how far the
    patient moves it; a row sums to 0 in each group. ``groups`` (P,): a number a group of patients.
    """

    values: np.ndarray
    by_seed: np.ndarray
    parts: np.ndarray
    moves: np.ndarray
    groups: np.ndarray
    patients: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> int:
        """k."""
        return len(self.values)

    @property
    def seeds(self) -> int:
        """S: 1 where rows have no second seed in common."""
        return max(1, self.by_seed.shape[1])

    @property
    def with_patients(self) -> bool:
        """True if volumes are known, and some group has two patients."""
        return bool(self.parts.shape[1]) and bool((np.bincount(self.groups) > 1).any())

    def difference(self, one: int, other: int) -> "Sample":
        """A sample of one row: row ``one`` less row ``other``."""

        def less(array: np.ndarray) -> np.ndarray:
            return (array[one] - array[other])[None]

        arrays = map(less, (self.values, self.by_seed, self.parts, self.moves))
        return Sample(*arrays, self.groups, self.patients)

    def kept(self, rows: Sequence[int]) -> "Sample":
        """Only some rows, in that order."""
        at = np.asarray(rows, int)
        arrays = (array[at] for array in (self.values, self.by_seed, self.parts, self.moves))
        return Sample(*arrays, self.groups, self.patients)


def sample(rows: Iterable[Sequence[Cell]]) -> Sample:
    """The sample of rows that are given as the cells behind them.

    Raises:
        ValueError: there is no row, or a row has no cell.
    """
    rows = [list(cells) for cells in rows]
    if not rows or not all(rows):
        raise ValueError("a sample needs rows, and each row cells")
    values = np.array([sum(cell.weight * cell.value for cell in cells) for cells in rows])
    seeds = [{cell.seed for cell in cells} for cells in rows]
    common = sorted(set.intersection(*seeds))
    by_seed = np.array([[_of_seed(cells, seed) for seed in common] for cells in rows])
    known = all(cell.volumes for cells in rows for cell in cells)
    places: dict[tuple[str, str], int] = {}
    if known:
        names = {(cell.group, patient) for cells in rows for cell in cells for patient, _ in cell.volumes}
        places = {name: at for at, name in enumerate(sorted(names))}
    parts, moves = np.zeros((2, len(rows), len(places)))
    for i, cells in enumerate(rows if known else ()):
        for cell in cells:
            centre = sum(value for _, value in cell.volumes) / len(cell.volumes)
            for patient, value in cell.volumes:
                at, share = places[cell.group, patient], cell.weight / len(cell.volumes)
                parts[i, at] += share * value
                moves[i, at] += share * (value - centre)
    order = {group: n for n, group in enumerate(dict.fromkeys(group for group, _ in places))}
    groups = np.array([order[group] for group, _ in places], int)
    return Sample(values, by_seed.reshape(len(rows), len(common)), parts, moves, groups, tuple(places))


def _of_seed(cells: Sequence[Cell], seed: int) -> float:
    """The statistic of one seed: the same weights, brought to the sum that they have over all seeds."""
    own = [cell for cell in cells if cell.seed == seed]
    whole, part = (sum(abs(cell.weight) for cell in ones) for ones in (cells, own))
    return sum(cell.weight * cell.value for cell in own) * (whole / part if part else 1.0)


def joined(cells: Mapping[str, Sequence[Cell]] | Iterable[Sequence[Cell]]) -> list[Cell]:
    """Cells of a difference: those of the first as they are, those of the second with weights below 0."""
    first, second = cells.values() if isinstance(cells, Mapping) else cells
    return [*first, *(cell._replace(weight=-cell.weight) for cell in second)]
