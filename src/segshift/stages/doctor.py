"""`segshift doctor`: is all there that a workflow needs? A line a thing, each with what to do about it."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from segshift import grid, modules
from segshift.doctor import environment, inputs, machine, tracker
from segshift.doctor.finding import Finding, bounded
from segshift.errors import SegShiftError
from segshift.grid import Grid
from segshift.paths import Results

PATIENCE = 30.0  # seconds for the files of one dataset
SHORT = 15.0  # seconds for everything else
MARKS = {"ok": "ok  ", "note": "note", "fix": "FIX "}


def run(config: str | Path, results: Results) -> int:
    """Print what was found.

    Returns:
        1 if something that is needed is missing.
    """
    wrong = 0
    for one in findings(Path(config), results):
        wrong += one.state == "fix"
        print(f"{MARKS[one.state]}  {one.subject}: {one.said}", flush=True)
        if one.to_do:
            print(f"        {one.to_do}", flush=True)
    print(f"\n{wrong} to mend" if wrong else "\nall that is needed is there")
    return int(bool(wrong))


def findings(config: Path, results: Results) -> Iterable[Finding]:
    """What every check says, one after the other; none takes longer than its bound."""
    yield from environment.python()
    yield from bounded("packages", environment.packages, SHORT)
    yield from bounded("disk", partial(environment.disk, results.root), SHORT)
    yield from bounded("gpu", machine.gpu, SHORT)
    places = (config / "site.example.yaml", modules.PACKAGE.parents[1] / "config" / "site.example.yaml")
    defaults = next((file for file in places if file.is_file()), None)
    if defaults:
        yield from bounded("slurm", partial(machine.slurm, defaults, config / "site.yaml"), 2 * SHORT)
    else:
        yield Finding("fix", "site.yaml", f"there is no {places[0]}", "run it in the checkout")
    try:
        expanded = grid.read(config)
    except SegShiftError as error:
        yield Finding("fix", "configuration", str(error))
        return
    yield Finding("ok", "configuration", f"{len(expanded.jobs)} models can be made from {config}")
    yield from bounded("tracking", partial(tracker.check, expanded, results), SHORT)
    yield from _inputs(expanded, results)


def _inputs(expanded: Grid, results: Results) -> Iterable[Finding]:
    yield from bounded("weights", partial(inputs.weights, expanded, results), SHORT)
    for name in inputs.datasets(expanded):
        yield from bounded(f"data {name}", partial(inputs.dataset, expanded, results, name), PATIENCE)
