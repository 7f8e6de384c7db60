"""How much scores vary by themselves: over seeds and over patients, by dataset and backbone; and suspects."""

from segshift.report.facts import Facts
from segshift.report.markup import cell, note, table, words
from segshift.report.plots import Section
from segshift.statistics.noise import Noise, noise
from segshift.statistics.sample import Cell
from segshift.tables import samples
from segshift.tables.bearing_notes import suspect_scores
from segshift.tables.table import DASH, rounded

HEADS = {
    "Tested on": "text",
    "Backbone": "text",
    "Models": "number",
    "SD over seeds": "number",
    "SD over patients": "number",
}
TOLD = (
    "Standard deviations in points of Dice. Over seeds: of one configuration on one dataset, trained again. "
    "Over patients: of one configuration's patients, seeds averaged. Each is pooled over the models of the "
    "line; a difference between two single runs has about 1.4 times the first."
)
SUSPECT = "No cell is more than three robust standard deviations below its siblings."


def section(facts: Facts) -> Section:
    """A line a dataset and backbone, then the suspect cells."""
    found = _noise(facts)
    lines = [
        words(facts.dataset(target))
        + words(facts.name("backbone", backbone))
        + cell(str(one.cells))
        + cell(_shown(one.seed))
        + cell(_shown(one.patient))
        for (target, backbone), one in found.items()
    ]
    body = (
        f"{note(TOLD)}\n{table(HEADS, lines)}\n{_suspects(facts)}"
        if lines
        else note("There is no score yet.")
    )
    return Section("noise", "How much scores vary by themselves", body)


def _noise(facts: Facts) -> dict[tuple[str, str], Noise]:
    group = samples.groups(facts.grid)
    scores = facts.tracked.scores.values()
    places: list[tuple[tuple[str, str], Cell]] = [
        ((score.target, score.model.backbone), samples.cell(score, 1.0, group)) for score in scores
    ]
    return noise(sorted(places, key=lambda one: one[0]))


def _shown(value: float | None) -> str:
    return DASH if value is None else rounded(value)


def _suspects(facts: Facts) -> str:
    found = suspect_scores(list(facts.tracked.scores.values()))
    if not found:
        return note(SUSPECT)
    named = [
        f"{cell} on {target}: {rounded(one.value)}, its siblings' median is {rounded(one.median)}"
        for one in found
        for cell, target in [one.name]
    ]
    return note(f"Suspect, but nowhere left out: {'; '.join(named)}.")
