"""The report's first words: the story's sentences, and how much of the grid there is."""

from html import escape
from math import nan
from pathlib import Path

from segshift import story
from segshift.report.facts import Facts
from segshift.report.markup import many
from segshift.report.plots import Section


def section(facts: Facts, config: str | Path) -> Section:
    """Sentences that follow the numbers, if the configuration has a story; and counts."""
    parts = []
    if told := sentences(facts, config):
        items = "\n".join(f"<li>{escape(one)}</li>" for one in told)
        parts.append(f'<ol class="sentences">\n{items}\n</ol>')
    parts.append(f'<p class="count">{escape(counts(facts))}</p>')
    return Section("sentences", "What the numbers say" if told else "In short", "\n".join(parts))


def sentences(facts: Facts, config: str | Path) -> list[str]:
    """Those of ``story.sentences``, from the scores that this report has."""
    asked = story.read(config, facts.grid)
    if asked is None:
        return []
    experiments = {name: expanded.scores for name, expanded in facts.grid.experiments.items()}
    scores = {
        score: story.Found(one.dice, nan if one.validation is None else one.validation)
        for score, one in facts.tracked.scores.items()
    }
    return story.tell(asked, experiments, scores, facts.labels)


def counts(facts: Facts) -> str:
    """How much of what the experiments ask for is there."""
    possible = [one for one in facts.everything if not (one.left_out or one.waits_for)]
    have = sum(one.score in facts.tracked.scores for one in possible)
    seeds = sorted({model.seed for model in facts.models})
    rows, sources = len(facts.rows), len({model.source for model in facts.models})
    told = f"{many(len(facts.models), 'model')} with {many(have, 'score')} of {len(possible)} asked for"
    if not facts.models:
        return f"{told}: nothing was scored yet."
    named = ", ".join(map(str, seeds))
    return (
        f"{told}: {many(rows, 'row')}, {many(sources, 'source')}, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {named}. Dice in percent."
    )
