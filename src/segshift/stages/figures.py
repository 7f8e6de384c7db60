"""``segshift figures`` and ``segshift features``: pictures for papers, each as SVG, PDF and PNG."""

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
        _make(known[name], grid, results, results.figures / f"figure_{name}", device)


def features(
    config: str | Path,
    results: Results,
    backbones: Sequence[str],
    datasets: Sequence[str],
    seed: int = 0,
    output: Path | None = None,
    device: str = "auto",
) -> None:
    """What untrained backbones see of datasets, see ``figures/features.py``.

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
    _make(figure, grid, results, output or results.figures / "figure_features", device)


def _make(
    figure: Examples | Scored | Features, grid: Grid, results: Results, stem: Path, device: str
) -> None:
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
