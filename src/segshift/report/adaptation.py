"""What adaptation wins back: from before it to a model that was trained on the target."""

from html import escape

from segshift.report import links as anchors
from segshift.report.facts import Facts, over_seeds
from segshift.report.links import Links
from segshift.report.markup import cell, folded, note, table, words
from segshift.report.plots import Plot, Section, bars, grid, layout, style, wrapped
from segshift.tables.asked import Key
from segshift.tables.table import Evidence, rounded

Names = tuple[str, str, str]  # backbone, tuning, head
Steps = dict[str, list[Evidence]]  # what was done -> scores over seeds
FIRST = ("finetune", "self_training")  # modules; others stand behind them
BEFORE, IN_DOMAIN = "before", "in-domain"


def section(facts: Facts, links: Links) -> Section:
    """A plot for each row that was adapted, a line for each pair of source and target."""
    plots, parts = [], []
    for names, pairs in adapted(facts).items():
        steps = _order(facts, pairs)
        plots.append(_plot(facts, names, pairs, steps))
        parts.append(_table(facts, links, pairs, steps, facts.row(_key(names))))
    if not plots:
        return Section("adaptation", "Adaptation", note("No adapted model has a score."))
    text = note(
        "On the target's test volumes: the source model before adaptation, after it, and a model of the same "
        "row that was trained on the target itself."
    )
    numbers = folded("the numbers, with their cells", "\n".join(parts))
    return Section("adaptation", "Adaptation", f"{text}\n{grid(plots)}\n{numbers}", plots)


def _key(names: Names) -> Key:
    return Key(*names, "none")


def adapted(facts: Facts) -> dict[Names, dict[tuple[str, str], Steps]]:
    """Scores of all shifts to which a row was adapted."""
    scores = facts.tracked.scores
    found: dict[Names, dict[tuple[str, str], Steps]] = {}
    for (model, target), one in scores.items():
        if model.adapt and target == model.target:
            pair = found.setdefault(model[1:4], {}).setdefault((model.source, target), {})
            pair.setdefault(model.adapt, []).append(one)
    for (model, target), one in scores.items():
        if model.adapt:
            continue
        for (source, other), steps in found.get(model[1:4], {}).items():
            if target == other and model.source in (source, other):
                steps.setdefault(BEFORE if model.source == source else IN_DOMAIN, []).append(one)
    return found


def _order(facts: Facts, pairs: dict[tuple[str, str], Steps]) -> list[str]:
    """What was done, in the order of the plot."""
    done = list(dict.fromkeys(step for steps in pairs.values() for step in steps))
    adapts = [name for name in facts.grid.config.adaptations if name in done]

    def place(name: str) -> int:
        module = facts.grid.config.adaptations[name].module
        return FIRST.index(module) if module in FIRST else len(FIRST)

    ends = [name for name in (BEFORE, IN_DOMAIN) if name in done]
    middle = sorted(adapts, key=place)
    return [*(n for n in ends if n == BEFORE), *middle, *(n for n in ends if n == IN_DOMAIN)]


def _title(facts: Facts, step: str) -> str:
    return step if step in (BEFORE, IN_DOMAIN) else facts.name("adapt", step)


def _plot(facts: Facts, names: Names, pairs: dict[tuple[str, str], Steps], order: list[str]) -> Plot:
    titles, more = wrapped([_title(facts, step) for step in order], 13)
    shown = dict(zip(order, titles, strict=True))
    looks = style([f"{facts.dataset(source)} → {facts.dataset(target)}" for source, target in pairs])
    data = []
    for (name, (colour, symbol)), steps in zip(looks.items(), pairs.values(), strict=True):
        own = [step for step in order if step in steps]
        values = [over_seeds(steps[step]) for step in own]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [shown[step] for step in own],
                "y": [value for value, _ in values],
                "error_y": bars([spread for _, spread in values]),
                "customdata": [_where(steps[step]) for step in own],
                "line": {"color": colour, "width": 2.5},
                "marker": {"size": 9, "symbol": symbol},
                "hovertemplate": f"{name}<br>%{{x}}: %{{y:.2f}}<extra></extra>",
            }
        )
    axis = {"type": "category", "categoryorder": "array", "categoryarray": titles}
    shape = layout(facts.row(_key(names)), "", "Dice on the target", xaxis=axis, showlegend=True)
    return Plot(f"slopes-{'.'.join(names)}", data, shape, 380 + more)


def _where(scores: list[Evidence]) -> str:
    """The cell; of several seeds the first."""
    return anchors.cell(scores[0].model)


def _table(
    facts: Facts, links: Links, pairs: dict[tuple[str, str], Steps], order: list[str], title: str
) -> str:
    heads = {"Shift": "text"} | {_title(facts, step): "number" for step in order}
    lines = []
    for (source, target), steps in pairs.items():
        cells = "".join(cell(_cell(links, steps.get(step, []))) for step in order)
        lines.append(words(f"{facts.dataset(source)} → {facts.dataset(target)}") + cells)
    budgets = {facts.tracked.budgets.get(one.model) for s in pairs.values() for e in s.values() for one in e}
    told = ", ".join(sorted(filter(None, budgets)))
    below = note(f"Labelled patients of the target: {told}.") if told else ""
    return f"<h4>{escape(title)}</h4>\n{table(heads, lines)}{below}"


def _cell(links: Links, scores: list[Evidence]) -> str:
    if not scores:
        return "–"
    value, spread = over_seeds(scores)
    sd = f" ± {rounded(spread)}" if spread is not None else ""
    if len(scores) == 1:
        return links.score(scores[0])
    mean = links.linked(f"{rounded(value)}{sd}", [one.run for one in scores])
    return f"{mean} ({', '.join(links.score(one) for one in scores)})"
