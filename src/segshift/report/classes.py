"""Which class suffers on which target: a class × target heat map of each row."""

from segshift.report import links as anchors
from segshift.report.facts import Facts
from segshift.report.markup import note
from segshift.report.plots import SCALE, Plot, Section, grid, inked, layout, wrapped
from segshift.report.rows import order
from segshift.scores import mean
from segshift.tables.asked import Asked, Key


def section(facts: Facts) -> Section:
    """A plot for each row and anatomy."""
    plots = [
        one
        for key, ones in facts.rows.items()
        for anatomy in dict.fromkeys(one.anatomy for one in ones)
        if (one := plot(facts, key, anatomy, [one for one in ones if one.anatomy == anatomy]))
    ]
    text = note(
        "Dice in %, the mean over volumes, seeds and sources. DS: models trained on the target itself; "
        "DG: on its siblings. A class that neither truth nor prediction shows does not count."
    )
    return Section("classes", "Every class on every target", f"{text}\n{grid(plots)}", plots)


def values(facts: Facts, ones: list[Asked], name: str) -> float | None:
    """Mean Dice of a class over scores: over volumes first, then over the models."""
    found = []
    for one in ones:
        rows = facts.classes(one.model)
        dice = [row.dice for row in rows if row.target == one.target and row.name == name]
        if counted := [value for value in dice if value is not None]:
            found.append(mean(counted))
    return mean(found) if found else None


def plot(facts: Facts, key: Key, anatomy: str, ones: list[Asked]) -> Plot | None:
    """The heat map of a row in one anatomy; None if it has no score there."""
    scored = [one for one in ones if one.score in facts.tracked.scores]
    if not scored:
        return None
    names = facts.grid.config.anatomies[anatomy].classes[1:]
    columns = [
        (f"{facts.dataset(target)} {what}", own)
        for target in order(scored)[1]
        for what in ("DS", "DG")
        if (own := [one for one in scored if one.target == target and one.diagonal == (what == "DS")])
    ]
    z = [[values(facts, own, name) for _, own in columns] for name in names]
    titles, more = wrapped([title for title, _ in columns])
    data = {
        "type": "heatmap",
        "x": titles,
        "y": names,
        "z": z,
        "text": [[inked(value) for value in line] for line in z],
        "texttemplate": "%{text}",
        "textfont": {"size": 13},
        "customdata": [[anchors.row(key)] * len(columns) for _ in names],
        "hovertemplate": "%{y} on %{x}: %{z:.2f}<extra></extra>",
        "zmin": 0,
        "zmax": 100,
        "colorscale": SCALE,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    shape = layout(
        facts.row(key),
        xaxis={"type": "category", "showgrid": False},
        yaxis={"type": "category", "showgrid": False, "autorange": "reversed"},
    )
    return Plot(f"classes-{'.'.join(key)}-{anatomy}", [data], shape, 110 + 30 * len(names) + more)
