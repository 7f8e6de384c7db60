"""Which scores a table is made of, and what is known of them, be they tracked runs or a plain file's."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from segshift.grid import Grid, Model, Score
from segshift.tables.table import Evidence

NOT_CHECKED = "Not checked for leakage: see the remark below the table."
MODEL_AXES = ("backbone", "tuning", "head", "adapt")


class Key(NamedTuple):
    """What tells models apart that were trained on different sources with different seeds."""

    backbone: str
    tuning: str
    head: str
    adapt: str


@dataclass(frozen=True)
class Asked:
    """A score that a row is made of, and why it cannot be there: left out on purpose, or not yet possible.

    ``adapt`` is the row's: the score on the source itself, made before adaptation, stands in every one.
    """

    model: Model
    target: str
    left_out: str | None = None
    waits_for: tuple[str, ...] = ()
    anatomy: str = ""
    adapt: str = "none"

    @property
    def diagonal(self) -> bool:
        return self.target == self.model.source

    @cached_property
    def score(self) -> Score:
        return Score(self.model, self.target)

    @property
    def place(self) -> tuple[object, ...]:
        """What it is but for the seed."""
        return (self.model[:4], self.model[5:], self.target)

    def axis(self, name: str) -> str:
        """Where it stands on an axis, or its anatomy."""
        if name == "adapt":
            return self.model.adapt or self.adapt
        return str(getattr(self if name in ("anatomy", "target") else self.model, name))


@dataclass(frozen=True)
class Tracked:
    """What a table is made of: scores, counts of trainable parameters, and why a model has no scores.

    ``outdated``: models that were made by other code than today's. ``heads``: of ``trainable``, how many are
    the head's, where that is known. ``budgets``: of adapted models, whose labels of the target they used.
    ``unchecked``: scores of another tool's model of which nobody could say that it saw no test patient.
    """

    scores: Mapping[Score, Evidence]
    trainable: Mapping[Model, int]
    failures: Mapping[Model, str]
    outdated: Collection[Model] = ()
    heads: Mapping[Model, int] = field(default_factory=dict)
    budgets: dict[Model, str] = field(default_factory=dict)
    unchecked: set[Score] = field(default_factory=set)


def of_grid(grid: Grid, experiments: Iterable[str]) -> list[Asked]:
    """The scores of experiments, each once, in the order of the grid; what is left out comes last."""
    found: dict[Score, Asked] = {}
    for name in experiments:
        expanded = grid.experiments[name]
        for model, target in expanded.scores:
            waits = tuple(grid.planned(model, target))
            found[Score(model, target)] = Asked(model, target, None, waits, _anatomy(grid, model))
        for model, target, reason in expanded.left_out:
            found.setdefault(Score(model, target), Asked(model, target, reason, (), _anatomy(grid, model)))
    return sorted(found.values(), key=lambda one: one.left_out is not None)


def _anatomy(grid: Grid, model: Model) -> str:
    return grid.config.datasets[model.source].anatomy


def by_model(asked: Iterable[Asked]) -> dict[Key, list[Asked]]:
    """Scores by what tells their models apart. An adapted one takes the diagonal from before adaptation."""
    combinations: dict[tuple[str, ...], list[Asked]] = {}
    for one in asked:
        combinations.setdefault(one.model[1:4], []).append(one)
    rows: dict[Key, list[Asked]] = {}
    for names, ones in combinations.items():
        adapts = dict.fromkeys(one.model.adapt or "none" for one in ones if not one.diagonal)
        for adapt in adapts or ("none",):
            rows[Key(*names, adapt)] = [
                one if one.adapt == adapt else replace(one, adapt=adapt)
                for one in ones
                if one.diagonal or (one.model.adapt or "none") == adapt
            ]
    return rows


def waits(asked: Iterable[Asked]) -> bool:
    """True if nothing of it can be made yet."""
    wanted = [one for one in asked if not one.left_out]
    return bool(wanted) and all(one.waits_for for one in wanted)


def lacks(asked: Iterable[Asked], scores: Mapping[Score, Evidence]) -> list[Asked]:
    """What could be there and is not."""
    return [one for one in asked if not (one.left_out or one.waits_for or one.score in scores)]


# ---- footnotes and remarks ---------------------------------------------------------------------------------


def lost(asked: Iterable[Asked], tracked: Tracked) -> str:
    """The footnote that names missing scores, and the last word of each model's failure."""
    models: dict[Model, list[str]] = {}
    for one in lacks(asked, tracked.scores):
        models.setdefault(one.model, []).append(one.target)
    parts = [
        f"{model.path} on {', '.join(targets)}"
        + (f" ({why})" if (why := tracked.failures.get(model)) else "")
        for model, targets in models.items()
    ]
    return f"Missing: {'; '.join(parts)}."


