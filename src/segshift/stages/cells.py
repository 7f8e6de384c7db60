"""``segshift cells``: every cell of the experiments and how far it is.

A cell is ``done`` when its folder holds a model, its run and its scores. What an experiment leaves out on
purpose, or cannot have yet because an entry is planned, is listed with the reason; nothing is skipped
silently.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from segshift import grid, tracking
from segshift.errors import SegShiftError, unknown
from segshift.exported_scores import IMPORTED
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.settings import outdated

DONE = ("model.ckpt", "run.json", "scores.csv")
STATES = ("done", "missing", "left out", "not yet possible")


class Row(NamedTuple):
    """A cell of an experiment; ``target`` is set where one score of a cell is left out, not the cell."""

    cell: str
    target: str | None
    state: str
    reason: str


class Counts(NamedTuple):
    """Distinct models and scores; ``scores`` are those of trained, not adapted, models."""

    trainings: int
    scores: int
    adaptations: dict[str, int]
    states: dict[str, int]


def run(config_folder: str | Path, results: Results, experiments: list[str], as_json: bool = False) -> None:
    """Print the cells of the experiments, a summary of each, and a total.

    Args:
        config_folder: the configuration.
        results: where finished models are looked for.
        experiments: their names; none means all that the workflow makes when it is asked for nothing else.
        as_json: the same as JSON.

    Raises:
        SegShiftError: a mistake in the configuration, or an unknown experiment.
    """
    expanded = grid.read(config_folder)
    for name in experiments:
        if name not in expanded.experiments:
            raise unknown("unknown experiment", name, expanded.experiments)
    others = [name for name, entry in expanded.config.experiments.items() if not entry.in_all]
    names = experiments or [name for name in expanded.experiments if name not in others]
    rows = {name: list(cells(expanded, results, name)) for name in names}
    if as_json:
        print(json.dumps(_document(expanded, rows), indent=1))
    else:
        if others and not experiments:
            print(f"not in all, see segshift cells NAME: {', '.join(others)}\n")
        print("\n".join(_lines(expanded, rows)))


def cells(expanded: Grid, results: Results, experiment: str) -> Iterable[Row]:
    """The rows of an experiment: its models, trained before adapted, then what it leaves out."""
    scores = expanded.experiments[experiment].scores
    targets: dict[Model, list[str]] = {model: [] for model in expanded.models([experiment])}
    for model, target in scores:
        targets[model].append(target)
    for model in targets:
        yield _row(expanded, results, model, targets[model])
    for model, target, reason in expanded.experiments[experiment].left_out:
        if model in targets:
            yield Row(model.path, target, "left out", reason)
        elif model.adapt or target == model.source:  # the cell itself is left out, once for all its targets
            yield Row(model.path, None, "left out", reason)


def _imported(folder: Path) -> bool:
    try:
        return bool((tracking.read_record(folder) or {}).get(IMPORTED))
    except SegShiftError:  # `segshift why` says that it is damaged
        return False


def _row(expanded: Grid, results: Results, model: Model, targets: list[str]) -> Row:
    if planned := expanded.planned(model):
        return Row(model.path, None, "not yet possible", f"{', '.join(planned)} planned")
    waiting = [target for target in targets if expanded.planned(model, target)]
    note = f"no score yet on {', '.join(waiting)}, planned" if waiting else ""
    folder = results.run(model.path)
    # of another tool's or another site's model there is no checkpoint
    elsewhere = model.external or _imported(folder)
    needed = DONE[1:] if elsewhere else DONE
    missing = [name for name in needed if not (folder / name).exists()]
    if not missing:
        known = None if elsewhere else expanded.settings(model)
        older = "made by older code" if known and outdated(folder, known) else ""
        return Row(model.path, None, "done", "; ".join(filter(None, [older, note])))
    if len(missing) < len(needed):
        note = "; ".join(filter(None, [f"lacks {', '.join(missing)}", note]))
    return Row(model.path, None, "missing", note)


def count(expanded: Grid, rows: dict[str, list[Row]]) -> Counts:
    """Distinct counts over the experiments of ``rows``."""
    models = expanded.models(list(rows))
    scores = {score for name in rows for score in expanded.experiments[name].scores if not score.model.adapt}
    adaptations = Counter(model.adapt for model in models if model.adapt)
    states = Counter(state for _, _, state in {row[:3] for listed in rows.values() for row in listed})
    trainings = sum(1 for model in models if not model.adapt)
    return Counts(trainings, len(scores), dict(adaptations), {state: states[state] for state in STATES})


def summary(counts: Counts) -> str:
    """The counts in words, such as ``349 trainings, 974 scores, 176 + 176 adaptations; 0 done, ...``."""
    parts = [f"{counts.trainings} trainings", f"{counts.scores} scores"]
    if counts.adaptations:
        parts.append(f"{' + '.join(str(number) for number in counts.adaptations.values())} adaptations")
    return f"{', '.join(parts)}; {', '.join(f'{number} {state}' for state, number in counts.states.items())}"


def _lines(expanded: Grid, rows: dict[str, list[Row]]) -> Iterable[str]:
    shown = {name: [(_cell(row), row.state, row.reason) for row in listed] for name, listed in rows.items()}
    widths = [max((len(row[at]) for listed in shown.values() for row in listed), default=0) for at in (0, 1)]
    for name, listed in shown.items():
        yield f"{name}: {expanded.config.experiments[name].title}"
        for cell, state, reason in listed:
            yield f"  {cell:{widths[0]}}  {state:{widths[1]}}  {reason}".rstrip()
        yield ""
    for name, listed in rows.items():
        yield f"{name}: {summary(count(expanded, {name: listed}))}"
    yield f"all: {summary(count(expanded, rows))}"


def _cell(row: Row) -> str:
    return f"{row.cell} on {row.target}" if row.target else row.cell


def _document(expanded: Grid, rows: dict[str, list[Row]]) -> dict[str, Any]:
    experiments = {
        name: {
            "title": expanded.config.experiments[name].title,
            "cells": [row._asdict() for row in listed],
            "counts": count(expanded, {name: listed})._asdict(),
        }
        for name, listed in rows.items()
    }
    return {"experiments": experiments, "total": count(expanded, rows)._asdict()}
