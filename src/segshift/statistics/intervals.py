"""Intervals of a statistic: a part of the patients and a part of the seeds, added, with Student's t.

T_s is the statistic of seed s alone: a = var(T_s) / S. A patient p of group g moves the statistic by z_p:
b_g = n_g var(z_p) with n_g patients in the group, b = Σ b_g. The interval is value ± t √(a + b); its degrees
of freedom are Satterthwaite's (Biometrics Bulletin 2, 1946): (a + b)² / (a² / (S - 1) + b² / df_b), where
df_b = b² / Σ (b_g² / (n_g - 1)). Volumes of several datasets are never pooled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import stats

from segshift.statistics.sample import Sample

LEVEL = 0.95
SEEDS = 3  # fewer say too little of how seeds vary: with two, a 95 % interval holds the truth in 88 %


class About(Enum):
    """What would vary if the study were done again; an interval says nothing of what it holds fixed."""

    MODELS = "these models"
    METHOD = "this method"
    ONE_SEED = "one seed: about these models, not about the method"

    @property
    def explained(self) -> str:
        """The whole sentence."""
        return EXPLAINED[self]


EXPLAINED = {
    About.MODELS: "About these models: patients vary, trained weights are fixed.",
    About.METHOD: "About this method: patients and seeds vary.",
    About.ONE_SEED: "One seed: about these models, not about the method. Patients vary, weights are fixed.",
}


@dataclass(frozen=True)
class Interval:
    """``low`` to ``high`` around ``value``; ``seed_part`` and ``patient_part`` are variances."""

    value: float
    low: float
    high: float
    about: About
    seed_part: float
    patient_part: float
    df: float
    level: float = LEVEL

    @property
    def error(self) -> float:
        """The standard error."""
        return math.sqrt(self.seed_part + self.patient_part)

    @property
    def excludes_zero(self) -> bool:
        """True if 0 is outside."""
        return self.low > 0 or self.high < 0


def about(seeds: int, models: bool = False) -> About:
    """What an interval of so many seeds can be about; ``models``: it is asked to be about the models."""
    if seeds == 1:
        return About.ONE_SEED
    return About.MODELS if models or seeds < SEEDS else About.METHOD


def patient_part(moves: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """b and df_b of statistics, in closed form.

    Args:
        moves: (..., P), see ``Sample``.
        groups: (P,).

    Returns:
        Two arrays (...): the variance, and its degrees of freedom (infinite where the variance is 0). A group
        of one patient says nothing of how patients vary: it adds nothing, see ``lone``.
    """
    shape = moves.shape[:-1]
    total, weighted = np.zeros(shape), np.zeros(shape)
    for group in np.unique(groups):
        own = moves[..., groups == group]
        count = own.shape[-1]
        if count < 2:
            continue
        variance = count * own.var(axis=-1, ddof=1)
        total += variance
        weighted += variance**2 / (count - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return total, np.where(weighted > 0, total**2 / weighted, math.inf)


def lone(sample: Sample) -> list[str]:
    """Groups with a single patient: no interval can say how patients vary there."""
    counts = np.bincount(sample.groups) if len(sample.groups) else np.array([], int)
    return [
        next(name for (name, _), own in zip(sample.patients, sample.groups, strict=True) if own == group)
        for group in np.flatnonzero(counts == 1)
    ]


def satterthwaite(parts: Sequence[float], dfs: Sequence[float]) -> float:
    """Degrees of freedom of a sum of variances, each with its own; infinite if the sum is 0."""
    total = math.fsum(parts)
    below = math.fsum(part**2 / df for part, df in zip(parts, dfs, strict=True) if part > 0)
    return total**2 / below if below > 0 else math.inf


def two_term(
    value: float, a: float, df_a: float, b: float, df_b: float, what: About, level: float = LEVEL
) -> Interval:
    """value ± t √(a + b); an ``a`` of 0 takes no part."""
    df = satterthwaite((a, b), (df_a, df_b))
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(a + b)
    return Interval(value, value - half, value + half, what, a, b, df, level)


def seed_part(by_seed: np.ndarray) -> float:
    """a: the variance of the mean of (S,) values."""
    return float(by_seed.var(ddof=1) / len(by_seed)) if len(by_seed) > 1 else 0.0


def of_row(sample: Sample, row: int = 0, models: bool = False, level: float = LEVEL) -> Interval | None:
    """The interval of a row's statistic; None where no volumes are known, or no group has two patients.

    Args:
        sample: the rows.
        row: which.
        models: about the models, though there are seeds enough to be about the method.
        level: 0.95 for 95 %.
    """
    if not sample.with_patients or lone(sample):
        return None
    b, df_b = patient_part(sample.moves[row], sample.groups)
    seeds = sample.by_seed[row]
    what = about(len(seeds) or 1, models)
    a = seed_part(seeds) if what is About.METHOD else 0.0
    return two_term(float(sample.values[row]), a, len(seeds) - 1, float(b), float(df_b), what, level)


def of_difference(
    sample: Sample, one: int, other: int, models: bool = False, level: float = LEVEL
) -> Interval | None:
    """The interval of row ``one`` less row ``other``: the same patients and seeds are behind both."""
    return of_row(sample.difference(one, other), 0, models, level)