def awaited(asked: Iterable[Asked]) -> str:
    """Entries that scores wait for."""
    return ", ".join(dict.fromkeys(entry for one in asked for entry in one.waits_for))


def without(asked: Iterable[Asked]) -> tuple[str, ...]:
    """Footnotes of what was left out on purpose, one a reason."""
    reasons: dict[str, dict[str, None]] = {}
    for one in asked:
        if one.left_out:
            reasons.setdefault(one.left_out, {}).setdefault(one.target)
    return tuple(f"Without {', '.join(sorted(targets))}: {reason}." for reason, targets in reasons.items())


def budgets(asked: Iterable[Asked], tracked: Tracked) -> str:
    """Whose labels of the target adapted models looked at, as far as that is known."""
    found: dict[str, dict[str, None]] = {}
    for one in asked:
        if not one.left_out and (budget := tracked.budgets.get(one.model)):
            found.setdefault(budget, {}).setdefault(one.target)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{budget} on {', '.join(sorted(targets))}" for budget, targets in found.items())


def labelled(asked: Iterable[Asked], tracked: Tracked) -> tuple[str, ...]:
    """The footnote of a number that adapted models have a part in."""
    told = budgets(asked, tracked)
    return (f"Labelled patients of the target: {told}.",) if told else ()


def doubtful(asked: Iterable[Asked], tracked: Tracked) -> tuple[str, ...]:
    """The footnote of a number that scores have a part in which were not checked for leakage."""
    return (NOT_CHECKED,) if any(one.score in tracked.unchecked for one in asked) else ()


def not_checked(scores: Collection[Score]) -> list[str]:
    """One remark that names these scores."""
    if not scores:
        return []
    targets: dict[str, list[str]] = {}
    for model, target in sorted(scores, key=lambda score: (score.model.path, score.target)):
        targets.setdefault(model.path, []).append(target)
    named = "; ".join(f"{path} on {', '.join(own)}" for path, own in targets.items())
    return [
        "Not checked for leakage, so test patients may be among those that the model was trained on: "
        f"{named}. Prepare its source and score the masks again: segshift score."
    ]


def not_yet(rows: Collection[Iterable[Asked]]) -> list[str]:
    """One remark about the rows that cannot be made yet."""
    if not rows:
        return []
    count = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
    entries = awaited(one for asked in rows for one in asked)
    return [f"{count} not yet possible and left out; what is awaited: {entries}."]


def one_sampling(asked: Iterable[Asked], grid: Grid) -> list[str]:
    """One remark about seeds that vary less than a seed usually does."""
    shared: dict[int, set[int]] = {}
    for one in asked:
        if (seed := grid.sampling_seeds.of(one.model)) is not None:
            shared.setdefault(seed, set()).add(one.model.seed)
    several = sorted(set().union(*(seeds for seeds in shared.values() if len(seeds) > 1)))
    if not several:
        return []
    names = ", ".join(map(str, several))
    return [
        f"Seeds {names} share their sampling: they vary the head alone (its initialization and dropout), not "
        "what is drawn from the data."
    ]


def by_older_code(outdated: Collection[Model]) -> list[str]:
    """One remark about models that older code made."""
    if not outdated:
        return []
    what = "1 model was" if len(outdated) == 1 else f"{len(outdated)} models were"
    paths = ", ".join(sorted(model.path for model in outdated))
    return [f"{what} made by older code (segshift rerun --outdated makes them again): {paths}."]
