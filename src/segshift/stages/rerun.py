"""`segshift rerun CELL…`: forget finished models, so that the next workflow makes them again."""

import shutil
from pathlib import Path

from segshift import grid, settings
from segshift.errors import SegShiftError
from segshift.lock import CellLock
from segshift.paths import Results, locate

FILES = ("model.ckpt", "lowest_loss.ckpt", "last.ckpt", "run.json", "scores.csv")


def run(
    cells: list[str], root: str = "results", outdated: bool = False, config: str | Path = "config"
) -> None:
    """Remove weights, scores and saved states of the given models; journals stay, as earlier attempts.

    Args:
        cells: folders or paths of models.
        root: the results folder.
        outdated: all models of the grid too that were made by other code than today's.
        config: says what the grid is.

    Raises:
        SegShiftError: no such model, or it is being trained.
    """
    if outdated:
        expanded, results = grid.read(config), Results(root)
        jobs = expanded.jobs.items()
        cells = cells + [p for p, m in jobs if settings.outdated(results.run(p), expanded.settings(m))]
    if not cells:
        print("nothing to forget")
    located = [locate(cell, root) for cell in cells]
    for results, path in located:
        if not results.run(path).is_dir():
            raise SegShiftError(f"{results.run(path)} is not there")
    for results, path in located:
        folder = results.run(path)
        with CellLock(folder):
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
            for part in ("scores", "snapshots", "resume/ready"):
                shutil.rmtree(folder / part, ignore_errors=True)
            for file in (folder / "resume").glob("*.ckpt"):
                file.unlink()
        print(f"{path}: forgotten; `snakemake` makes it again")
