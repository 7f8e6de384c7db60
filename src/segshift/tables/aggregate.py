"""From scores to the rows of an experiment's table.

DS (domain-specific) is the mean of the scores on the source itself, DG (domain generalization) of those on
its siblings, OV (overall) of all. They are plain means over scores, anatomies pooled, so OV is not the middle
of DS and DG. Several seeds: the statistic of each seed first, then mean and standard deviation (n - 1) over
seeds.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from segshift.grid import Grid, Model, Score
from segshift.scores import mean
from segshift.tables.table import Column, Evidence, Number, Row, Table

STATISTICS = {"ds": "DS", "dg": "DG", "ov": "OV"}
UNKNOWN_PRETRAINING = "What its weights were pretrained on is unknown, so nothing could be left out."
LARGEST = "The largest of its models; the count differs with the number of classes."


class Key(NamedTuple):
    """A row."""

    backbone: str
    tuning: str
    head: str
    adapt: str


@dataclass(frozen=True)
class Asked:
    """A score that a row is made of, and why it cannot be there: left out on purpose, or not yet possible."""

    model: Model
    target: str
    left_out: str | None = None
    waits_for: tuple[str, ...] = ()

    @property
    def diagonal(self) -> bool:
        return self.target == self.model.source


@dataclass(frozen=True)
class Tracked:
    """What a table is made of: scores, counts of trainable parameters, and why a model has no scores.

    ``outdated``: models that were made by other code than today's.
    """

    scores: Mapping[Score, Evidence]
    trainable: Mapping[Model, int]
    failures: Mapping[Model, str]
    outdated: Collection[Model] = ()


def missing(grid: Grid, experiment: str, scores: Iterable[Score]) -> list[Score]:
    """Scores of an experiment that can be made and are not there, in the order of the grid."""
    there = set(scores)
    return [s for s in grid.experiments[experiment].scores if s not in there and not grid.planned(*s)]


def build(grid: Grid, experiment: str, tracked: Tracked) -> Table:
    """An experiment's table, best OV first; a number that lacks a score is a dash with a footnote."""
    expanded = grid.experiments[experiment]
    rows = _rows(grid, experiment)
    possible = {key: asked for key, asked in rows.items() if not _waits(asked)}
    adapts = any(model.adapt for model, *_ in (*expanded.scores, *expanded.left_out))
    columns = _columns(grid, possible, adapts)
    sources = {one.model.source for asked in possible.values() for one in asked}
    built = [_row(grid, key, asked, columns, tracked, sources) for key, asked in possible.items()]
    remarks = _not_yet({key: asked for key, asked in rows.items() if key not in possible})
    remarks += _by_older_code(tracked.outdated)
    return Table(
        experiment,
        grid.config.experiments[experiment].title,
        tuple(columns),
        tuple(_ranked(built)),
        tuple(remarks),
        partial=bool(missing(grid, experiment, tracked.scores)),
    )


# ---- which scores make which row -------------------------------------------------------------------------


def _rows(grid: Grid, experiment: str) -> dict[Key, list[Asked]]:
    """Rows in the order of the grid. An adapted row takes DS from the trained cells, before adaptation."""
    expanded = grid.experiments[experiment]
    asked = [
        Asked(model, target, waits_for=tuple(grid.planned(model, target)))
        for model, target in expanded.scores
    ]
    asked += [Asked(*left_out) for left_out in expanded.left_out]
    adapts: dict[tuple[str, ...], dict[str, None]] = {}
    for one in asked:
        choices = adapts.setdefault(one.model[1:4], {})
        if not one.diagonal:
            choices.setdefault(one.model.adapt or "none")
    rows: dict[Key, list[Asked]] = {}
    for (backbone, tuning, head), choices in adapts.items():
        for adapt in choices or ("none",):
            rows[Key(backbone, tuning, head, adapt)] = [
                one
                for one in asked
                if one.model[1:4] == (backbone, tuning, head)
                and (one.diagonal or (one.model.adapt or "none") == adapt)
            ]
    return rows


def _waits(asked: list[Asked]) -> bool:
    wanted = [one for one in asked if not one.left_out]
    return bool(wanted) and all(one.waits_for for one in wanted)


def _not_yet(rows: Mapping[Key, list[Asked]]) -> list[str]:
    """One remark about the rows that cannot be made yet."""
    if not rows:
        return []
    entries = dict.fromkeys(entry for asked in rows.values() for one in asked for entry in one.waits_for)
    count = "1 row is" if len(rows) == 1 else f"{len(rows)} rows are"
    return [f"{count} not yet possible and left out; what is awaited: {', '.join(entries)}."]


def _by_older_code(outdated: Collection[Model]) -> list[str]:
    if not outdated:
        return []
    what = "1 model was" if len(outdated) == 1 else f"{len(outdated)} models were"
    paths = ", ".join(sorted(model.path for model in outdated))
    return [f"{what} made by older code (segshift rerun --outdated makes them again): {paths}."]


def _columns(grid: Grid, rows: Mapping[Key, list[Asked]], adapts: bool) -> list[Column]:
    """Columns of statistics that no row has a score for (DG of a lone dataset) are not there."""
    everything = [one for asked in rows.values() for one in asked]
    anatomies = list(dict.fromkeys(_anatomy(grid, one) for one in everything))
    columns = [Column("rank", "Rank", "whole"), Column("backbone", "Backbone", "text")]
    columns += [Column("tuning", "Tuning", "text"), Column("head", "Head", "text")]
    columns += [Column("adapt", "Adaptation", "text")] if adapts else []
    columns += [Column("trainable", "Trainable", "count")]
    names = grid.config.labels.get("anatomy", {})
    for anatomy in [*anatomies, None] if len(anatomies) > 1 else [None]:
        for key, title in STATISTICS.items():
            if any(_part(grid, everything, anatomy, key)):
                prefix = f"{anatomy}_" if anatomy else ""
                label = f"{names.get(anatomy, anatomy)} " if anatomy else ""
                columns.append(Column(f"{prefix}{key}", f"{label}{title}"))
    return columns


