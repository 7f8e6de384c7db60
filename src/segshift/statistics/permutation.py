"""p-values where somebody asks for one.

``sign_flip``: if two rows were alike, each patient's masks could as well have come from the other row: the
rows are swapped patient by patient, in all of a patient's volumes at once, and what is compared is exactly
the statistic that is printed. ``wilcoxon``: signed ranks of patients, one test a dataset (volumes of several
datasets are never pooled), adjusted by Holm.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

EXACT = 14  # patients up to which all swaps are made, 2 ** 14 of them
DRAWS = 20_000


class Flipped(NamedTuple):
    """``p``: two-sided; ``swaps``: how many were made; ``exact``: all there are."""

    p: float
    swaps: int
    exact: bool


def sign_flip(parts: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Flipped:
    """The p-value of a difference of two rows.

    Args:
        parts: (P,) what each patient adds to the printed difference; their sum is the difference.
        seed: of the drawn swaps, where there are too many for all.
        draws: how many then.
    """
    parts = np.sort(np.asarray(parts, float))  # what patients are called changes no drawn swap
    count = len(parts)
    if not count:
        return Flipped(1.0, 1, True)
    seen = abs(parts.sum()) * (1 - 1e-12) - 1e-12  # what equals it counts, whatever the order of a sum
    if count <= EXACT:
        # The first keeps its sign: swapping all patients gives the same size of the difference.
        bits = (np.arange(2 ** (count - 1))[:, None] >> np.arange(count - 1)) & 1
        signs = np.column_stack([np.ones(len(bits)), 1 - 2 * bits])
        return Flipped(float((abs(signs @ parts) >= seen).mean()), 2**count, True)
    reached = int((abs(_signs(seed, draws, count) @ parts) >= seen).sum())
    return Flipped((reached + 1) / (draws + 1), draws, False)


@lru_cache(maxsize=1)  # rows of a table have the same patients
def _signs(seed: int, draws: int, count: int) -> np.ndarray:
    """(draws, count) of 1 and -1."""
    drawn = np.random.default_rng(seed).integers(0, 2, (draws, count), dtype=np.int8)
    return 1.0 - 2.0 * drawn


ROUNDING = 1e-9  # points of Dice: what equal models differ by when they are averaged in another order


def wilcoxon(differences: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    """p of each dataset, and the same adjusted by Holm.

    Args:
        differences: by dataset, one value a patient (of several volumes, their mean).
    """
    raw = {name: signed_ranks(values) for name, values in differences.items()}
    return {name: (raw[name], adjusted) for name, adjusted in holm(raw).items()}


def signed_ranks(differences: Sequence[float]) -> float:
    """Wilcoxon's two-sided p; 1 where nothing differs by more than rounding."""
    values = np.asarray(differences, float)
    values = np.where(np.abs(values) < ROUNDING, 0.0, values)
    return float(stats.wilcoxon(values).pvalue) if np.any(values) else 1.0


def holm(raw: Mapping[str, float]) -> dict[str, float]:
    """p-values adjusted so that the chance of any false one stays below the level (Holm 1979)."""
    ordered = sorted(raw, key=raw.__getitem__)
    adjusted, highest = {}, 0.0
    for place, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - place) * raw[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in raw}
