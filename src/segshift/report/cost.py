"""What a row's Dice costs: trainable parameters, and seconds of the device."""

from collections.abc import Callable
from typing import Any

from segshift.report import links as anchors
from segshift.report.facts import Facts
from segshift.report.markup import note
from segshift.report.plots import Plot, Section, grid, layout, style
from segshift.scores import mean
from segshift.tables import asked as asking
from segshift.tables.asked import Asked, Key
from segshift.tables.means import number, part
from segshift.tables.table import counted, rounded


def section(facts: Facts) -> Section:
    """Two plots an experiment."""
    plots = []
    for name, ones in facts.experiments.items():
        values = {
            key: number(part(own, "ov"), facts.tracked)[0] for key, own in asking.by_model(ones).items()
        }
        values = {key: value.value for key, value in values.items() if value.value is not None}
        rows = {key: own for key, own in asking.by_model(ones).items() if key in values}
        for what, title, of in (
            ("parameters", "trainable parameters", _trainable),
            ("seconds", "device-seconds of a training", _seconds),
        ):
            costs = {key: cost for key, own in rows.items() if (cost := of(facts, key, own))}
            if costs:
                plots.append(_plot(facts, name, what, title, costs, values))
    text = note(
        "OV against what is trained and how long a training took, on a logarithmic axis; of adapted rows, "
        "the adaptation alone. Seconds are those of the machines that were used."
    )
    return Section(
        "cost", "What it costs", f"{text}\n{grid(plots)}" if plots else note("No row is complete."), plots
    )


def _models(key: Key, ones: list[Asked]) -> list:
    return list(dict.fromkeys(one.model for one in ones if (one.model.adapt or "none") == key.adapt))


def _trainable(facts: Facts, key: Key, ones: list[Asked]) -> float | None:
    """The largest count of the row's models; it differs with the number of classes."""
    known = facts.tracked.trainable
    return max((known[model] for model in _models(key, ones) if model in known), default=None)


def _seconds(facts: Facts, key: Key, ones: list[Asked]) -> float | None:
    found = [facts.record(model).get("device_seconds") for model in _models(key, ones)]
    known = [value for value in found if value is not None]
    return mean(known) if known else None


def _plot(
    facts: Facts, experiment: str, what: str, title: str, costs: dict[Key, float], values: dict[Key, float]
) -> Plot:
    told: dict[str, Callable[[float], str]] = {
        "parameters": lambda cost: f"{counted(round(cost))} parameters",
        "seconds": lambda cost: f"{rounded(cost, 1)} s",
    }
    data: list[dict[str, Any]] = []
    for backbone, (colour, symbol) in style(list(dict.fromkeys(key.backbone for key in costs))).items():
        own = [key for key in costs if key.backbone == backbone]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": facts.name("backbone", backbone),
                "x": [costs[key] for key in own],
                "y": [values[key] for key in own],
                "text": [
                    f"{facts.row(key)}<br>OV {rounded(values[key])}, {told[what](costs[key])}" for key in own
                ],
                "customdata": [anchors.row(key) for key in own],
                "marker": {
                    "size": 12,
                    "color": colour,
                    "symbol": [symbol if key.adapt == "none" else f"{symbol}-open" for key in own],
                },
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    head = facts.grid.config.experiments[experiment].title
    shape = layout(head, title, "OV: Dice on all", xaxis={"type": "log", "dtick": 1}, showlegend=True)
    return Plot(f"cost-{what}-{experiment}", data, shape, 400)
