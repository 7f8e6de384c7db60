"""What a table could have shown: the smallest difference it detects, and seeds that a gap needs.

With the table's own rule (``ties.py``) a true difference δ is detected in 80 % of repetitions if
δ = (q / √2 + t₀.₈) √(A + b): q and t with the degrees of freedom of that pair.
"""

import math

import numpy as np
from scipy import stats

from segshift.statistics.intervals import About, satterthwaite
from segshift.statistics.studentized import critical
from segshift.statistics.ties import Pairs

POWER = 0.8
MOST = 1000  # seeds


def smallest_detectable(pairs: Pairs, power: float = POWER) -> float:
    """The difference that is detected with this power, for the median pair."""
    above = np.triu_indices(len(pairs.errors), 1)
    error, df = pairs.errors[above], pairs.df[above]
    k = len(pairs.errors)
    return float(np.median(_factor(k, df, pairs.level, power) * error))


def _factor(k: int, df: np.ndarray | float, level: float, power: float) -> np.ndarray:
    return critical(k, df, level) / math.sqrt(2) + stats.t.ppf(power, df)


def seeds_needed(
    pairs: Pairs, one: int, other: int, patients: tuple[float, float], power: float = POWER
) -> int | None:
    """How many seeds would tell two rows apart with this power, if their gap is what it seems.

    Args:
        pairs: of three seeds or more.
        one: a row.
        other: another row.
        patients: b and df_b of their difference.
        power: 0.8 for 80 %.

    Returns:
        The number; None if no number does: the patients' part alone is too large.

    Raises:
        ValueError: the seeds' part is not known.
    """
    if pairs.about is not About.METHOD:
        raise ValueError("how seeds vary is known from three seeds up")
    gap, k = abs(float(pairs.differences[one, other])), len(pairs.errors)
    per_seed, (b, df_b) = pairs.pooled * pairs.seeds, patients
    if gap <= _needed(k, 0.0, 1, b, df_b, pairs.level, power):
        return None
    for seeds in range(2, MOST + 1):
        if gap >= _needed(k, per_seed / seeds, (k - 1) * (seeds - 1), b, df_b, pairs.level, power):
            return seeds
    return None


def _needed(k: int, a: float, df_a: float, b: float, df_b: float, level: float, power: float) -> float:
    df = satterthwaite((a, b), (df_a, df_b))
    return float(_factor(k, df, level, power)) * math.sqrt(a + b)
