"""`segshift why CELL`: why a cell would be made again, or why it would not; old and new side by side."""

from collections.abc import Iterable
from pathlib import Path

from segshift import grid
from segshift.grid import Grid, Model
from segshift.paths import Results, locate
from segshift.stages.settings import parse
from segshift.steering import reasons, workflows
from segshift.steering.reasons import Reason
from segshift.steering.states import DONE, STATES, States


def run(config: str | Path, results: Results, cells: list[str]) -> None:
    """Print what is known of each cell.

    Raises:
        SegShiftError: no cell, an unknown name in it, or a damaged file.
    """
    expanded = grid.read(config)
    models = [parse(expanded, locate(cell, results.root)[1]) for cell in cells]
    print("\n\n".join("\n".join(lines(expanded, results, model)) for model in models))


def lines(expanded: Grid, results: Results, model: Model) -> Iterable[str]:
    """The report on a cell, line by line."""
    jobs, remark = workflows.jobs(results)
    state = States(expanded, results, jobs).of(model)
    yield f"{model.path}: {STATES[state.state][1]}{f' ({state.note})' if state.note else ''}"
    if remark:
        yield remark
    if state.state == "planned":
        return
    if model.external:
        yield "another tool made it: nothing makes it again here, segshift score scores its masks again"
        return
    if model.path not in expanded.jobs:
        yield "no experiment asks for it, so no workflow makes it"
    verb = "adapt" if model.adapt else "train"
    training = reasons.of_training(expanded, results, model)
    again = [one for one in training if one.effect == "again"]
    if any((results.run(model.path) / name).exists() for name in DONE):
        yield from _verdict(verb, again, "nothing that decides it has changed")
    else:
        yield f"{verb}: for the first time"
    scoring = reasons.of_scores(expanded, results, model)
    if again:
        yield "evaluate: after it"
    else:
        yield from _verdict("evaluate", scoring, "all targets are scored, with this model and this data")
    for effect, sentence in (
        ("refused", "not made again by itself, but refused where it is used, until segshift rerun:"),
        ("kept", "makes nothing again by itself (segshift rerun does):"),
    ):
        if found := [one for one in training if one.effect == effect]:
            yield sentence
            yield from _table(found)


def _verdict(verb: str, found: list[Reason], otherwise: str) -> Iterable[str]:
    if not found:
        yield f"{verb}: not again, {otherwise}"
        return
    yield f"{verb}: again"
    yield from _table(found)


def _table(found: list[Reason]) -> Iterable[str]:
    """What, then, now."""
    rows = [("", "then", "now"), *((one.what, one.then, one.now) for one in found)]
    widths = [max(len(row[at]) for row in rows) for at in (0, 1)]
    for what, then, now in rows:
        yield f"  {what:{widths[0]}}  {then:{widths[1]}}  {now}".rstrip()
