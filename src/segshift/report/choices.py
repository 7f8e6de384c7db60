"""Which row each selection rule would choose, and what that costs in test Dice."""

from html import escape

from segshift.report.facts import Facts
from segshift.report.links import Links
from segshift.report.markup import cell, note, table, words
from segshift.report.plots import Section
from segshift.tables import asked as asking
from segshift.tables.asked import Asked, Key
from segshift.tables.selection import RULES, Options, Taken, taken
from segshift.tables.table import rounded


def section(facts: Facts, links: Links) -> Section:
    """A table an experiment and anatomy in which there is a choice among rows that were not adapted."""
    parts = []
    for name, ones in facts.experiments.items():
        for anatomy in dict.fromkeys(one.anatomy for one in ones):
            rows = asking.by_model([one for one in ones if one.anatomy == anatomy])
            found, pairs = options(facts, rows)
            if len(found) > 1:
                title = facts.grid.config.experiments[name].title
                several = len(facts.grid.config.anatomies) > 1
                title += f", {facts.name('anatomy', anatomy)}" if several else ""
                parts.append(_table(facts, links, title, found, pairs))
    if not parts:
        return Section(
            "selection", "What selection rules would choose", note("There is no choice among rows.")
        )
    rules = "; ".join(f"{_title(rule)}: by {what}" for rule, what in RULES.items())
    text = note(f"{rules}. Cost: points of overall test Dice to the oracle's choice.")
    return Section("selection", "What selection rules would choose", "\n".join([text, *parts]))


def options(facts: Facts, rows: dict[Key, list[Asked]]) -> tuple[Options, int]:
    """Rows without adaptation, each with the scores whose seed, source and target all of them have."""
    plain = {
        key: {(one.model.seed, one.model.source, one.target): one for one in ones if _there(facts, one)}
        for key, ones in rows.items()
        if key.adapt == "none"
    }
    plain = {key: own for key, own in plain.items() if own}
    common = set.intersection(*map(set, plain.values())) if plain else set()
    if not any(source == target for _, source, target in common):
        return {}, 0
    return {
        "/".join(key[:3]): [own[pair] for pair in own if pair in common] for key, own in plain.items()
    }, len(common)


def _there(facts: Facts, one: Asked) -> bool:
    return one.score in facts.tracked.scores and not one.left_out


def _table(facts: Facts, links: Links, title: str, found: Options, pairs: int) -> str:
    rules = taken(found, facts.tracked)
    best = rules["oracle"].dice
    lines = [_line(facts, links, rule, one, best) for rule, one in rules.items()]
    heads = {"Rule": "text", "Choice": "text", "Test Dice": "number", "Cost": "number"}
    told = note(
        f"{len(found)} rows, compared on the {pairs} scores (seed, source, target) that all of them have."
    )
    return f"<h3>{escape(title)}</h3>\n{table(heads, lines)}{told}"


def _line(facts: Facts, links: Links, rule: str, one: Taken, best: float) -> str:
    if one.dice is None:
        return words(_title(rule)) + words("cannot choose") + 2 * cell("–")
    targets: dict[str, list[str]] = {}
    for target, name in one.choice.items():
        targets.setdefault(name, []).append(facts.dataset(target))
    names = [(facts.row(Key(*name.split("/"), "none")), those) for name, those in targets.items()]
    told = (
        names[0][0]
        if len(names) == 1
        else "; ".join(f"{name} for {', '.join(sorted(those))}" for name, those in names)
    )
    dice = links.linked(rounded(one.dice), [score.run for score in one.scores])
    return words(_title(rule)) + words(told) + cell(dice) + cell(rounded(best - one.dice))


def _title(rule: str) -> str:
    return rule.replace("_", " ").capitalize()
