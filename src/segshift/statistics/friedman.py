"""Friedman's test with Nemenyi's critical difference (Demšar, JMLR 7, 2006): an illustration.

It ranks the rows within blocks and compares mean ranks. Its blocks should be independent. Cells of one
trained model are not, so a block is a trained model (backbone × source) unless cells are asked for, and how
many independent trainings there are stands beside the number of blocks. Decisions come from the tie set.
"""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segshift.statistics.studentized import critical

LEVEL = 0.95


@dataclass(frozen=True)
class Friedman:
    """Its outcome.

    ``names`` and ``mean_ranks``: best first; ``critical_difference`` of two mean ranks; ``p``: Friedman's;
    ``blocks``: how many; ``trainings``: how many independent ones stand behind each row; ``left_out``: blocks
    that some row does not have; ``table``: what was ranked, (blocks, names).
    """

    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    critical_difference: float
    statistic: float
    p: float
    blocks: int
    trainings: int
    left_out: int
    table: np.ndarray

    @property
    def nemenyi(self) -> np.ndarray:
        """(k, k) p-values of all pairs of names. It takes a tenth of a second a pair."""
        import scikit_posthocs

        # The library's array interface takes blocks as rows.
        return np.asarray(scikit_posthocs.posthoc_nemenyi_friedman(self.table))

    @property
    def within(self) -> list[str]:
        """Names that are within the critical difference of the first, itself among them."""
        ranks = zip(self.names, self.mean_ranks, strict=True)
        return [name for name, rank in ranks if rank - self.mean_ranks[0] <= self.critical_difference + 1e-12]

    @property
    def said(self) -> str:
        """What has to stand beside it."""
        blocks = f"{self.blocks} blocks of {self.trainings} independent trainings a row"
        dropped = f"; {self.left_out} blocks that some row lacks are left out" if self.left_out else ""
        return (
            f"Friedman p = {told(self.p)}; critical difference (Nemenyi, 0.05) "
            f"{self.critical_difference:.2f}; {blocks}{dropped}. An illustration: decisions "
            "come from the tie set."
        )


def told(p: float) -> str:
    """A p-value in words."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def friedman(
    values: Mapping[str, Mapping[Hashable, float]], trainings: int | None = None, rises: bool = True
) -> Friedman:
    """Friedman's test of rows over the blocks that all of them have.

    Args:
        values: of each row, by block.
        trainings: independent trainings behind each row; default: as many as blocks.
        rises: more is better.

    Raises:
        ValueError: fewer than three rows, or than two common blocks.
    """
    common = set.intersection(*map(set, values.values())) if values else set()
    everything = set().union(*values.values())
    blocks = sorted(common, key=str)
    if len(values) < 3 or len(blocks) < 2:
        raise ValueError(
            f"Friedman's test needs three rows and two blocks that all have, not {len(values)} and "
            f"{len(blocks)}"
        )
    table = np.array([[round(values[name][block], 9) for name in values] for block in blocks])
    ranks = stats.rankdata(-table if rises else table, axis=1)
    means = ranks.mean(axis=0)
    equal = bool((table == table[:, :1]).all())
    statistic, p = (0.0, 1.0) if equal else stats.friedmanchisquare(*table.T)
    order = sorted(range(len(means)), key=lambda i: (means[i], i))
    names = list(values)
    return Friedman(
        tuple(names[i] for i in order),
        tuple(float(means[i]) for i in order),
        critical_difference(len(names), len(blocks)),
        float(statistic),
        float(p),
        len(blocks),
        len(blocks) if trainings is None else trainings,
        len(everything) - len(blocks),
        table[:, order],
    )


def critical_difference(k: int, blocks: int, level: float = LEVEL) -> float:
    """Nemenyi's: q / √2 · √(k (k + 1) / (6 N)), q of the studentized range of k with infinite df."""
    q = critical(k, math.inf, level)
    return float(q / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * blocks)))
