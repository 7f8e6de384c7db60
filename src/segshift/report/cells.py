"""A section for each model: its scores by target and class, its worst volumes, its curves, its files."""

from collections.abc import Iterable
from html import escape

from segshift.grid import Model
from segshift.report import links as anchors
from segshift.report.facts import Facts, key, relative
from segshift.report.links import Links
from segshift.report.markup import cell, folded, note, table, words
from segshift.report.plots import COLOURS, Plot, Section, layout
from segshift.report.volumes import chips, worst
from segshift.scores import mean
from segshift.tables.table import Evidence, counted, rounded

FILES = ("settings.yaml", "run.json", "scores.csv", "train.log", "adapt.log", "evaluate.log")


def section(facts: Facts, links: Links) -> Section:
    """All models with a score, folded."""
    plots, parts = [], []
    for model in facts.models:
        plot = _curves(facts, model)
        plots += [plot] if plot else []
        body = "\n".join(
            [
                f'<p class="note">{_about(facts, links, model)}</p>',
                _scores(facts, links, model),
                f"<p>Its {len(worst(facts, model))} worst volumes: {chips(facts, model)}</p>",
                plot.place if plot else note("No curves."),
                f'<p class="note">{_files(facts, model)}</p>',
            ]
        )
        parts.append(folded(escape(model.path), body, anchors.cell(model)))
    text = note("One entry a model; every number of this page leads to one of them, or to its row.")
    return Section("cells", "Cells", "\n".join([text, *parts]), plots)


def _about(facts: Facts, links: Links, model: Model) -> str:
    record = facts.record(model)
    runs = [score.run for score in facts.scores[model] if score.run][:1]
    best = record.get("best", {})
    told = [
        f'<a href="#{anchors.row(key(model))}">{escape(facts.row(key(model)))}</a>',
        f"{counted(count)} trainable parameters" if (count := facts.tracked.trainable.get(model)) else "",
        f"{rounded(record['device_seconds'], 1)} device-seconds" if "device_seconds" in record else "",
        f"epoch {best['epoch']} of {record['epochs']} kept" if {"epoch"} <= best.keys() else "",
        f"labelled patients of the target: {escape(facts.tracked.budgets.get(model, ''))}"
        if model in facts.tracked.budgets
        else "",
        "made by older code" if model in set(facts.tracked.outdated) else "",
        f"MLflow run {links.run(runs)}" if links.run(runs) else "",
    ]
    return " · ".join(filter(None, told))


def _scores(facts: Facts, links: Links, model: Model) -> str:
    """Targets × classes; the mean is over each volume's classes, then over volumes."""
    rows = facts.classes(model)
    names = list(dict.fromkeys(row.name for row in rows))
    lines = []
    for score in facts.scores[model]:
        target = score.target
        by_class = [[row.dice for row in rows if row.target == target and row.name == name] for name in names]
        cells = [f"<b>{rounded(score.dice)}</b>{links.run([score.run])}", seen(score), len(score.volumes)]
        cells += [_mean(value for value in values if value is not None) for values in by_class]
        name = facts.dataset(target) + (" (source)" if target == model.source else "")
        lines.append(words(name) + "".join(cell(str(one)) for one in cells))
    heads = {"Target": "text"} | dict.fromkeys(("Test Dice", "Validation", "Volumes", *names), "number")
    return table(heads, lines)


def seen(score: Evidence) -> str:
    """Dice on the validation volumes, where that is known."""
    return "–" if score.validation is None else rounded(score.validation)


def _mean(values: Iterable[float]) -> str:
    values = list(values)
    return rounded(mean(values)) if values else "–"


def _curves(facts: Facts, model: Model) -> Plot | None:
    """Losses on the left axis, Dice on the right."""
    found = facts.curves(model)
    if not found:
        return None
    data = []
    for colour, (name, curve) in zip(COLOURS, sorted(found.items()), strict=False):
        axis = {"yaxis": "y2"} if "Dice" in name else {}
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "x": curve.steps,
                "y": [float(f"{value:.5g}") for value in curve.values],
                "line": {"color": colour, "width": 2},
                **axis,
            }
        )
    right = {"title": {"text": "Dice in %"}, "overlaying": "y", "side": "right", "showgrid": False}
    shape = layout("", "step", "loss", yaxis2=right, margin={"t": 12, "r": 60})
    return Plot(f"curve-{model.path.replace('/', '.')}", data, shape, 300)


def _files(facts: Facts, model: Model) -> str:
    folder = facts.results.run(model.path)
    pictures = [f"scores/{target}.png" for target in (score.target for score in facts.scores[model])]
    return " · ".join(
        f'<a href="{escape(path)}">{name}</a>'
        for name in (*FILES, *pictures)
        if (path := relative(facts.results, folder / name))
    )
