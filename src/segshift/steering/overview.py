"""A grid at a glance: every experiment with the states of its cells, and what was spent and is to go."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from segshift.errors import unknown
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.steering import workflows
from segshift.steering.costs import Costs, Scoring, Total
from segshift.steering.states import STATES, State, States

NO_WORK = ("done", "older", "planned")


@dataclass
class Overview:
    """Experiments by name: states of their cells, and reasons of those that they leave out on purpose.

    ``workflow``: who works here. ``remark``: what could not be asked. ``spent``: seconds of devices.
    ``to_do`` is still to be trained or adapted, ``to_score`` still to be scored.
    """

    grid: Grid
    experiments: dict[str, dict[Model, State]]
    others: list[str]
    workflow: str | None
    remark: str
    spent: float
    to_do: list[Model]
    to_score: list[Scoring]
    costs: Costs

    @property
    def to_go(self) -> Total:
        """What trainings and adaptations cost that are still to be made; of those that run, all of it."""
        return self.costs.total(self.to_do)

    @property
    def cells(self) -> dict[Model, State]:
        """Every cell once. One that only some experiments leave out is in the state of the others."""
        found: dict[Model, State] = {}
        for cells in self.experiments.values():
            for model, state in cells.items():
                if model not in found or found[model].state == "left out":
                    found[model] = state
        return found

    def document(self) -> dict[str, Any]:
        """For programs."""
        experiments = {
            name: {
                "title": self.grid.config.experiments[name].title,
                "cells": [{"cell": model.path, **asdict(state)} for model, state in cells.items()],
                "counts": count(cells),
            }
            for name, cells in self.experiments.items()
        }
        to_go = self.to_go
        return {
            "experiments": experiments,
            "counts": count(self.cells),
            "workflow": self.workflow,
            "remark": self.remark or None,
            "spent_seconds": self.spent,
            "to_go": asdict(to_go),
        }


def look(grid: Grid, results: Results, names: list[str]) -> Overview:
    """Look at all cells of some experiments.

    Args:
        grid: the grid.
        results: where finished and running cells are.
        names: experiments; none means those that the workflow makes when it is asked for nothing else.

    Raises:
        SegShiftError: an unknown experiment.
    """
    for name in names:
        if name not in grid.experiments:
            raise unknown("unknown experiment", name, grid.experiments)
    others = [name for name in grid.experiments if not grid.config.experiments[name].in_all]
    names = names or [name for name in grid.experiments if name not in others]
    jobs, remark = workflows.jobs(results)
    states = States(grid, results, jobs)
    known = {model: states.of(model) for model in grid.models(names)}
    experiments = {name: _experiment(grid, name, known) for name in names}
    states.code.remember()
    spent = sum(state.seconds for state in known.values())
    # What another tool made is made by no job.
    work = [m for m, state in known.items() if state.state not in NO_WORK and m.path in grid.jobs]
    # A finished record says that a model is trained, also where its scoring runs, waits or failed; but it
    # stays where it is while a row makes another one, or a job is about to.
    to_do = [model for model in work if model.path in states.renewed or model.path not in states.records]
    costs = Costs(grid, results, states.records)
    to_score = [Scoring(model) for model in work]
    return Overview(grid, experiments, others, states.workflow, remark, spent, to_do, to_score, costs)


def _experiment(grid: Grid, name: str, known: dict[Model, State]) -> dict[Model, State]:
    cells = {model: known[model] for model in grid.models([name])}
    for model, target, reason in grid.experiments[name].left_out:
        if model not in cells and (model.adapt or target == model.source):
            cells[model] = State("left out", reason)
    return cells


def count(cells: dict[Model, State]) -> dict[str, int]:
    """Cells in each state, of those states that there are."""
    found = Counter(state.state for state in cells.values())
    return {state: found[state] for state in STATES if found[state]}
