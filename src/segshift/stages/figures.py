"""``segshift figures``: pictures for papers, each as SVG, PDF and PNG."""

from collections.abc import Sequence
from pathlib import Path

from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.figures import entries
from segshift.figures.entries import Examples, Features, Scored
from segshift.grid import Grid
from segshift.paths import Results


def run(config: str | Path, results: Results, names: Sequence[str] = (), device: str = "auto") -> None:
    """Make figures of figures.yaml; without names all of them.

    Raises:
        SegShiftError: an unknown figure, or something that a figure shows is not there.
    """
    grid = grids.read(config)
    known = entries.read(config, grid)
    for name in names:
        if name not in known:
            raise unknown("unknown figure", name, known)
    if not known:
        raise SegShiftError(f"{config} has no figures: name them in {entries.FILE}, see docs/report.md")
    for name in names or known:
        make(known[name], grid, results, results.figures / f"figure_{name}", device)


def make(figure: Examples | Scored | Features, grid: Grid, results: Results, stem: Path, device: str) -> None:
    """Draw a figure and write it in all formats; each file is printed.

    Args:
        figure: its entry.
        grid: the grid that its names are of.
        results: where models, scores and data lie.
        stem: path without an ending.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        SegShiftError: something that it shows is not there.
    """
    from segshift.figures import draw  # matplotlib, and torch where it is needed: names are checked before

    if isinstance(figure, Scored):
        from segshift.figures import scored

        made = scored.make(figure, grid, results)
    else:
        from segshift.devices import device as find_device
        from segshift.figures import examples
        from segshift.figures import features as tokens

        module = examples if isinstance(figure, Examples) else tokens
        made = module.make(figure, grid, results, find_device(device))
    for file in draw.save(made[0], stem, made[1]):
        print(file)
