"""How the trainings went: validation Dice by epoch of every cell, a plot a row."""

from segshift.report import links as anchors
from segshift.report.facts import Facts, key
from segshift.report.markup import note
from segshift.report.plots import Plot, Section, grid, layout, style

DICE = "validation Dice"


def section(facts: Facts) -> Section:
    """A plot for each row whose cells have curves; losses stand in the cells' own sections."""
    plots = []
    for row in facts.rows:
        models = [model for model in facts.models if key(model) == row]
        looks = style(list(dict.fromkeys((model.source, model.target or "") for model in models)))
        data = []
        for model in models:
            if not (curve := facts.curves(model).get(DICE)):
                continue
            name = facts.dataset(model.source)
            name += f" → {facts.dataset(model.target)}" if model.target else ""
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if len(curve.steps) < 8 else "lines",
                    "name": f"{name}, seed {model.seed}",
                    "x": curve.steps,
                    "y": curve.values,
                    "customdata": [anchors.cell(model)] * len(curve.steps),
                    "line": {"color": looks[model.source, model.target or ""][0], "width": 1.6},
                    "hovertemplate": "step %{x}: %{y:.2f}<extra>%{fullData.name}</extra>",
                }
            )
        if data:
            shape = layout(facts.row(row), "step", "validation Dice in %", showlegend=len(data) <= 12)
            plots.append(Plot(f"curves-{'.'.join(row)}", data, shape, 340 + (60 if len(data) > 4 else 0)))
    text = note(
        "Validation Dice after each epoch; of an adaptation, on the target. A click leads to the cell."
    )
    if not plots:
        text = note("No training wrote a validation Dice.")
    return Section("curves", "Curves", f"{text}\n{grid(plots)}", plots)
