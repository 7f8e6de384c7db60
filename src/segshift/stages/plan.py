"""`segshift plan`: what the grid would still cost, on what evidence, and which tables a budget buys."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from segshift import grid
from segshift.adding import cost
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.steering import budget as budgets
from segshift.steering import overview
from segshift.steering.budget import Offer
from segshift.steering.costs import PROBE, SAME, Costs, Scoring, Total, Work, hours, kind

ABOUT = "Hours are those of one device, as finished cells took them on theirs."


def run(
    config: str | Path,
    results: Results,
    experiments: list[str],
    budget: str | None = None,
    listed: bool = False,
    probe: bool = False,
    as_json: bool = False,
) -> None:
    """Print a line a kind of cell, a total, and with a budget a line a table.

    Args:
        config: the configuration's folder.
        results: where finished cells are.
        experiments: their names; none means all that the workflow makes when it is asked for nothing else.
        budget: such as ``40h``.
        listed: tables in the order of tables.yaml; else the cheapest first.
        probe: try kinds of which no cell is finished for some steps, on this machine.
        as_json: the same as JSON.

    Raises:
        SegShiftError: an unknown experiment, no duration, or a model that cannot be probed.
    """
    expanded = grid.read(config)
    allowed = budgets.seconds(budget) if budget else None
    seen = overview.look(expanded, results, experiments)
    to_do, to_score, costs = seen.to_do, seen.to_score, seen.costs
    if probe:
        _probe(expanded, results, costs, to_do)
    offers = []
    if allowed is not None:
        needed = budgets.needs(expanded, list(seen.experiments), [*to_do, *to_score])
        offers = list(budgets.offers(needed, costs, allowed, not listed))
    if as_json:
        print(json.dumps(_document(costs, to_do, to_score, offers), indent=1))
    else:
        print("\n".join(_lines(costs, to_do, to_score)))
        if budget:
            print("\n".join(_bought(expanded, offers, budget, listed)))


def _probe(expanded: Grid, results: Results, costs: Costs, to_do: Iterable[Model]) -> None:
    """Some steps of one cell of each kind that no finished cell tells of."""
    for _, models in _kinds(to_do).items():
        price = costs.price(models[0])
        if price and price.level in (SAME, PROBE):
            continue
        model = next((one for one in models if costs.slices(one.dataset)), None)
        if model is None:
            names = ", ".join(sorted({one.dataset for one in models}))
            raise SegShiftError(f"a probe needs images: first segshift prepare one of {names}")
        manifest = json.loads((results.data(model.dataset) / "manifest.json").read_text())
        size = tuple(manifest["splits"]["train"]["volumes"][0]["shape"])
        found = cost.estimate(expanded, results, model, costs.slices(model.dataset), size)
        costs.probe(model, found.seconds)


def _kinds(models: Iterable[Model]) -> dict[tuple, list[Model]]:
    found = defaultdict(list)
    for model in models:
        found[kind(model)].append(model)
    return found


def _lines(costs: Costs, to_do: list[Model], to_score: list[Scoring]) -> Iterable[str]:
    if not (to_do or to_score):
        yield "nothing is to be trained or scored"
        return
    rows = [("", "cells", "device-hours", "from")]
    for own, models in _kinds(to_do).items():
        price = costs.price(models[0])
        name = "/".join(part for part in own if part)
        basis = "nothing is known: --probe" if price is None else price.level
        if price and price.level != PROBE:
            basis = f"{price.count} finished of {price.level}"
        rows.append((name, str(len(models)), _hours(costs.total(models)), basis))
    if to_score:
        scoring = costs.total(to_score)
        basis = "finished scorings" if scoring.seconds else "nothing is known"
        rows.append(("scoring", str(len(to_score)), _hours(scoring), basis))
    widths = [max(len(row[at]) for row in rows) for at in range(3)]
    for name, number, time, basis in rows:
        yield f"{name:{widths[0]}}  {number:>{widths[1]}}  {time:>{widths[2]}}  {basis}".rstrip()
    total = costs.total([*to_do, *to_score])
    yield f"\nall: {len(to_do)} cells, {len(to_score)} to score, {_hours(total)} device-hours"
    if total.unsure:
        yield f"of {total.unsure} cells it is not known how wrong that may be"
    if total.unscored:
        yield f"the scoring of {total.unscored} models is not in it: no finished one noted what it took"
    if unprepared := sorted({one.dataset for one in to_do if not costs.slices(one.dataset)}):
        yield f"not prepared, so taken for as large as the others: {', '.join(unprepared)}"
    yield ABOUT


def _bought(expanded: Grid, offers: list[Offer], budget: str, listed: bool) -> Iterable[str]:
    order = "in the order of tables.yaml" if listed else "the cheapest first"
    yield f"\nWith {budget}, {order}; a cell that several tables need is paid once:"
    width = max((len(one.table) for one in offers), default=0)
    for one in offers:
        entry = expanded.config.tables.get(one.table) or expanded.config.experiments[one.table]
        verdict = "yes" if one.had else "no "
        yield f"  {verdict}  {one.table:{width}}  {_hours(one.own):>14}  {entry.title}"
    had = [one for one in offers if one.had]
    if not had:
        yield "no table"
        return
    yield f"{len(had)} of {len(offers)} tables for {_hours(had[-1].all)} device-hours:"
    prefix = "table_" if expanded.config.tables else ""
    yield "  snakemake " + " ".join(f"results/tables/{prefix}{one.table}.csv" for one in had)


def _hours(total: Total) -> str:
    if not total.seconds and (total.unpriced or total.unscored):
        return "?"
    said = hours(total.seconds) + (f" ± {hours(total.error)}" if total.error else "")
    return said + (f" + {total.unpriced} cells" if total.unpriced else "")


def _document(costs: Costs, to_do: list[Model], to_score: list[Scoring], offers: list[Offer]) -> dict:
    cells = [{"cell": model.path, **_priced(costs, model)} for model in to_do]
    scored = [{"cell": one.model.path, **_priced(costs, one)} for one in to_score]
    total = asdict(costs.total([*to_do, *to_score]))
    return {"cells": cells, "scorings": scored, "total": total, "tables": [asdict(one) for one in offers]}


def _priced(costs: Costs, work: Work) -> dict:
    price = costs.price(work)
    return asdict(price) if price else {"seconds": None}