def _anatomy(grid: Grid, one: Asked) -> str:
    return grid.config.datasets[one.model.source].anatomy


def _part(grid: Grid, asked: list[Asked], anatomy: str | None, statistic: str) -> list[Asked]:
    return [
        one
        for one in asked
        if (anatomy is None or _anatomy(grid, one) == anatomy)
        and (statistic == "ov" or one.diagonal == (statistic == "ds"))
    ]


# ---- one row ---------------------------------------------------------------------------------------------


def _row(
    grid: Grid, key: Key, asked: list[Asked], columns: list[Column], tracked: Tracked, sources: set[str]
) -> Row:
    cells: list[str | int | Number | None] = []
    notes: dict[str, tuple[str, ...]] = {}
    lost = _lost(asked, tracked)
    for column in columns:
        if column.kind == "text":
            cell, why = getattr(key, column.key), ()
            if column.key == "backbone" and any(grid.pretrained_on(one.model) == "unknown" for one in asked):
                why = (UNKNOWN_PRETRAINING,)
        elif column.kind == "count":
            cell, why = _trainable(key, asked, tracked)
        elif column.kind == "whole":
            cell, why = None, _fewer(asked, sources)  # the rank itself is known once all rows are there
        else:
            anatomy, _, statistic = column.key.rpartition("_")
            cell, why = _number(_part(grid, asked, anatomy or None, statistic), tracked, lost)
        cells.append(cell)
        if why:
            notes[column.key] = why
    return Row(tuple(cells), notes)


def _fewer(asked: list[Asked], sources: set[str]) -> tuple[str, ...]:
    """A row of fewer sources than others is ranked among them, but says so."""
    own = dict.fromkeys(one.model.source for one in asked)
    return (
        (f"Trained on {', '.join(own)} only; other rows are means over more sources.",)
        if sources - set(own)
        else ()
    )


def _trainable(key: Key, asked: list[Asked], tracked: Tracked) -> tuple[int | None, tuple[str, ...]]:
    """Of what the row is about: the adapted models, or the trained cells."""
    models = {one.model for one in asked if (one.model.adapt or "none") == key.adapt}
    counts = {tracked.trainable[model] for model in models if model in tracked.trainable}
    return max(counts, default=None), (LARGEST,) if len(counts) > 1 else ()


def _number(asked: list[Asked], tracked: Tracked, lost: str) -> tuple[Number, tuple[str, ...]]:
    """A statistic and its footnotes."""
    wanted = [one for one in asked if not one.left_out]
    notes = _left_out(asked)
    waiting = [one for one in wanted if one.waits_for]
    there = {
        one: tracked.scores[score]
        for one in wanted
        if (score := Score(one.model, one.target)) in tracked.scores
    }
    scores = tuple(there.values())
    if any(one not in there and not one.waits_for for one in wanted):
        return Number(None, scores), (lost, *notes)
    if waiting:
        entries = dict.fromkeys(entry for one in waiting for entry in one.waits_for)
        return Number(None, scores), (f"Not yet possible; what is awaited: {', '.join(entries)}.", *notes)
    if not there:
        return Number(None), notes
    seeds: dict[int, list[float]] = {}
    for one, score in there.items():
        seeds.setdefault(one.model.seed, []).append(score.dice)
    values = [mean(scores) for scores in seeds.values()]
    return Number(mean(values), scores, _spread(values)), notes


def _spread(values: list[float]) -> float | None:
    if len(values) < 2:
        return None
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def _left_out(asked: list[Asked]) -> tuple[str, ...]:
    reasons: dict[str, dict[str, None]] = {}
    for one in asked:
        if one.left_out:
            reasons.setdefault(one.left_out, {}).setdefault(one.target)
    return tuple(f"Without {', '.join(targets)}: {reason}." for reason, targets in reasons.items())


def _lost(asked: list[Asked], tracked: Tracked) -> str:
    """The footnote that names a row's missing scores, and the last word of each model's failure."""
    models: dict[Model, list[str]] = {}
    for one in asked:
        if not (one.left_out or one.waits_for or Score(one.model, one.target) in tracked.scores):
            models.setdefault(one.model, []).append(one.target)
    parts = [
        f"{model.path} on {', '.join(targets)}"
        + (f" ({why})" if (why := tracked.failures.get(model)) else "")
        for model, targets in models.items()
    ]
    return f"Missing: {'; '.join(parts)}."


# ---- ranks -----------------------------------------------------------------------------------------------


def _ranked(rows: list[Row]) -> list[Row]:
    """Best OV first; equal values share a rank (1, 1, 3); rows without a value come last, without a rank."""

    def overall(row: Row) -> float:
        number = row.cells[-1]
        assert isinstance(number, Number)  # the last column is OV of everything
        return -math.inf if number.value is None else round(number.value, 9)

    ordered = sorted(rows, key=overall, reverse=True)  # stable, in both directions
    values = [overall(row) for row in ordered]
    return [
        Row((None if value == -math.inf else values.index(value) + 1, *row.cells[1:]), row.notes)
        for row, value in zip(ordered, values, strict=True)
    ]
