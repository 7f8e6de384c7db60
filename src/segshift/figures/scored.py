"""Figures made of score files: heat maps source × target, and Dice by class."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from segshift import summaries
from segshift.errors import SegShiftError
from segshift.figures import draw
from segshift.figures.entries import Row, Scored
from segshift.grid import Grid, Score
from segshift.paths import Results
from segshift.report import folders
from segshift.report.plots import COLOURS, SYMBOLS
from segshift.scores import mean
from segshift.tables.table import named, rounded

Pair = tuple[str, str]  # source, target


def make(figure: Scored, grid: Grid, results: Results) -> tuple[Figure, str]:
    """The figure and its caption.

    Raises:
        SegShiftError: none of its models has a score.
    """
    own = [score for score in grid.experiments[figure.experiment].scores if not score.model.adapt]
    rows = figure.rows or list(dict.fromkeys(Row(*model[1:4]) for model, _ in own))
    there = {score for score in own if Row(*score.model[1:4]) in rows and _there(results, score)}
    if not there:
        raise SegShiftError(f"{figure.experiment}: no model of the figure has a score yet")
    scores = [score for score in own if score in there]
    drawn = (_heat if figure.kind == "heat_maps" else _classes)(rows, scores, figure, grid, results)
    seeds = ", ".join(map(str, sorted({model.seed for model, _ in scores})))
    title = figure.title or grid.config.experiments[figure.experiment].title
    return drawn, f"{title}. Dice in %, the mean over seeds ({seeds}); models that were not adapted."


def _there(results: Results, score: Score) -> bool:
    file = results.run(score.model.path) / "scores.csv"
    return file.exists() and score.target in summaries.read(file).targets


def _anatomy(grid: Grid, name: str) -> str:
    return grid.config.datasets[name].anatomy


def _name(grid: Grid, row: Row) -> str:
    return " · ".join(named(axis, getattr(row, axis), grid.config.labels) for axis in row._fields)


def _heat(rows: list[Row], scores: list[Score], figure: Scored, grid: Grid, results: Results) -> Figure:
    left_out = {one[:2] for one in grid.experiments[figure.experiment].left_out}
    maps = []
    for row in rows:
        for anatomy in dict.fromkeys(_anatomy(grid, model.source) for model, _ in scores):
            own = [s for s in scores if s.model[1:4] == row and _anatomy(grid, s.target) == anatomy]
            if own:
                maps.append((row, anatomy, own))
    across = min(3, len(maps))
    down = -(-len(maps) // across)
    with draw.settings():
        drawn = Figure(figsize=(3.1 * across, 2.6 * down), layout="constrained")
        axes = drawn.subplots(down, across, squeeze=False).ravel()
        for axis, (row, anatomy, own) in zip(axes, maps, strict=False):
            hatched = {(m.source, t) for m, t in left_out if m[1:4] == row}
            title = f"{_name(grid, row)}\n{named('anatomy', anatomy, grid.config.labels)}"
            _map(axis, title, own, hatched, grid, results)
        for axis in axes[len(maps) :]:
            axis.axis("off")
    return drawn


def _map(axis: Any, title: str, own: list[Score], hatched: set[Pair], grid: Grid, results: Results) -> None:
    """One heat map; the source itself framed, what was left out hatched."""
    sources = list(dict.fromkeys(model.source for model, _ in own))
    targets = list(dict.fromkeys([*sources, *(t for _, t in own), *(t for s, t in hatched if s in sources)]))
    values = np.full((len(sources), len(targets)), np.nan)
    for (y, source), (x, target) in ((a, b) for a in enumerate(sources) for b in enumerate(targets)):
        found = [
            summaries.read(results.run(model.path) / "scores.csv").dice(target)
            for model, other in own
            if (model.source, other) == (source, target)
        ]
        if found:
            values[y, x] = mean(found)
            ink = "black" if values[y, x] > 60 else "white"
            axis.text(x, y, rounded(values[y, x], 1), ha="center", va="center", color=ink)
        box = {"xy": (x - 0.47, y - 0.47), "width": 0.94, "height": 0.94, "fill": False}
        if (source, target) in hatched:
            axis.add_patch(Rectangle(**box, hatch="////", edgecolor="gray", linewidth=0))
        if source == target:
            axis.add_patch(Rectangle(**box, edgecolor=COLOURS[1], linewidth=2))
    axis.imshow(values, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    labels = grid.config.labels
    across, down = ([named("dataset", name, labels) for name in names] for names in (targets, sources))
    axis.set_xticks(range(len(targets)), across, rotation=30, ha="right")
    axis.set_yticks(range(len(sources)), down)
    axis.set_title(title)


def _classes(rows: list[Row], scores: list[Score], figure: Scored, grid: Grid, results: Results) -> Figure:
    """Dice by class: filled where models were trained on the target itself, open elsewhere."""
    anatomies = list(dict.fromkeys(_anatomy(grid, model.source) for model, _ in scores))
    sizes = [len(grid.config.anatomies[name].classes) - 1 for name in anatomies]
    with draw.settings():
        height = sum(0.35 * size * max(1, len(rows) / 3) + 1 for size in sizes)
        drawn = Figure(figsize=(6.5, height), layout="constrained")
        axes = drawn.subplots(len(anatomies), 1, squeeze=False, height_ratios=sizes).ravel()
        for axis, anatomy in zip(axes, anatomies, strict=True):
            names = grid.config.anatomies[anatomy].classes[1:]
            for number, row in enumerate(rows):
                own = [s for s in scores if s.model[1:4] == row and _anatomy(grid, s.target) == anatomy]
                offset = (number - (len(rows) - 1) / 2) * 0.7 / max(len(rows), 1)
                for diagonal in (True, False):
                    part = [s for s in own if (s.target == s.model.source) == diagonal]
                    values = _by_class(part, names, results)
                    axis.plot(
                        [value for _, value in values],
                        [names.index(name) + offset for name, _ in values],
                        linestyle="none",
                        marker="osDP^Xv*"[number % len(SYMBOLS)],
                        color=COLOURS[number % len(COLOURS)],
                        fillstyle="full" if diagonal else "none",
                        label=f"{_name(grid, row)}, {'DS' if diagonal else 'DG'}",
                    )
            axis.set_yticks(range(len(names)), names)
            axis.invert_yaxis()
            axis.set_xlim(0, 100)
            axis.grid(axis="x", color="0.9")
            axis.set_xlabel("Dice in %")
            axis.set_title(named("anatomy", anatomy, grid.config.labels))
        axes[0].legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7, frameon=False)
    return drawn


def _by_class(scores: list[Score], names: list[str], results: Results) -> list[tuple[str, float]]:
    """Mean Dice of each class over volumes, then over models."""
    found: dict[str, list[float]] = {}
    for model, target in scores:
        rows = folders.classes(results.run(model.path) / "scores.csv")
        for name in names:
            own = [row.dice for row in rows if (row.target, row.name) == (target, name)]
            if counted := [value for value in own if value is not None]:
                found.setdefault(name, []).append(mean(counted))
    return [(name, mean(found[name])) for name in names if name in found]
