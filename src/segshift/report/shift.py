"""What a row has in its own domain against what is left of it elsewhere: DS against DG."""

from typing import Any

from segshift.report import links as anchors
from segshift.report.facts import Facts
from segshift.report.markup import note
from segshift.report.plots import Plot, Section, bars, grid, layout, style
from segshift.tables import asked as asking
from segshift.tables.asked import Asked, Key
from segshift.tables.means import number, part
from segshift.tables.table import Number, rounded


def section(facts: Facts) -> Section:
    """One plot an experiment; rows that lack a score are counted, not drawn."""
    plots, lacking = [], 0
    for name, ones in facts.experiments.items():
        points = {key: _point(facts, own) for key, own in asking.by_model(ones).items()}
        whole = {key: pair for key, pair in points.items() if all(one.value is not None for one in pair)}
        lacking += sum(key in facts.rows for key in points.keys() - whole.keys())
        if whole:
            plots.append(_plot(facts, name, whole))
    text = note(
        "The further right, the better in-domain; the further up, the better elsewhere; on the dotted line "
        "nothing is lost. Bars are standard deviations over seeds. Adapted rows (open) take DS from before."
    )
    if lacking:
        text += note(f"{lacking} of the rows lack a score of DS or DG and are not drawn.")
    return Section("shift", "In-domain against generalization", f"{text}\n{grid(plots)}", plots)


def _point(facts: Facts, ones: list[Asked]) -> tuple[Number, Number]:
    """DS and DG."""
    return tuple(number(part(ones, what), facts.tracked)[0] for what in ("ds", "dg"))


def _plot(facts: Facts, experiment: str, points: dict[Key, tuple[Number, Number]]) -> Plot:
    looks = style(list(dict.fromkeys(key.backbone for key in points)))
    data: list[dict[str, Any]] = []
    for backbone, (colour, symbol) in looks.items():
        own = {key: pair for key, pair in points.items() if key.backbone == backbone}
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": facts.name("backbone", backbone),
                "x": [ds.value for ds, _ in own.values()],
                "y": [dg.value for _, dg in own.values()],
                "error_x": bars([ds.spread for ds, _ in own.values()]),
                "error_y": bars([dg.spread for _, dg in own.values()]),
                "text": [_told(facts, key, *pair) for key, pair in own.items()],
                "customdata": [anchors.row(key) for key in own],
                "marker": {
                    "size": 12,
                    "color": colour,
                    "symbol": [symbol if key.adapt == "none" else f"{symbol}-open" for key in own],
                    "line": {"width": 2 if any(key.adapt != "none" for key in own) else 0, "color": colour},
                },
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    line = {"type": "line", "x0": 0, "y0": 0, "x1": 100, "y1": 100, "layer": "below"}
    title = facts.grid.config.experiments[experiment].title
    shape = layout(
        title,
        "DS: Dice on the source",
        "DG: Dice on its siblings",
        shapes=[line | {"line": {"dash": "dot", "color": "#888", "width": 1}}],
        showlegend=True,
    )
    return Plot(f"shift-{experiment}", data, shape, 430)


def _told(facts: Facts, key: Key, ds: Number, dg: Number) -> str:
    lost = rounded(ds.value - dg.value)
    return f"{facts.row(key)}<br>DS {rounded(ds.value)}, DG {rounded(dg.value)}<br>{lost} points between"
