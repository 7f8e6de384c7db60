"""One number from many scores: what is averaged first, over seeds last, and never over less than it says.

``pooled``: the plain mean over all scores of each model, then over models, so an anatomy of more datasets
counts more. ``anatomy_first``: models are averaged on each pair of source and target, these in each
anatomy, then the anatomies. They agree where one model on one anatomy is meant. (The thesis's section 4.3.1
describes the second, its Table 4.2 is made by the first; Tables 4.3, 4.7 and A.12 by the second.)
"""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter

from segshift.scores import mean
from segshift.tables.asked import (
    MODEL_AXES,
    Asked,
    Tracked,
    awaited,
    doubtful,
    labelled,
    lacks,
    lost,
    without,
)
from segshift.tables.table import Evidence, Number

dice = attrgetter("dice")


def number(
    asked: list[Asked],
    tracked: Tracked,
    average: str = "pooled",
    of: Callable[[Evidence], float] = dice,
) -> tuple[Number, tuple[str, ...]]:
    """The mean of scores, with its footnotes; a dash if one is missing.

    Several seeds: the mean of each seed first, then mean and standard deviation (n - 1) over seeds. Only
    seeds that all its models have take part.

    Args:
        asked: the scores that it is made of.
        tracked: what is known of them.
        average: ``pooled`` or ``anatomy_first``.
        of: what is taken of a score.
    """
    wanted = [one for one in asked if not one.left_out]
    notes = (*labelled(asked, tracked), *doubtful(wanted, tracked), *without(asked))
    scores = tuple(tracked.scores[one.score] for one in wanted if one.score in tracked.scores)
    if lacks(wanted, tracked.scores):
        return Number(None, scores), (lost(wanted, tracked), *notes)
    if waiting := [one for one in wanted if one.waits_for and one.score not in tracked.scores]:
        return Number(None, scores), (f"Not yet possible; what is awaited: {awaited(waiting)}.", *notes)
    if not wanted:
        return Number(None), notes
    seeds, odd = _seeds(wanted)
    if odd:
        names = ", ".join(map(str, odd))
        notes = (
            f"Without {'seed' if len(odd) == 1 else 'seeds'} {names}: not all its models have it.",
            *notes,
        )
    if not seeds:
        return Number(None, scores), notes
    values = [
        combine({one: of(tracked.scores[one.score]) for one in wanted if one.model.seed == seed}, average)
        for seed in seeds
    ]
    used = [one for one in wanted if one.model.seed in seeds]
    scores = tuple(tracked.scores[one.score] for one in used)
    return Number(mean(values), scores, spread(values), weights=weights(used, average)), notes


def _seeds(wanted: list[Asked]) -> tuple[list[int], list[int]]:
    """Seeds that every score has, and those that only some have."""
    found: dict[Hashable, set[int]] = {}
    for one in wanted:
        found.setdefault(one.place, set()).add(one.model.seed)
    common = set.intersection(*found.values())
    return sorted(common), sorted(set.union(*found.values()) - common)


def combine(values: Mapping[Asked, float], average: str) -> float:
    """The mean of one seed's values.

    Raises:
        ValueError: there are none.
    """
    if average == "pooled":
        return _means(values, lambda one: tuple(map(one.axis, MODEL_AXES)))
    anatomies: dict[str, dict[Asked, float]] = {}
    for one, value in values.items():
        anatomies.setdefault(one.anatomy, {})[one] = value
    return mean(_means(part, lambda one: (one.model.source, one.target)) for part in anatomies.values())


def weights(used: list[Asked], average: str) -> tuple[float, ...]:
    """How much of each score is in their mean: what ``combine`` and the mean over seeds do, as factors."""

    def levels(one: Asked) -> tuple[Hashable, ...]:
        if average == "pooled":
            return one.model.seed, tuple(map(one.axis, MODEL_AXES))
        return one.model.seed, one.anatomy, (one.model.source, one.target)

    places = [(*levels(one), i) for i, one in enumerate(used)]
    within: dict[Hashable, set[Hashable]] = {}
    for place in places:
        for depth in range(len(place)):
            within.setdefault(place[:depth], set()).add(place[depth])
    return tuple(1 / math.prod(len(within[place[:depth]]) for depth in range(len(place))) for place in places)


def _means(values: Mapping[Asked, float], group: Callable[[Asked], Hashable]) -> float:
    """The mean of the means of groups."""
    groups: dict[Hashable, list[float]] = {}
    for one, value in values.items():
        groups.setdefault(group(one), []).append(value)
    return mean(map(mean, groups.values()))


def spread(values: Iterable[float]) -> float | None:
    """The standard deviation (n - 1); none of a single value."""
    values = list(values)
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def part(asked: list[Asked], statistic: str) -> list[Asked]:
    """The scores of a statistic: ``ds`` on the source itself, ``dg`` on its siblings, ``ov`` on all."""
    return [one for one in asked if statistic == "ov" or one.diagonal == (statistic == "ds")]
