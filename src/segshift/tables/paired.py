"""Two rows or two cells, compared on the same seeds, datasets and patients.

A row is ``backbone/tuning/head`` (with ``/adapt`` behind it if adapted), over all sources and seeds; a ``*``
in place of a name averages over that axis. A cell is ``source/backbone/tuning/head/seed`` (with
``/adapt/target``). Only what both sides have takes part: what one side lacks is counted and said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.statistics import intervals
from segshift.statistics.intervals import Interval
from segshift.statistics.permutation import Flipped, sign_flip, signed_ranks, wilcoxon
from segshift.statistics.sample import Sample, sample
from segshift.tables.samples import Groups, cell, patient_differences
from segshift.tables.table import Evidence

STATISTICS = {"ov": "OV", "ds": "DS", "dg": "DG"}
Place = tuple[str, ...]  # where a score stands in a side: source, averaged names, target; without the seed


class Side(NamedTuple):
    """One side: as it was asked for, and its axes; ``*`` matches any name. ``source`` is None of a row."""

    text: str
    source: str | None
    backbone: str
    tuning: str
    head: str
    seed: str | None
    adapt: str
    target: str | None = None

    @property
    def is_row(self) -> bool:
        return self.source is None

    def place(self, model: Model, target: str) -> Place | None:
        """Where a score stands in this side; None if it does not."""
        before = self.adapt != "none" and model.adapt is None and self.is_row and target == model.source
        wanted = (self.backbone, self.tuning, self.head)
        if not all(one in ("*", name) for one, name in zip(wanted, model[1:4], strict=True)):
            return None
        if (model.adapt or "none") != self.adapt and not before:
            return None
        if not self.is_row:
            own = (model.source, str(model.seed), model.target)
            theirs = (self.source, self.seed, self.target)
            return (target,) if own == theirs else None
        averaged = [name for one, name in zip(wanted, model[1:4], strict=True) if one == "*"]
        return (model.source, *averaged, target)


def side(text: str) -> Side:
    """A side from its words.

    Raises:
        SegShiftError: it is neither a row nor a cell.
    """
    parts = text.strip("/").split("/")
    if len(parts) in (3, 4) and all(parts):
        return Side(text, None, *parts[:3], None, parts[3] if len(parts) == 4 else "none")
    if len(parts) in (5, 7) and all(parts) and parts[4].isdigit():
        adapt, target = parts[5:] or ("none", None)
        return Side(text, *parts[:5], adapt, target)
    raise SegShiftError(
        f"{text!r} is neither a row (backbone/tuning/head, with /adapt if adapted; * for any name) nor a "
        "cell (source/backbone/tuning/head/seed, with /adapt/target if adapted)"
    )


@dataclass(frozen=True)
class Effect:
    """A difference, first less second; ``interval`` and ``flipped`` are None where patients are unknown."""

    first: float
    second: float
    interval: Interval | None
    flipped: Flipped | None
    scores: int

    @property
    def value(self) -> float:
        return self.first - self.second


@dataclass(frozen=True)
class Dataset:
    """The difference on one dataset; ``p``: signed ranks of patients, ``holm``: adjusted over datasets."""

    effect: Effect
    patients: int
    p: float | None
    holm: float | None


class Class(NamedTuple):
    """Dice of a class on both sides, over the volumes where it counts on both."""

    first: float
    second: float
    volumes: int


@dataclass(frozen=True)
class Comparison:
    """What a comparison says.

    ``effects`` by statistic, ``datasets`` by target, ``classes`` by anatomy and class. ``patients``: what
    each (group, patient) adds to the difference of the first statistic, the largest first. ``cells``: mean
    difference, p of signed ranks and number of cells: they are not independent, so it is an illustration.
    ``left_out``: scores that only one side has. ``remarks``: what else must be said of the scores.
    """

    one: str
    other: str
    seeds: tuple[int, ...]
    effects: Mapping[str, Effect]
    datasets: Mapping[str, Dataset]
    patients: Mapping[tuple[str, str], float]
    cells: tuple[float, float, int]
    left_out: int
    classes: Mapping[tuple[str, str], Class] = field(default_factory=dict)
    names: tuple[str, str] | None = None  # for people; default: the sides as they were asked for
    remarks: tuple[str, ...] = ()

    @property
    def main(self) -> tuple[str, Effect]:
        """The statistic that it is about: OV, or what there is."""
        return next(iter(self.effects.items()))


Pair = tuple[Place, int, Evidence, Evidence]


def pairs(one: Side, other: Side, scores: Iterable[Evidence]) -> tuple[list[Pair], int]:
    """Scores of both sides at the same places (of rows with the same seed), and how many have no partner.

    Raises:
        SegShiftError: the sides cannot be compared, or nothing is common.
    """
    if one.is_row != other.is_row:
        raise SegShiftError(f"{one.text} and {other.text} are a row and a cell: compare two of a kind")
    found: tuple[dict, dict] = ({}, {})
    for score in scores:
        for which, into in zip((one, other), found, strict=True):
            if (place := which.place(score.model, score.target)) is not None:
                into[place, score.model.seed if one.is_row else 0] = score
    for which, into in zip((one, other), found, strict=True):
        if not into:
            raise SegShiftError(f"there are no scores of {which.text}; segshift cells lists what there is")
    common = found[0].keys() & found[1].keys()
    seeds = {seed for _, seed in common}
    whole = {place for place, _ in common if all((place, seed) in common for seed in seeds)}
    if not whole:
        raise SegShiftError(f"{one.text} and {other.text} have no seed, source and target in common")
    kept = sorted(key for key in common if key[0] in whole)
    lost = len(found[0]) + len(found[1]) - 2 * len(kept)
    return [(place, seed, found[0][place, seed], found[1][place, seed]) for place, seed in kept], lost


def compare(one: Side, other: Side, scores: Iterable[Evidence], group: Groups) -> Comparison:
    """The comparison of two sides, without classes.

    Args:
        one: the first side; positive differences are in its favour.
        other: the second.
        scores: all that there are.
        group: which datasets share patients.
    """
    found, lost = pairs(one, other, scores)
    effects, patients = {}, {}
    for key in STATISTICS:
        own = [pair for pair in found if key == "ov" or _diagonal(pair) == (key == "ds")]
        if own:
            effects[key], made = effect(own, group)
            patients = patients or _parts(made)
    targets: dict[str, list[Pair]] = {}
    for pair in found:
        targets.setdefault(pair[2].target, []).append(pair)
    by_cell: dict[Place, list[float]] = {}
    for place, _, first, second in found:
        by_cell.setdefault(place, []).append(first.dice - second.dice)
    cells = [sum(own) / len(own) for own in by_cell.values()]
    return Comparison(
        one.text,
        other.text,
        tuple(sorted({score.model.seed for pair in found for score in pair[2:]})),
        effects,
        _datasets(targets, group),
        patients,
        (sum(cells) / len(cells), signed_ranks(cells), len(cells)),
        lost,
    )


def _diagonal(pair: Pair) -> bool:
    return all(score.target == score.model.source for score in pair[2:])


def effect(found: Sequence[Pair], group: Groups) -> tuple[Effect, Sample]:
    """The difference over some pairs: averaged names first, then seeds, as in a table."""
    weights = _weights(found)
    made = sample(
        [
            [cell(pair[side], weight, group) for pair, weight in zip(found, weights, strict=True)]
            for side in (2, 3)
        ]
    )
    difference = made.difference(0, 1)
    known = bool(made.parts.shape[1])
    # Sides of other seeds (two cells of one configuration) share no seed: these models are what is compared.
    interval = intervals.of_row(difference) if known else None
    flipped = sign_flip(difference.parts[0]) if known else None
    first, second = map(float, made.values)
    return Effect(first, second, interval, flipped, len(found)), difference


def _weights(found: Sequence[Pair]) -> list[float]:
    """Of each pair in the mean: seeds alike, in them averaged names alike, in these scores alike."""
    seeds = {seed for _, seed, _, _ in found}
    sizes: dict[tuple[int, Place], int] = {}
    for place, seed, _, _ in found:
        sizes[seed, place[1:-1]] = sizes.get((seed, place[1:-1]), 0) + 1
    groups = {seed: sum(1 for own, _ in sizes if own == seed) for seed in seeds}
    return [1 / (len(seeds) * groups[seed] * sizes[seed, place[1:-1]]) for place, seed, _, _ in found]


def _parts(difference: Sample) -> dict[tuple[str, str], float]:
    ordered = sorted(
        zip(difference.patients, map(float, difference.parts[0]), strict=True), key=lambda one: -abs(one[1])
    )
    return dict(ordered)


def _datasets(targets: Mapping[str, list[Pair]], group: Groups) -> dict[str, Dataset]:
    made = {target: effect(own, group) for target, own in targets.items()}
    known = {
        target: list(_of_patients(targets[target], group).values())
        for target, (_, difference) in made.items()
        if difference.parts.size
    }
    tested = wilcoxon(known)
    return {
        target: Dataset(one, difference.parts.shape[1], *tested.get(target, (None, None)))
        for target, (one, difference) in made.items()
    }


def _of_patients(found: Sequence[Pair], group: Groups) -> dict[str, float]:
    """What each patient's Dice differs by on one dataset."""
    weights = _weights(found)
    return patient_differences(
        *([cell(pair[side], w, group) for pair, w in zip(found, weights, strict=True)] for side in (2, 3))
    )
