"""A source × target heat map of each row, and under it the numbers, seed by seed."""

from html import escape
from typing import Any

from segshift.report import links as anchors
from segshift.report.facts import Facts, over_seeds
from segshift.report.links import Links
from segshift.report.markup import cell, folded, note, table, words
from segshift.report.plots import SCALE, Plot, Section, grid, inked, layout, wrapped
from segshift.tables.asked import Asked, Key
from segshift.tables.table import Evidence, rounded

Pair = tuple[str, str]  # source, target


def section(facts: Facts, links: Links) -> Section:
    """All rows, in the order of the grid."""
    parts, plots = [], []
    for key, ones in facts.rows.items():
        drawn = [
            plot(facts, key, anatomy, [one for one in ones if one.anatomy == anatomy])
            for anatomy in dict.fromkeys(one.anatomy for one in ones)
            if any(one.anatomy == anatomy and one.score in facts.tracked.scores for one in ones)
        ]
        plots += drawn
        numbers = folded("the numbers, seed by seed", _table(facts, links, ones))
        head = f'<h3 id="{anchors.row(key)}">{escape(facts.row(key))}</h3>'
        parts.append(f'<div class="row">{head}\n{grid(drawn)}\n{numbers}</div>')
    text = note(
        "Dice in %; a line is a source, a column a target. A frame marks the source itself; what is hatched "
        "was left out on purpose, a blank is missing. A click leads to the cell."
    )
    return Section(
        "rows", "Every source on every target", f'{text}\n<div id="maps">{"".join(parts)}</div>', plots
    )


def _pairs(facts: Facts, ones: list[Asked]) -> dict[Pair, list[Evidence]]:
    found: dict[Pair, list[Evidence]] = {}
    for one in ones:
        if one.score in facts.tracked.scores:
            found.setdefault((one.model.source, one.target), []).append(facts.tracked.scores[one.score])
    return found


def order(ones: list[Asked]) -> tuple[list[str], list[str]]:
    """Sources and targets; targets that are sources come first, in the same order: a diagonal is one."""
    sources = list(dict.fromkeys(one.model.source for one in ones))
    targets = list(dict.fromkeys(one.target for one in ones))
    return sources, [s for s in sources if s in targets] + [t for t in targets if t not in sources]


def plot(facts: Facts, key: Key, anatomy: str, ones: list[Asked]) -> Plot:
    """The heat map of a row in one anatomy."""
    sources, targets = order(ones)
    found = _pairs(facts, ones)
    left_out = {(one.model.source, one.target): one.left_out for one in ones if one.left_out}
    z, text, hover, custom = [], [], [], []
    for source in sources:
        cells = [_cell(facts, key, (source, target), found, left_out) for target in targets]
        for kept, values in zip((z, text, hover, custom), zip(*cells, strict=True), strict=True):
            kept.append(list(values))
    shapes = [
        shape
        for y, source in enumerate(sources)
        for x, target in enumerate(targets)
        for shape in _marks(x, y, source == target, (source, target) in left_out)
    ]
    titles, more = wrapped([facts.dataset(name) for name in targets])
    data = {
        "type": "heatmap",
        "x": titles,
        "y": [facts.dataset(name) for name in sources],
        "z": z,
        "text": text,
        "texttemplate": "%{text}",
        "textfont": {"size": 13},
        "customdata": custom,
        "hovertext": hover,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "hoverongaps": True,
        "zmin": 0,
        "zmax": 100,
        "colorscale": SCALE,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    title = facts.name("anatomy", anatomy) if len(facts.grid.config.anatomies) > 1 else ""
    shape = layout(
        title,
        xaxis={"type": "category", "showgrid": False},
        yaxis={"type": "category", "showgrid": False, "autorange": "reversed"},
        shapes=shapes,
        margin={"t": 34 if title else 12},
    )
    height = 70 + 46 * len(sources) + (22 if title else 0) + more
    return Plot(f"map-{'.'.join(key)}-{anatomy}", [data], shape, height)


def _cell(
    facts: Facts, key: Key, pair: Pair, found: dict[Pair, list[Evidence]], left_out: dict[Pair, str]
) -> tuple[float | None, str, str, str]:
    """Value, text, what a hover says, and where a click leads."""
    names = " on ".join(facts.dataset(name) for name in pair)
    if scores := found.get(pair):
        value, spread = over_seeds(scores)
        told = "<br>".join(f"seed {one.model.seed}: {rounded(one.dice)}" for one in scores)
        sd = f" ± {rounded(spread)}" if spread is not None else ""
        where = anchors.cell(scores[0].model) if len(scores) == 1 else anchors.row(key)
        return value, inked(value), f"{names}: {rounded(value)}{sd}<br>{told}", where
    why = f"left out: {left_out[pair]}" if pair in left_out else "missing"
    return None, "", f"{names}<br>{why}", ""


def _marks(x: int, y: int, diagonal: bool, hatched: bool) -> list[dict[str, Any]]:
    """A frame for the diagonal; hatching for what was left out."""
    left, right, top, bottom = x - 0.47, x + 0.47, y - 0.47, y + 0.47
    shapes = []
    if hatched:
        steps = [step / 5 for step in range(1, 10)]
        lines = [
            f"M{x - 0.47 + 0.94 * max(0, s - 1):.3f},{y - 0.47 + 0.94 * min(1, s):.3f} "
            f"L{x - 0.47 + 0.94 * min(1, s):.3f},{y - 0.47 + 0.94 * max(0, s - 1):.3f}"
            for s in steps
        ]
        shapes.append({"type": "path", "path": " ".join(lines), "line": {"width": 1.2, "color": "#888"}})
    if diagonal:
        box = {"type": "rect", "x0": left, "x1": right, "y0": top, "y1": bottom}
        shapes.append(box | {"line": {"width": 3, "color": "#d55e00"}})
    return shapes


def _table(facts: Facts, links: Links, ones: list[Asked]) -> str:
    """Source, target, mean and each seed, with links."""
    found = _pairs(facts, ones)
    lines = []
    for (source, target), scores in found.items():
        value, spread = over_seeds(scores)
        sd = f" ± {rounded(spread)}" if spread is not None else ""
        each = ", ".join(f"{links.score(one)}" for one in scores)
        names = words(facts.dataset(source)) + words(facts.dataset(target))
        mean = links.linked(f"{rounded(value)}{sd}", [one.run for one in scores])
        lines.append(f'{names}{cell(mean)}<td class="text">{each}</td>')
    return table({"Source": "text", "Target": "text", "Mean": "number", "Seeds": "text"}, lines)
