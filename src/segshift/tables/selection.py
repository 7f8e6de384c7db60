"""Which tuning (or head, or backbone) to go on with, under a named rule (thesis, Table 4.4).

``source_validation``: by the validation scores on each model's own source. ``leave_one_target_out``: for a
target t, by the validation scores of models on other datasets than their source, where neither is t: in t's
anatomy, and where it has no such pair, in the other anatomies; the choice may differ from target to target.
``oracle``: by the test scores themselves, which is what the thesis did and flatters the choice.
"""

import math
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple

from segshift.errors import SegShiftError
from segshift.grid import Grid
from segshift.scores import mean
from segshift.table_entries import SelectionTable
from segshift.tables import asked as asking
from segshift.tables.asked import MODEL_AXES, Asked, Tracked
from segshift.tables.columns import TITLES
from segshift.tables.draft import place
from segshift.tables.layout import chosen, seeds
from segshift.tables.means import number
from segshift.tables.table import Cell, Column, Evidence, Number, Row, Table, display

RULES = {
    "source_validation": "the validation scores on the source",
    "leave_one_target_out": "the validation scores of other targets than the one that it is for",
    "oracle": "the overall test scores",
}
UNDECIDED = "leave_one_target_out cannot choose: some target leaves no model with a score on another dataset"
Options = dict[str, list[Asked]]  # a name on the chosen axis -> its scores
Choice = dict[str, str]  # target -> the name that a rule chooses for it

validation = attrgetter("validation")


def build(grid: Grid, name: str, asked: list[Asked], tracked: Tracked, remarks: Iterable[str] = ()) -> Table:
    """The selection that an entry of ``tables.yaml`` describes; arguments as of ``layout.build``.

    Where every model has validation scores, columns say what each rule chooses and what that costs: how much
    lower its overall test Dice is than that of the best choice.

    Raises:
        SegShiftError: the rule needs validation scores and there are none.
    """
    entry = grid.config.tables[name]
    kept = [one for one in chosen(entry.where, asked) if not one.left_out]
    known = all(one.validation is not None for one in tracked.scores.values())
    if not known and entry.rule != "oracle":
        raise SegShiftError(
            f"table {name}: the rule {entry.rule} chooses by validation scores, but these are test scores, "
            "from which only the rule oracle can choose"
        )
    groups = _groups(entry, kept)
    waiting = [ones for options in groups.values() for ones in options.values() if asking.waits(ones)]
    compared = [rule for rule in RULES if known and tracked.scores]
    found = _columns(entry, compared)
    ordered = sorted(groups, key=lambda names: _place(grid, entry, names))
    rows = [_row(grid, entry, names, groups[names], tracked, found, compared) for names in ordered]
    said = [f"Chosen by the rule {entry.rule}: {RULES[entry.rule]} ({entry.average.replace('_', ' ')})."]
    said += asking.not_yet(waiting) + seeds(kept, tracked) + asking.one_sampling(kept, grid)
    legend = "Costs are in points of Dice, to the best choice by test scores." if compared else ""
    return Table(
        f"table_{name}",
        entry.title,
        tuple(found),
        tuple(rows),
        (*remarks, *said, *filter(None, [entry.note])),
        bool(asking.lacks(kept, tracked.scores)),
        name if any(character.isdigit() for character in name) else "",
        legend,
    )


def _groups(entry: SelectionTable, asked: list[Asked]) -> dict[tuple[str, ...], Options]:
    """What is chosen among, by the names on the other axes."""
    groups: dict[tuple[str, ...], Options] = {}
    for ones in asking.by_model(asked).values():
        for one in ones:
            names = tuple(one.axis(axis) for axis in _others(entry))
            groups.setdefault(names, {}).setdefault(one.axis(entry.choose), []).append(one)
    return groups


def _others(entry: SelectionTable) -> list[str]:
    return [axis for axis in MODEL_AXES if axis != entry.choose]


def _place(grid: Grid, entry: SelectionTable, names: tuple[str, ...]) -> list[tuple[int, str]]:
    return [place(entry.order, grid.config, *pair) for pair in zip(_others(entry), names, strict=True)]


def _columns(entry: SelectionTable, compared: list[str]) -> list[Column]:
    found = [
        Column(
            key,
            TITLES[key.removesuffix("_printed")],
            "text",
            shown=not key.endswith("_printed"),
            choice=key == entry.choose,
        )
        for key in entry.columns
    ]
    for rule in compared:
        title = rule.replace("_", " ").capitalize()
        found += [Column(rule, "Choice", "text", title), Column(f"{rule}_cost", "Cost", "dice", title)]
    return found


