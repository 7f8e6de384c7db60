"""Which tables can be had for a number of device-hours."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.steering.costs import Costs, Scoring, Total, Work
from segshift.tables import plan

HOURS = {"m": 1 / 60, "min": 1 / 60, "h": 1.0, "d": 24.0}


@dataclass(frozen=True)
class Offer:
    """A table, what it costs after those before it, what all of them cost, and whether the budget has it."""

    table: str
    own: Total
    all: Total
    had: bool


def seconds(text: str) -> float:
    """Seconds of a duration such as ``40h``, ``90min`` or ``2d``; a bare number is hours.

    Raises:
        SegShiftError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|h|d)?", text.strip())
    if not match:
        raise SegShiftError(f"the budget {text!r} is no duration such as 40h, 90min or 2d")
    return float(match[1]) * HOURS[match[2] or "h"] * 3600


def needs(grid: Grid, experiments: Collection[str], to_do: Collection[Work]) -> dict[str, set[Work]]:
    """Tables that `all` builds of these experiments alone, with what is still to be made for each.

    The workflow builds a table when every cell of its experiments is tracked.
    """
    entries = grid.config.tables
    left: dict[Model, set[Work]] = defaultdict(set)
    for work in to_do:
        left[work.model if isinstance(work, Scoring) else work].add(work)
    names = {name: entries[name].experiments if entries else [name] for name in plan.names(grid)}
    names = {name: own for name, own in names.items() if set(own) <= set(experiments)}
    of = {
        one: set().union(*(left[model] for model in grid.models([one])))
        for own in names.values()
        for one in own
    }
    return {table: set().union(*(of[one] for one in own)) for table, own in names.items()}


def offers(
    needed: Mapping[str, set[Work]], costs: Costs, budget: float, cheapest: bool = True
) -> Iterable[Offer]:
    """Tables in the order in which they are bought; a cell that several need is paid once.

    Args:
        needed: from ``needs``.
        costs: prices of cells.
        budget: seconds.
        cheapest: that table first which costs least beside those that are had; else as they are listed. One
            with cells of unknown cost is never had, and comes last.
    """
    paid: set[Work] = set()
    left = dict(needed)
    while left:
        prices = {table: costs.total(cells - paid) for table, cells in left.items()}
        table = next(iter(left))
        if cheapest:
            table = min(prices, key=lambda name: (prices[name].unpriced, prices[name].seconds))
        cells = left.pop(table)
        together = costs.total(paid | cells)
        had = not together.unpriced and together.seconds <= budget
        yield Offer(table, prices[table], together, had)
        if had:
            paid |= cells
