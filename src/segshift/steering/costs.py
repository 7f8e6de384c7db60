"""What cells would cost, from finished ones: seconds of their device for each slice of each epoch.

A cell is priced by the nearest finished cells that there are: of the same backbone, tuning, head and
adaptation; else by a probe, if there was one; else of any head; else of any tuning; else of any kind that is
trained, or adapted, at all. How wrong each of these is, is measured: every finished cell is priced by the
others, as if it were not finished.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import median
from typing import Any

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
    """Of several cells: seconds, their standard error in seconds, cells without a price, and how many cells
    were priced without a known error."""

    seconds: float
    error: float
    unpriced: int
    unsure: int


class Costs:
    """Prices of cells.

    Args:
        grid: says how many epochs a cell has.
        results: where manifests say how many slices a dataset has.
        records: run.json of finished models, by path.
    """

    def __init__(self, grid: Grid, results: Results, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.grid, self.results = grid, results
        self._rates: dict[str, dict[tuple, list[float]]] = {level: defaultdict(list) for level in LEVELS}
        self.probed: dict[tuple, float] = {}  # rates by what cells of the nearest level have in common
        for path, record in records.items():
            self._learn(Model.parse(path), record)
        for groups in self._rates.values():
            for rates in groups.values():
                rates.sort()

    def price(self, model: Model) -> Price | None:
        """The cost of a cell, as far as finished ones tell."""
        passes = self._load(model.dataset) * epochs(self.grid, model)
        for level, group in LEVELS.items():
            if rates := self._rates[level].get(group(model)):
                return Price(median(rates) * passes, level, len(rates), self._errors.get(level))
            if level == SAME and kind(model) in self.probed:
                return Price(self.probed[kind(model)] * passes, PROBE, 1, None)
        return None

    def probe(self, model: Model, seconds: float) -> None:
        """Remember what a cell would take by a probe, for all of its kind."""
        self.probed[kind(model)] = seconds / (self._load(model.dataset) * epochs(self.grid, model))

    def total(self, models: Iterable[Model]) -> Total:
        """The cost of cells together. Errors of one group add up, those of groups are independent."""
        seconds, unpriced, unsure = 0.0, 0, 0
        groups: dict[tuple, float] = defaultdict(float)
        for model in models:
            price = self.price(model)
            if price is None:
                unpriced += 1
                continue
            seconds += price.seconds
            unsure += price.error is None
            groups[LEVELS.get(price.level, kind)(model)] += price.seconds * (price.error or 0.0)
        return Total(seconds, math.sqrt(math.fsum(one**2 for one in groups.values())), unpriced, unsure)

    def slices(self, dataset: str) -> int | None:
        """Slices of a prepared dataset's training split."""
        return self._slices(dataset)

    # ---- what finished cells say -----------------------------------------------------------------------

    def _learn(self, model: Model, record: Mapping[str, Any]) -> None:
        seconds = record.get("device_seconds")
        epochs = record.get("epochs") or record.get("configuration", {}).get("training", {}).get("epochs")
        if not seconds or not epochs:
            return
        for level, group in LEVELS.items():
            self._rates[level][group(model)].append(seconds / (self._load(model.dataset) * epochs))

    @cached_property
    def _errors(self) -> dict[str, float]:
        """Root mean square of the relative errors with which finished cells are priced by others."""
        squares = defaultdict(list)
        for level, groups in self._rates.items():
            for rates in groups.values():
                for index, rate in enumerate(rates if len(rates) > 1 else ()):
                    squares[level].append((_median_without(rates, index) / rate - 1) ** 2)
        return {level: math.sqrt(math.fsum(found) / len(found)) for level, found in squares.items()}

    # ---- how much there is to do -----------------------------------------------------------------------

    def _load(self, dataset: str) -> float:
        """Slices of a dataset; of one that is not prepared, the median of those that are."""
        return self._slices(dataset) or self._usual

    @cached_property
    def _usual(self) -> float:
        known = [found for name in self.grid.datasets() if (found := self._slices(name))]
        return median(known) if known else 1.0

    @cached_property
    def _slices(self) -> Callable[[str], int | None]:
        @cache
        def read(dataset: str) -> int | None:
            try:
                manifest = json.loads((self.results.data(dataset) / "manifest.json").read_text())
                return sum(one["slices"] for one in manifest["splits"]["train"]["volumes"])
            except (FileNotFoundError, ValueError, KeyError):  # not prepared; `prepare` names a damaged one
                return None

        return read


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