def _row(
    grid: Grid,
    entry: SelectionTable,
    names: tuple[str, ...],
    options: Options,
    tracked: Tracked,
    found: list[Column],
    compared: list[str],
) -> Row:
    cells: dict[str, Cell] = dict(zip(_others(entry), names, strict=True))
    notes: dict[str, tuple[str, ...]] = {}
    everything = [one for ones in options.values() for one in ones]
    if asking.lacks(everything, tracked.scores):
        notes[entry.choose] = (asking.lost(everything, tracked),)
    elif any(one.waits_for and one.score not in tracked.scores for one in everything):
        notes[entry.choose] = (f"Not yet possible; what is awaited: {asking.awaited(everything)}.",)
    else:
        order = sorted(options, key=lambda name: place(entry.order, grid.config, entry.choose, name))
        options = {name: options[name] for name in order}
        rules = dict.fromkeys((entry.rule, *compared))
        choices = {rule: _choices(rule, options, tracked, entry.average) for rule in rules}
        if not choices[entry.rule]:
            raise SegShiftError(f"table {entry.title!r}: {UNDECIDED}: name another rule")
        cells[entry.choose] = _name(choices[entry.rule])
        best = _test(choices["oracle"], options, tracked, entry.average) if compared else 0.0
        for rule in compared:
            if not choices[rule]:
                cells[f"{rule}_cost"], notes[rule] = Number(None), (f"{UNDECIDED}.",)
                continue
            cells[rule] = _name(choices[rule])
            cost = best - _test(choices[rule], options, tracked, entry.average)
            cells[f"{rule}_cost"] = Number(cost, _scores(choices[rule], options, tracked))
    for axis in (*_others(entry), entry.choose):
        if (name := cells.get(axis)) is not None:
            cells[f"{axis}_printed"] = display(Column(axis, "", "text"), name, grid.config.labels)
    axes = dict(zip(_others(entry), names, strict=True))
    return Row(tuple(cells.get(column.key) for column in found), notes, axes=axes)


class Taken(NamedTuple):
    """What a rule chooses: ``dice`` is the choice's overall test Dice, ``scores`` are what it is made of.

    ``choice`` is empty and ``dice`` None where the rule cannot choose.
    """

    choice: Choice
    dice: float | None
    scores: tuple[Evidence, ...]


def taken(options: Options, tracked: Tracked, average: str = "pooled") -> dict[str, Taken]:
    """What each rule chooses among options that have scores of the same seeds, sources and targets.

    Rules that look at validation scores are there if all scores have them; ``oracle`` always is.
    """
    scores = [tracked.scores[one.score] for ones in options.values() for one in ones]
    known = all(one.validation is not None for one in scores)
    found = {}
    for rule in RULES if known else ("oracle",):
        choice = _choices(rule, options, tracked, average)
        dice = _test(choice, options, tracked, average) if choice else None
        found[rule] = Taken(choice, dice, _scores(choice, options, tracked) if choice else ())
    return found


# ---- rules -------------------------------------------------------------------------------------------------


def _choices(rule: str, options: Options, tracked: Tracked, average: str) -> Choice:
    """What a rule chooses for each target; of equals the first. Empty if the rule cannot choose for one."""
    ones = next(iter(options.values()))
    targets = dict.fromkeys(one.target for one in ones)

    def best(of: Callable, keep: Callable[[Asked], bool]) -> str:
        values = {
            name: number([one for one in those if keep(one)], tracked, average, of)[0].value
            for name, those in options.items()
        }
        return max(values, key=lambda name: -math.inf if values[name] is None else round(values[name], 9))

    if rule == "oracle":
        return dict.fromkeys(targets, best(attrgetter("dice"), lambda one: True))
    if rule == "source_validation":
        return dict.fromkeys(targets, best(validation, lambda one: one.diagonal))
    choice = {}
    for target in targets:
        others = _without(target, ones)
        if not others:
            return {}
        choice[target] = best(validation, lambda one, of=others: (one.model.source, one.target) in of)
    return choice


def _without(target: str, asked: list[Asked]) -> set[tuple[str, str]]:
    """Pairs of source and another dataset that tell nothing of a target: in its anatomy, else in others."""
    anatomy = next(one.anatomy for one in asked if one.target == target)
    pairs = [one for one in asked if not one.diagonal and target not in (one.target, one.model.source)]
    own = {(one.model.source, one.target) for one in pairs if one.anatomy == anatomy}
    return own or {(one.model.source, one.target) for one in pairs}


def _taken(choice: Choice, options: Options) -> list[Asked]:
    """On each target the scores of what is chosen for it."""
    return [one for name, ones in options.items() for one in ones if choice[one.target] == name]


def _test(choice: Choice, options: Options, tracked: Tracked, average: str) -> float:
    """Overall test Dice of a choice; one model stands for it, whatever is chosen for which target."""
    taken = _taken(choice, options)
    if average == "pooled":  # means over models first would weigh the names that are chosen, not the scores
        return mean(tracked.scores[one.score].dice for one in taken)
    return number(taken, tracked, average)[0].value


def _scores(choice: Choice, options: Options, tracked: Tracked) -> tuple:
    return tuple(tracked.scores[one.score] for one in _taken(choice, options))


def _name(choice: Choice) -> str:
    """A choice as it is written: a name, or names with their targets where they differ."""
    targets: dict[str, list[str]] = {}
    for target, name in choice.items():
        targets.setdefault(name, []).append(target)
    if len(targets) == 1:
        return next(iter(targets))
    return "; ".join(f"{name}: {', '.join(sorted(those))}" for name, those in targets.items())
