"""`segshift rerun CELL…`: forget finished models, so that the next workflow makes them again."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from segshift import grid, settings, tracking
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.lock import CellLock
from segshift.paths import Results
from segshift.steering import patterns
from segshift.tables import plan

FILES = ("model.ckpt", "lowest_loss.ckpt", "last.ckpt", "run.json", "scores.csv")


def run(
    cells: list[str],
    root: str = "results",
    outdated: bool = False,
    config: str | Path = "config",
    yes: bool = True,
) -> None:
    """Remove weights, scores and saved states of the given models; journals stay, as earlier attempts.

    What is forgotten, what follows from it and which tables show it is listed first.

    Args:
        cells: folders, paths or patterns of models.
        root: the results folder.
        outdated: all models of the grid too that were made by other code than today's.
        config: says what the grid is.
        yes: do not ask.

    Raises:
        SegShiftError: no such model, or one is being trained: then none is forgotten; or nobody is there to
            be asked.
    """
    expanded = grid.read(config) if outdated or Path(config).is_dir() else None
    results = Results(root)
    located = patterns.chosen(expanded, results, cells)
    if expanded and outdated:
        jobs = expanded.jobs.items()
        older = [p for p, m in jobs if settings.outdated(results.run(p), expanded.settings(m))]
        named = {(own.root, path) for own, path in located}
        located += [(results, path) for path in older if (results.root, path) not in named]
    if not located:
        print("nothing to forget")
        return
    for own, path in located:
        if Model.parse(path).external:
            raise SegShiftError(f"{path} was made by another tool; segshift score scores its masks again")
        if tracking.lives(own.run(path)):
            raise SegShiftError(f"{own.run(path)} is being trained; nothing was forgotten")
    print("\n".join(_lines(expanded, results, [path for _, path in located])))
    if not yes and not _agreed(len(located), outdated or any(map(patterns.is_pattern, cells))):
        print("nothing was forgotten")
        return
    for own, path in located:
        _forget(own.run(path))
        print(f"{path}: forgotten; `snakemake` makes it again")


def _forget(folder: Path) -> None:
    with CellLock(folder):
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        for part in ("scores", "snapshots", "resume/ready"):
            shutil.rmtree(folder / part, ignore_errors=True)
        for file in (folder / "resume").glob("*.ckpt"):
            file.unlink()


def _agreed(number: int, many: bool) -> bool:
    """Whether somebody says yes. A single cell that a script names by its path needs nobody."""
    if not sys.stdin.isatty():
        if many:
            raise SegShiftError("nobody is here to be asked; say --yes")
        return True
    return input(f"Forget {'it' if number == 1 else f'these {number}'}? [y/N] ").strip().lower() in (
        "y",
        "yes",
    )


def _lines(expanded: Grid | None, results: Results, paths: list[str]) -> Iterable[str]:
    """What is forgotten, what is made again because of it, and the tables."""
    yield f"to be made again: {len(paths)}"
    yield from (f"  {path}" for path in paths)
    if expanded is None:
        return
    followers = [
        path
        for path, model in expanded.jobs.items()
        if model.adapt and model.cell.path in paths and path not in paths
        if (results.run(path) / "run.json").exists()
    ]
    if followers:
        yield f"adapted from them, so made again as well: {len(followers)}"
        yield from (f"  {path}" for path in followers)
    yield f"tables that show them: {', '.join(_tables(expanded, {*paths, *followers})) or 'none'}"


def _tables(expanded: Grid, paths: set[str]) -> list[str]:
    """Tables that `all` builds of experiments with one of these models."""
    experiments = {
        name
        for name in plan.built(expanded)
        if any(
            model.path in paths or _source(model) in paths for model, _ in expanded.experiments[name].scores
        )
    }
    entries = expanded.config.tables
    known = {name: entries[name].experiments if entries else [name] for name in plan.names(expanded)}
    return [name for name, own in known.items() if experiments & set(own)]


def _source(model: Model) -> str | None:
    """The trained cell of an adapted model."""
    return model.cell.path if model.adapt else None
