"""The sentences of a story (``story.py``), each from its numbers."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

from segshift.grid import Model, Score
from segshift.story_numbers import Found, Missing, Value, alike, differs, margin, value
from segshift.tables.table import named, rounded

Names = tuple[str, str, str]  # backbone, tuning, head
ONE_SEED = "with one seed no difference can be claimed"


def _or_missing(write: Callable[..., str]) -> Callable[..., str]:
    """A sentence, or what it lacks."""

    @wraps(write)
    def written(self: "Teller", *arguments: Any) -> str:
        try:
            return write(self, *arguments)
        except Missing as lack:
            return f"About {write.__doc__.split(':')[0].lower()} nothing can be said: {lack} is missing."

    return written


class Teller:
    """Writes sentences about scores; ``least``: differences of fewer points are not claimed."""

    def __init__(
        self,
        experiments: Mapping[str, Sequence[Score]],
        scores: Mapping[Score, Found],
        labels: Mapping[str, Mapping[str, str]],
        least: float,
    ) -> None:
        self.experiments, self.scores, self.labels, self.least = experiments, scores, labels, least

    # ---- the sentences ---------------------------------------------------------------------------------

    @_or_missing
    def winner(self, experiment: str) -> str:
        """The in-domain winner: and what is as good."""
        (first, best), *others = self._ranked(experiment, _diagonal)
        told = f"In-domain (DS), {self.row(first)} comes first with {best} Dice"
        equal = [row for row, one in others if not differs(best, one, self.least)]
        if not others:
            return f"{told}, alone in its table."
        if equal:
            return f"{told}, but cannot be told apart from {_list(map(self.row, equal))}."
        second, next_best = others[0]
        lead = rounded(best.mean - next_best.mean, 1)
        return f"{told}, {lead} points before {self.row(second)} ({next_best})."

    @_or_missing
    def shift(self, rows: Sequence[Names], source: str, costs: Mapping[str, Sequence[str]]) -> str:
        """The cost of a shift: of rows trained on a source, against its own test volumes."""
        parts = []
        for row in rows:
            inside = self._of(row, source, [source])
            told = []
            for change, targets in costs.items():
                outside = self._of(row, source, targets)
                shown = f"{change} {self._change(inside, outside, 'costs', 'gains')}"
                each = ", ".join(f"{self.dataset(t)} {self._of(row, source, [t])}" for t in targets)
                told.append(f"{shown} ({each})")
            parts.append(f"for {self.row(row)} ({inside} at home) {_list(told)}")
        return f"Trained on {self.dataset(source)}: {'; '.join(parts)}."

    @_or_missing
    def pretraining(self, experiment: str, row: Names, twin: Names) -> str:
        """Pretraining: a row against its random twin, in-domain and elsewhere."""
        told = []
        for where, keep in (("in-domain", _diagonal), ("on other domains", _other)):
            own, random = (self._row(experiment, one, keep) for one in (row, twin))
            told.append(f"{where} it {self._compared(own, random)} ({own} against {random})")
        return f"{self.row(row)} and its random twin under the same head: {_list(told)}."

    @_or_missing
    def adaptation(self, entry: Any) -> str:
        """Adaptation: before it, on the labelled volumes alone, and with pseudo-labels besides."""
        kinds = {"before": None, "without": entry.without, "with": entry.with_}
        found = {kind: self._of(entry.row, entry.source, entry.targets, name) for kind, name in kinds.items()}
        each = []
        for target in entry.targets:
            values = [self._of(entry.row, entry.source, [target], name) for name in kinds.values()]
            numbers = " → ".join(rounded(one.mean, 1) for one in values)
            each.append(f"{self.dataset(target)} {numbers}")
        before, without, with_ = found.values()
        names = [named("adapt", name, self.labels) for name in (entry.without, entry.with_)]
        wins = [self._change(before, after, "loses", "wins") for after in (without, with_)]
        return (
            f"{entry.labelled} bring {self.row(entry.row)} from {before} to {without} without pseudo-labels "
            f"({names[0]}: {wins[0]}) and to {with_} with them ({names[1]}: {wins[1]}); against the former "
            f"the latter {self._compared(with_, without)} (before → without → with: {'; '.join(each)})."
        )

    @_or_missing
    def ties(self, experiment: str) -> str:
        """Ties: rows that the seeds do not tell apart."""
        ranked = self._ranked(experiment, lambda score: True)
        runs = alike([one for _, one in ranked], self.least)
        seeds = {seed for _, one in ranked for seed in one.by_seed}
        count = "this one seed" if len(seeds) == 1 else f"these {len(seeds)} seeds"
        if not runs:
            return f"With {count} all rows can be told apart by their overall score (OV)."
        groups = [_list(f"{self.row(ranked[i][0])} ({ranked[i][1]})" for i in run) for run in runs]
        return f"With {count} these cannot be told apart by their overall score (OV): {'; or '.join(groups)}."

    @_or_missing
    def selection(self, experiment: str) -> str:
        """Selection: what validation on the source would have taken, and what that costs."""
        ranked = self._ranked(experiment, lambda score: True)
        on_source = self._ranked(experiment, _diagonal, lambda one: one.validation)
        best_row, best = ranked[0]
        row, validation = on_source[0]
        own = dict(ranked)[row]
        told = f"Validation on the source would have taken {self.row(row)} ({validation} there)"
        if row == best_row:
            return f"{told}, which also has the best overall score (OV {own}), so it costs nothing."
        cost = f"{rounded(best.mean - own.mean, 1)} points of OV ({own} instead of {best})"
        if not differs(best, own, self.least):
            limit = self._limit(best, own)
            return (
                f"{told}; that it lies {cost} below {self.row(best_row)} is no difference to claim ({limit})."
            )
        return f"{told}, which costs {cost} against {self.row(best_row)}."

    # ---- numbers ---------------------------------------------------------------------------------------

    def _ranked(
        self,
        experiment: str,
        keep: Callable[[Score], bool],
        of: Callable[[Found], float] = lambda one: one.test,
    ) -> list[tuple[Names, Value]]:
        """The rows of an experiment, not adapted, best first; of equal ones the order is the experiment's."""
        rows: dict[Names, list[Score]] = {}
        for score in self.experiments[experiment]:
            if not score.model.adapt and keep(score):
                rows.setdefault(score.model[1:4], []).append(score)
        found = [(row, value(self.scores, wanted, of)) for row, wanted in rows.items()]
        if not found:
            raise Missing(f"every row of {experiment}")
        return sorted(found, key=lambda one: round(one[1].mean, 9), reverse=True)

    def _row(self, experiment: str, row: Names, keep: Callable[[Score], bool]) -> Value:
        scores = [score for score in self.experiments[experiment] if not score.model.adapt and keep(score)]
        return value(self.scores, [score for score in scores if score.model[1:4] == tuple(row)])

    def _of(self, row: Names, source: str, targets: Iterable[str], adapt: str | None = None) -> Value:
        """The mean over targets of models of a source, adapted to each of them or not."""
        targets = list(targets)
        asked = dict.fromkeys(score for scores in self.experiments.values() for score in scores)
        wanted = [
            score
            for score in asked
            if score.model[:4] == (source, *row) and score.model.adapt == adapt and score.target in targets
        ]
        if lost := set(targets) - {score.target for score in wanted}:
            raise Missing(f"{'/'.join(Model(source, *row, 0)[:4])} on {', '.join(sorted(lost))}")
        return value(self.scores, wanted)

    # ---- words -----------------------------------------------------------------------------------------

    def row(self, row: Names) -> str:
        """Display names of a row."""
        axes = zip(("backbone", "tuning", "head"), row, strict=True)
        backbone, tuning, head = (named(axis, name, self.labels) for axis, name in axes)
        return backbone if row[2] == "own" else f"{backbone} ({tuning}, {head})"

    def dataset(self, name: str) -> str:
        """Display name of a dataset."""
        return named("target", name, self.labels)

    def _change(self, before: Value, after: Value, down: str, up: str) -> str:
        """How far a number fell or rose. Both are of the same seeds, so each seed's own change counts."""
        shared = before.by_seed.keys() & after.by_seed.keys()
        change = Value({seed: after.by_seed[seed] - before.by_seed[seed] for seed in sorted(shared)})
        size = rounded(abs(change.mean), 1)
        if change.spread is None:
            return f"{down if change.mean < 0 else up} {size} points in one seed"
        if abs(change.mean) <= max(change.spread, self.least):
            return f"changes nothing that exceeds {self._named(change.spread)}"
        return f"{down if change.mean < 0 else up} {size} points"

    def _compared(self, one: Value, other: Value) -> str:
        size = rounded(abs(one.mean - other.mean), 1)
        if margin(one, other) is None:
            return f"cannot be compared, for {ONE_SEED}"
        if not differs(one, other, self.least):
            return f"cannot be told apart, at a difference of {size} points ({self._limit(one, other)})"
        return f"is {size} points {'better' if one.mean > other.mean else 'worse'}"

    def _limit(self, one: Value, other: Value) -> str:
        if margin(one, other) is None:
            return ONE_SEED
        return self._named(one.spread + other.spread)

    def _named(self, own: float) -> str:
        if own >= self.least:
            return f"the seeds' spread, {rounded(own, 1)}"
        return f"{rounded(self.least, 1)}, the least that is claimed"


def _diagonal(score: Score) -> bool:
    return score.target == score.model.source


def _other(score: Score) -> bool:
    return not _diagonal(score)


def _list(parts: Iterable[str]) -> str:
    *head, last = parts
    return f"{', '.join(head)} and {last}" if head else last
