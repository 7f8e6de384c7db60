"""What cells would cost, from finished ones: seconds of their device for each slice of each epoch, and for
each slice that is scored.

A cell is priced by the nearest finished cells that there are: of the same backbone, tuning, head and
adaptation; else by a probe, if there was one; else of any head; else of any tuning; else of any kind that is
trained, or adapted, at all. How wrong each of these is, is measured: every finished cell is priced by the
others, as if it were not finished.
"""

import json
import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median
from typing import Any, NamedTuple

from segshift import scores
from segshift.entries import matches
from segshift.grid import Grid, Model
from segshift.paths import Results

#: How near finished cells are, and what they have in common; the nearest first.
LEVELS: dict[str, Callable[[Model], tuple]] = {
    "the same backbone, tuning and head": lambda model: (*model[1:4], model.adapt),
    "the same backbone and tuning, other heads": lambda model: (*model[1:3], model.adapt),
    "the same backbone, other tunings": lambda model: (model.backbone, model.adapt),
    "other backbones": lambda model: (model.adapt is not None,),
}


SAME, *_ = LEVELS
PROBE = "a probe of some steps with random weights"


@dataclass(frozen=True)
class Price:
    """Of one cell: seconds, and the level and number of the finished cells behind them; ``error`` is the
    relative error of such prices, None where it could not be measured."""

    seconds: float
    level: str
    count: int
    error: float | None


@dataclass(frozen=True)
class Total:
    """Of several cells: seconds, their standard error in seconds, cells without a price, how many cells were
    priced without a known error, and how many models of whose scoring the price is not known."""

    seconds: float
    error: float
    unpriced: int
    unsure: int
    unscored: int = 0


class Scoring(NamedTuple):
    """To score a model on all its targets."""

    model: Model


Work = Model | Scoring  # a model: to train it, or to adapt it


class Rates:
    """Seconds a unit of work, as finished cells took them, by what they have in common."""

    def __init__(self) -> None:
        self._of: dict[str, dict[tuple, list[float]]] = {level: defaultdict(list) for level in LEVELS}
        self.probed: dict[tuple, float] = {}  # rates by what cells of the nearest level have in common

    def learn(self, model: Model, rate: float) -> None:
        """Take in a finished cell; before any price is asked for."""
        for level, group in LEVELS.items():
            insort(self._of[level][group(model)], rate)

    def price(self, model: Model, amount: float) -> Price | None:
        """The cost of so much work, as far as finished cells tell."""
        for level, group in LEVELS.items():
            if rates := self._of[level].get(group(model)):
                return Price(median(rates) * amount, level, len(rates), self.errors.get(level))
            if level == SAME and kind(model) in self.probed:
                return Price(self.probed[kind(model)] * amount, PROBE, 1, None)
        return None

    @cached_property
    def errors(self) -> dict[str, float]:
        """Root mean square of the relative errors with which finished cells are priced by others."""
        squares = defaultdict(list)
        for level, groups in self._of.items():
            for rates in groups.values():
                for index, rate in enumerate(rates if len(rates) > 1 else ()):
                    squares[level].append((_median_without(rates, index) / rate - 1) ** 2)
        return {level: math.sqrt(math.fsum(found) / len(found)) for level, found in squares.items()}


