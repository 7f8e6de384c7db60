"""The ten worst volumes of each cell, and volumes that are bad for all rows."""

from html import escape
from statistics import quantiles
from typing import NamedTuple

from segshift.grid import Model
from segshift.report import links as anchors
from segshift.report.facts import Facts, key
from segshift.report.links import Links
from segshift.report.markup import cell, folded, note, table, words
from segshift.report.plots import Section
from segshift.tables.table import Evidence, Volume, rounded

WORST = 10


class Hard(NamedTuple):
    """A volume over all models: in how many it is in the worst quarter of its target, and the best Dice."""

    target: str
    volume: str
    patient: str
    bad: int
    models: int
    best: Evidence
    best_dice: float


def section(facts: Facts, links: Links) -> Section:
    """Hard volumes first, then each row's cells with their ten worst."""
    parts = [_hard(facts, links)]
    for row in facts.rows:
        cells = [model for model in facts.models if key(model) == row]
        if lines := [_line(facts, model) for model in cells]:
            parts.append(folded(escape(facts.row(row)), "\n".join(lines)))
    head = "<h3>The ten worst volumes of each cell, over all its targets</h3>"
    parts.insert(1, head)
    return Section("volumes", "The worst volumes", "\n".join(parts))


def worst(facts: Facts, model: Model, many: int = WORST) -> list[tuple[str, Volume]]:
    """A cell's volumes of lowest Dice, with their targets."""
    found = [(score.target, volume) for score in facts.scores[model] for volume in score.volumes]
    return sorted(found, key=lambda pair: (pair[1].dice, pair[0], pair[1].name))[:many]


def chips(facts: Facts, model: Model) -> str:
    """A cell's worst volumes in a line."""
    return " ".join(
        f'<span class="chip" title="patient {escape(volume.patient)}">{escape(facts.dataset(target))} '
        f"{escape(volume.name)} <b>{rounded(volume.dice, 1)}</b></span>"
        for target, volume in worst(facts, model)
    )


def _line(facts: Facts, model: Model) -> str:
    where = f'<a href="#{anchors.cell(model)}">{escape(model.path)}</a>'
    return f'<p class="cell">{where} {chips(facts, model)}</p>'


def hard(facts: Facts) -> list[Hard]:
    """Volumes by how many models have them in their worst quarter, most first, then by the best Dice.

    A quarter is that of a model's volumes on one target, so a model that is bad everywhere has one too;
    targets with fewer than four volumes have none.
    """
    found: dict[tuple[str, str, str], list[tuple[bool, Evidence, float]]] = {}
    for score in facts.tracked.scores.values():
        if len(score.volumes) < 4:
            continue
        limit = quantiles([volume.dice for volume in score.volumes], n=4, method="inclusive")[0]
        for volume in score.volumes:
            one = (volume.dice <= limit, score, volume.dice)
            found.setdefault((score.target, volume.name, volume.patient), []).append(one)
    listed = []
    for names, ones in found.items():
        _, best, dice = max(ones, key=lambda one: one[2])
        listed.append(Hard(*names, sum(bad for bad, _, _ in ones), len(ones), best, dice))
    return sorted(listed, key=lambda one: (-one.bad / one.models, one.best_dice))


def _hard(facts: Facts, links: Links) -> str:
    found = [one for one in hard(facts) if one.models > 1]
    bad = [one for one in found if one.bad == one.models]
    shown = found[: max(WORST, len(bad))][: 3 * WORST]
    if not shown:
        return note("No target has four volumes and two models: nothing can be said about hard volumes.")
    lines = [
        f"<tr{' class=bad' if one.bad == one.models else ''}>"
        + "".join(map(words, (facts.dataset(one.target), one.volume, one.patient)))
        + cell(f"{one.bad} of {one.models}")
        + f"{cell(links.score(one.best, rounded(one.best_dice), f', volume {one.volume}'))}</tr>"
        for one in shown
    ]
    heads = dict.fromkeys(("Target", "Volume", "Patient"), "text")
    heads |= dict.fromkeys(("In the worst quarter of models", "Best Dice"), "number")
    told = (
        f"{len(bad)} of {len(found)} volumes are in the worst quarter of every model. A quarter is of a "
        "model's volumes on that target; targets of fewer than four are left out."
    )
    return f"<h3>Volumes that are bad for all</h3>\n{note(told)}\n{table(heads, lines)}"
