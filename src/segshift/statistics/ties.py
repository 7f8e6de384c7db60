"""Which rows cannot be told from the best, and between which ranks a row lies.

All pairs of k rows are compared. A row is surely better than another if it leads by more than
q √(A + b_ij) / √2: q is the 95 % point of the studentized range of k, b_ij the patients' part of that
difference, A the seeds' part, pooled over all pairs, since few seeds say too little of one pair. The degrees
of freedom are (A + b_ij)² / (A² / ((k - 1)(S - 1)) + b_ij² / df_b). With fewer seeds than three A is not
known: then A = 0, and it is about these models.
"""

import math
from dataclasses import dataclass

import numpy as np

from segshift.statistics.intervals import LEVEL, About, about, lone, patient_part
from segshift.statistics.sample import Sample
from segshift.statistics.studentized import critical


@dataclass(frozen=True)
class Pairs:
    """All pairs of k rows; every array is (k, k), row less column.

    ``differences``; ``margins``: how large a difference has to be; ``errors``: standard errors; ``df``.
    ``pooled``: A, the seeds' part of every difference. ``seeds``: S.
    """

    differences: np.ndarray
    margins: np.ndarray
    errors: np.ndarray
    df: np.ndarray
    pooled: float
    seeds: int
    about: About
    level: float = LEVEL

    @property
    def better(self) -> np.ndarray:
        """(k, k) bool: the row is surely better than the column."""
        return self.differences > self.margins

    def tied(self) -> np.ndarray:
        """(k,) bool: no row is surely better."""
        return ~self.better.any(axis=0)

    def ranks(self) -> list[tuple[int, int]]:
        """Each row's rank interval: [1 + rows surely better, k - rows surely worse]."""
        k = len(self.differences)
        above, below = self.better.sum(axis=0), self.better.sum(axis=1)
        return [(1 + int(one), k - int(other)) for one, other in zip(above, below, strict=True)]


def pooled_seed_part(by_seed: np.ndarray) -> float:
    """A of (k, S) values: the mean over pairs of rows of the variance of their difference, of S seeds' mean.

    The mean over pairs of var(T_is - T_js) is twice the mean variance of the rows once each seed's mean over
    rows is taken away, brought from k rows to k - 1.
    """
    k, seeds = by_seed.shape
    rest = by_seed - by_seed.mean(axis=0)
    return float(2 * rest.var(axis=1, ddof=1).sum() / (k - 1) / seeds)


def pairs(sample: Sample, models: bool = False, rises: bool = True, level: float = LEVEL) -> Pairs | None:
    """All pairs of a sample's rows; None for a lone row, or where no patients are known.

    Args:
        sample: the rows.
        models: about the models, though there are seeds enough to be about the method.
        rises: more is better.
        level: of the whole family of pairs.
    """
    k = sample.rows
    if k < 2 or not sample.with_patients or lone(sample):
        return None
    what = about(sample.seeds, models)
    pooled = pooled_seed_part(sample.by_seed) if what is About.METHOD else 0.0
    sign = 1 if rises else -1
    differences = sign * (sample.values[:, None] - sample.values[None])
    b, df_b = patient_part(sample.moves[:, None] - sample.moves[None], sample.groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = b**2 / df_b + (pooled**2 / ((k - 1) * (sample.seeds - 1)) if pooled else 0.0)
        df = np.where(below > 0, (pooled + b) ** 2 / below, math.inf)
    errors = np.sqrt(pooled + b)
    margins = critical(k, df, level) * errors / math.sqrt(2)
    np.fill_diagonal(margins, math.inf)
    # What arithmetic leaves of equal rows is no lead.
    differences[np.abs(differences) < 1e-9] = 0.0
    return Pairs(differences, margins, errors, df, pooled, sample.seeds, what, level)