class Costs:
    """Prices of cells.

    Args:
        grid: says how many epochs a cell has, and what it is tested on.
        results: where manifests say how many slices a dataset has, and models how long their scoring took.
        records: run.json of finished models, by path.
    """

    def __init__(self, grid: Grid, results: Results, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.grid, self.results, self.records = grid, results, records
        self.training = Rates()
        for path, record in records.items():
            self._learn(Model.parse(path), record)

    def price(self, work: Work) -> Price | None:
        """The cost of training or adapting a cell, or of scoring one, as far as finished ones tell."""
        if isinstance(work, Scoring):
            return self.scoring.price(work.model.cell, self._scored(self.grid.targets[work.model.path]))
        return self.training.price(work, self._load(work.dataset) * epochs(self.grid, work))

    def probe(self, model: Model, seconds: float) -> None:
        """Remember what a cell would take by a probe, for all of its kind."""
        passes = self._load(model.dataset) * epochs(self.grid, model)
        self.training.probed[kind(model)] = seconds / passes

    def total(self, works: Iterable[Work]) -> Total:
        """The cost of all that together. Errors of one group add up, those of groups are independent."""
        seconds, unpriced, unsure, unscored = 0.0, 0, 0, 0
        groups: dict[tuple, float] = defaultdict(float)
        for work in works:
            price, scored = self.price(work), isinstance(work, Scoring)
            if price is None:
                unscored += scored
                unpriced += not scored
                continue
            seconds += price.seconds
            unsure += price.error is None and not scored
            group = LEVELS.get(price.level, kind)(work.model.cell if scored else work)
            groups[(scored, *group)] += price.seconds * (price.error or 0.0)
        error = math.sqrt(math.fsum(one**2 for one in groups.values()))
        return Total(seconds, error, unpriced, unsure, unscored)

    def slices(self, dataset: str) -> int | None:
        """Slices of a prepared dataset's training split."""
        return self._slices(dataset, ("train",))

    # ---- what finished cells say -----------------------------------------------------------------------

    def _learn(self, model: Model, record: Mapping[str, Any]) -> None:
        seconds = record.get("device_seconds")
        epochs = record.get("epochs") or record.get("configuration", {}).get("training", {}).get("epochs")
        if seconds and epochs:
            self.training.learn(model, seconds / (self._load(model.dataset) * epochs))

    @cached_property
    def scoring(self) -> Rates:
        """Seconds a slice of finished models, adapted or not. Older ones recorded no time."""
        rates = Rates()
        for path in self.records:
            took = scores.read_seconds(self.results.run(path))
            if slices := self._scored([name for name in took if name in self.grid.config.datasets]):
                rates.learn(Model.parse(path).cell, math.fsum(took.values()) / slices)
        return rates

    # ---- how much there is to do -----------------------------------------------------------------------

    def _load(self, dataset: str) -> float:
        """Slices of a dataset; of one that is not prepared, the median of those that are."""
        return self.slices(dataset) or self._usual(("train",))

    def _scored(self, targets: Iterable[str]) -> float:
        """Slices on which a model is scored."""
        return math.fsum(self._slices(name, scores.SPLITS) or self._usual(scores.SPLITS) for name in targets)

    @cached_property
    def _usual(self) -> Callable[[tuple[str, ...]], float]:
        @cache
        def usual(splits: tuple[str, ...]) -> float:
            known = [found for name in self.grid.datasets() if (found := self._slices(name, splits))]
            return median(known) if known else 1.0

        return usual

    @cached_property
    def _slices(self) -> Callable[[str, tuple[str, ...]], int | None]:
        @cache
        def read(dataset: str) -> dict[str, Any] | None:
            try:
                return json.loads((self.results.data(dataset) / "manifest.json").read_text())["splits"]
            except (FileNotFoundError, ValueError, KeyError):  # not prepared; `prepare` names a damaged one
                return None

        def count(dataset: str, splits: tuple[str, ...]) -> int | None:
            there = read(dataset)
            if there is None or not set(splits) <= there.keys():
                return None
            return sum(one["slices"] for split in splits for one in there[split]["volumes"])

        return count


def hours(seconds: float) -> str:
    """Seconds as hours: a digit behind the point, and of less than one hour two digits that count."""
    return f"{seconds / 3600:.1f}" if seconds >= 3600 else f"{seconds / 3600:.2g}"


def kind(model: Model) -> tuple:
    """Backbone, tuning, head and adaptation: cells that differ in nothing else cost alike."""
    return LEVELS[SAME](model)


def _median_without(ordered: list[float], index: int) -> float:
    """The median of all but one of two or more numbers in order."""
    left = len(ordered) - 1
    low, high = ((left - 1) // 2, left // 2)
    return (ordered[low + (low >= index)] + ordered[high + (high >= index)]) / 2


def epochs(grid: Grid, model: Model) -> int:
    """``grid.training(model)["epochs"]``, without the other settings, which take longer to check."""
    where = {"dataset": model.dataset, "adapt": model.adapt or "none"}
    where |= {axis: getattr(model, axis) for axis in ("backbone", "tuning", "head")}
    found = None
    for line in grid.config.training:
        if "epochs" in line.use and matches(line, where):
            found = line.use["epochs"]
    return grid.training(model)["epochs"] if found is None else found
