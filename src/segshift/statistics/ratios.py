"""Intervals of what is no mean: ratios of means (loss %, difference to the best %), by bootstrap of patients.

Patients are drawn once for all rows and all means, so what they share cancels. The part of the seeds is as in
``intervals.py``, of the ratio of each seed.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from segshift.statistics.intervals import LEVEL, About, Interval, about, seed_part, two_term
from segshift.statistics.sample import Cell

DRAWS = 2000


class Draws:
    """How often each patient of each group is drawn; one drawing for all statistics of a table."""

    def __init__(
        self,
        patients: Mapping[str, Sequence[str]],
        draws: int = DRAWS,
        seed: int = 0,
        order: Mapping[tuple[str, str], Sequence[object]] | None = None,
    ) -> None:
        """``patients``: those of each group, in any order. ``order``: by what they are put in order before
        names: where it is what is known of them, other names (hashed ones) change no drawing."""
        known = order or {}
        ordered = {
            group: sorted(set(own), key=lambda one, group=group: (known.get((group, one), ()), one))
            for group, own in patients.items()
        }
        generator = np.random.default_rng(seed)
        self.draws = draws
        self.places = {
            (group, patient): at for group in sorted(patients) for at, patient in enumerate(ordered[group])
        }
        self.counts: dict[str, np.ndarray] = {}
        for group in sorted(patients):
            n = len(ordered[group])
            self.counts[group] = generator.multinomial(n, [1 / n] * n, draws)  # (draws, n)

    @classmethod
    def of(cls, cells: Sequence[Cell], draws: int = DRAWS, seed: int = 0) -> "Draws":
        """For the patients behind cells."""
        patients: dict[str, list[str]] = {}
        known: dict[tuple[str, str], set[tuple[str, int, float]]] = {}
        for cell in cells:
            patients.setdefault(cell.group, []).extend(patient for patient, _ in cell.volumes)
            for patient, value in cell.volumes:
                known.setdefault((cell.group, patient), set()).add((cell.name, cell.seed, value))
        return cls(patients, draws, seed, {patient: sorted(own) for patient, own in known.items()})

    def mean(self, cells: Sequence[Cell]) -> np.ndarray:
        """(draws,) the statistic of weighted cells in each drawing; NaN where a cell lost all patients."""
        # Cells whose patients have as many volumes each (usually all cells of a group) are one product.
        sums: dict[tuple[str, bytes], np.ndarray] = {}
        for cell in cells:
            values, sizes = np.zeros((2, self.counts[cell.group].shape[1]))
            for patient, value in cell.volumes:
                at = self.places[cell.group, patient]
                values[at] += cell.weight * value
                sizes[at] += 1
            key = cell.group, sizes.tobytes()
            sums[key] = sums[key] + values if key in sums else values
        total = np.zeros(self.draws)
        for (group, sizes), values in sums.items():
            counts = self.counts[group]
            with np.errstate(divide="ignore", invalid="ignore"):
                total += (counts @ values) / (counts @ np.frombuffer(sizes))
        return total


def percent(value: np.ndarray | float, base: np.ndarray | float) -> np.ndarray | float:
    """100 (value - base) / base."""
    return 100 * (value - base) / base


def of_ratio(
    first: Sequence[Cell],
    second: Sequence[Cell],
    draws: Draws,
    function: Callable = percent,
    models: bool = False,
    level: float = LEVEL,
) -> Interval | None:
    """The interval of a function of two statistics; None where volumes are not known.

    The part of the patients is the bootstrap's variance, n / (n - 1) of it, with n - 1 degrees of freedom,
    where n is the smallest number of patients of a group: never too short.
    """
    cells = [*first, *second]
    smallest = min((len(draws.counts[cell.group][0]) for cell in cells if cell.volumes), default=0)
    if smallest < 2 or not all(cell.volumes for cell in cells):
        return None
    value = function(*(sum(cell.weight * cell.value for cell in ones) for ones in (first, second)))
    drawn = function(draws.mean(first), draws.mean(second))
    b = float(np.nanvar(drawn)) * smallest / (smallest - 1)
    seeds = sorted({cell.seed for cell in first} & {cell.seed for cell in second})
    what = about(len(seeds) or 1, models)
    a = 0.0
    if what is About.METHOD:
        by_seed = [function(_of_seed(first, seed), _of_seed(second, seed)) for seed in seeds]
        a = seed_part(np.array(by_seed))
    if not math.isfinite(value) or not math.isfinite(b):
        return None
    return two_term(float(value), a, len(seeds) - 1, b, smallest - 1, what, level)


def _of_seed(cells: Sequence[Cell], seed: int) -> float:
    own = [cell for cell in cells if cell.seed == seed]
    return sum(cell.weight * cell.value for cell in own) / sum(cell.weight for cell in own)
