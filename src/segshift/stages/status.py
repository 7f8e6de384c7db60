"""`segshift status`: the grid at a glance. With ``--failed`` what failed, its last line, and where its log
lies: the end of a failed workflow's output."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from segshift import grid
from segshift.adding.cost import duration
from segshift.paths import Results
from segshift.steering import matrix, overview
from segshift.steering.costs import hours
from segshift.steering.logs import last_line
from segshift.steering.overview import Overview
from segshift.steering.states import State

SHOWN = 20  # cells that are listed of each state


def run(config: str | Path, results: Results, experiments: list[str], as_json: bool = False) -> None:
    """Print the states of all cells: a matrix an experiment, those that are worth a line, and totals.

    Args:
        config: the configuration's folder.
        results: where cells are looked for.
        experiments: their names; none means all that the workflow makes when it is asked for nothing else.
        as_json: the same as JSON.

    Raises:
        SegShiftError: a mistake in the configuration, or an unknown experiment.
    """
    seen = overview.look(grid.read(config), results, experiments)
    if as_json:
        print(json.dumps(seen.document(), indent=1))
        return
    width = shutil.get_terminal_size().columns
    print("\n".join(lines(seen, width, sys.stdout.isatty())))


def lines(seen: Overview, width: int, colour: bool = False) -> Iterable[str]:
    """What is printed for people."""
    cells = seen.cells
    for name, own in seen.experiments.items():
        yield f"{name}: {seen.grid.config.experiments[name].title}"
        yield from matrix.lines(own, width, colour)
        yield f"  {_counted(overview.count(own))}"
        yield ""
    yield matrix.legend(state.state for state in cells.values())
    for state in ("failed", "running", "queued", "stopped", "changed"):
        yield from _listed(state, {model.path: one for model, one in cells.items() if one.state == state})
    yield ""
    if seen.others:
        yield f"not in all, see segshift status NAME: {', '.join(seen.others)}"
    if seen.workflow:
        yield f"a workflow works here: {seen.workflow}"
    if seen.remark:
        yield seen.remark
    yield f"all: {len(cells)} cells, {_counted(overview.count(cells))}"
    yield _hours(seen)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "no cell"


def _listed(state: str, cells: dict[str, State]) -> Iterable[str]:
    """A paragraph of the cells in a state."""
    if not cells:
        return
    yield f"\n{state}"
    for path, one in list(cells.items())[:SHOWN]:
        yield f"  {path}: {_told(one)}"
        if one.log and state == "failed":
            yield f"    log: {one.log}"
    if len(cells) > SHOWN:
        yield f"  and {len(cells) - SHOWN} more: segshift status --json"


def _told(one: State) -> str:
    parts = [f"epoch {one.epoch} of {one.epochs}"] if one.epochs and one.epoch is not None else []
    parts += [f"{duration(one.left)} left"] if one.left is not None else []
    return ", ".join([*parts, *([one.note] if one.note else [])]) or "just begun"


def _hours(seen: Overview) -> str:
    """Spent and to go."""
    spent = f"trainings and adaptations: {hours(seen.spent)} device-hours spent"
    total = seen.to_go
    if not total.seconds and not total.unpriced:
        return f"{spent}, none to go"
    if not total.seconds:
        return f"{spent}; {total.unpriced} cells to go, of whose cost nothing is known: segshift plan --probe"
    sure = f" ± {hours(total.error)}" if total.error else ""
    more = f", and {total.unpriced} cells of unknown cost" if total.unpriced else ""
    return f"{spent}, about {hours(total.seconds)}{sure} to go{more} (segshift plan)"


def failed(results: Results, jobs: list[str]) -> None:
    """Print one paragraph a failed job.

    Args:
        results: for the folder of partial tables.
        jobs: ``rule=log`` of each, as the workflow knows them.
    """
    partial = (results.tables / "partial").resolve()
    print(f"\n{len(jobs)} failed. Partial tables: {partial}. Try again: the same command")
    for pair in jobs:
        rule, _, name = pair.partition("=")
        log = Path(name).resolve()  # the workflow may run in another folder than its reader's shell
        print(f"  {rule} {Path(name).parent}: {last_line(log)}\n    log: {log}")
