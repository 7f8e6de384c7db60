"""Numbers of a story: a value a seed, and whether two of them differ by more than their seeds do."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segshift.grid import Score
from segshift.scores import mean
from segshift.tables.means import spread
from segshift.tables.table import rounded


class Found(NamedTuple):
    """Dice in percent of a model on a target's test volumes, and on its validation volumes."""

    test: float
    validation: float


class Missing(Exception):
    """A score that a sentence needs is not there; says which."""


@dataclass(frozen=True)
class Value:
    """A number by seed."""

    by_seed: Mapping[int, float]

    @property
    def mean(self) -> float:
        return mean(self.by_seed.values())

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds (n - 1); none of a single seed."""
        return spread(self.by_seed.values())

    def __str__(self) -> str:
        return rounded(self.mean, 1) + (f" ± {rounded(self.spread, 1)}" if self.spread is not None else "")


def value(
    scores: Mapping[Score, Found],
    wanted: Iterable[Score],
    of: Callable[[Found], float] = lambda one: one.test,
) -> Value:
    """The mean of scores, seed by seed; seeds that lack one of the pairs of source and target are left out.

    Raises:
        Missing: a score is not there, or no seed has all.
    """
    seeds: dict[int, list[float]] = {}
    for one in wanted:
        if one not in scores:
            raise Missing(f"{one.model.path} on {one.target}")
        seeds.setdefault(one.model.seed, []).append(of(scores[one]))
    most = max(map(len, seeds.values()), default=0)
    if not most:
        raise Missing("all its scores")
    return Value({seed: mean(values) for seed, values in sorted(seeds.items()) if len(values) == most})


def margin(one: Value, other: Value, least: float = 0.0) -> float | None:
    """What a difference must exceed to be claimed; None: with one seed none can be."""
    if one.spread is None or other.spread is None:
        return None
    return max(one.spread + other.spread, least)


def differs(one: Value, other: Value, least: float = 0.0) -> bool:
    """True if two values can be told apart."""
    limit = margin(one, other, least)
    return limit is not None and abs(one.mean - other.mean) > limit


def alike(values: Sequence[Value], least: float = 0.0) -> list[range]:
    """Among values in falling order, the longest runs of which no two can be told apart."""
    runs: list[range] = []
    for start in range(len(values)):
        end = start + 1
        while end < len(values) and not any(
            differs(values[end], values[i], least) for i in range(start, end)
        ):
            end += 1
        if end - start > 1 and not (runs and runs[-1].stop >= end):
            runs.append(range(start, end))
    return runs
