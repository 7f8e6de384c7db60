"""``segshift features``: what untrained backbones see of datasets, see ``figures/features.py``."""

from collections.abc import Sequence
from pathlib import Path

from segshift import grid as grids
from segshift.errors import unknown
from segshift.figures.entries import Features
from segshift.paths import Results
from segshift.stages.figures import make


def run(
    config: str | Path,
    results: Results,
    backbones: Sequence[str],
    datasets: Sequence[str],
    seed: int = 0,
    output: Path | None = None,
    device: str = "auto",
) -> None:
    """Draw the last block's patch tokens of untrained backbones as colours.

    Args:
        config: the configuration.
        results: where prepared data and weights lie.
        backbones: a line of pictures each.
        datasets: one slice each.
        seed: draws the slices.
        output: path without an ending; default: ``figure_features`` in ``results/figures``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        SegShiftError: an unknown name, or weights or data are not there.
    """
    grid = grids.read(config)
    for what, names, there in (
        ("backbone", backbones, grid.config.backbones),
        ("dataset", datasets, grid.config.datasets),
    ):
        for name in names:
            if name not in there:
                raise unknown(f"unknown {what}", name, there)
    figure = Features(kind="features", backbones=list(backbones), datasets=list(datasets), seed=seed)
    make(figure, grid, results, output or results.figures / "figure_features", device)
