"""Columns beside an adapted model: before adaptation, the control, the target's own model, the gap closed.

They are of the same pairs of source and target as the row. Gap closed = 100 (adapted - before) / (in-domain -
before), of the three means, unrounded, as the thesis's loss is of two means; none where the target's own
model is no better than the unadapted one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from segshift.grid import Score
from segshift.table_entries import CONTROLS, ScoreTable
from segshift.tables.asked import Asked, Tracked, budgets
from segshift.tables.draft import Draft
from segshift.tables.means import number, part
from segshift.tables.table import Column, Number

TITLES = {
    "before": "Before",
    "control": "Control",
    "in_domain": "In-domain",
    "gap_closed_pct": "Gap closed %",
    "control_gap_closed_pct": "Control's gap closed %",
    "labelled": "Labelled",
}
NO_GAP = "The target's own models are no better than the unadapted ones, so there is no gap to close."


def column(key: str) -> Column:
    """One of these columns."""
    kind = "text" if key == "labelled" else "percent" if key.endswith("_pct") else "mean"
    return Column(key, TITLES[key], "dice" if kind == "mean" else kind)


def rows(entry: ScoreTable, drafts: list[Draft]) -> list[Draft]:
    """Without those of unadapted models and of the control, which stand in columns."""
    if not entry.control:
        return drafts
    return [row for row in drafts if row.axes["adapt"] not in ("none", entry.control)]


def others(entry: ScoreTable, row: Draft, asked: Iterable[Asked]) -> dict[str, list[Asked]]:
    """What the columns ``before``, ``control`` and ``in_domain`` of a row are means of."""
    if not entry.control:
        return {}
    known = {one.score: one for one in asked}
    found: dict[str, dict[Score, Asked]] = {"before": {}, "control": {}, "in_domain": {}}
    for one in part(row.asked, "dg"):
        cell = one.model.cell
        models = {
            "before": cell,
            "control": cell._replace(adapt=entry.control, target=one.target),
            "in_domain": cell._replace(source=one.target),
        }
        for key, model in models.items():
            score = Score(model, one.target)
            asked_for = known.get(score) or replace(one, model=model, adapt=model.adapt or "none")
            found[key].setdefault(score, asked_for)
    return {key: list(scores.values()) for key, scores in found.items()}


def fill(
    entry: ScoreTable,
    row: Draft,
    found: Iterable[Column],
    beside: Mapping[str, list[Asked]],
    tracked: Tracked,
) -> None:
    """Fill in these columns; ``beside`` is what ``others`` says."""
    keys = {column.key for column in found} & set(CONTROLS)
    if not keys:
        return
    for key, ones in beside.items():
        row.put(key, *number(ones, tracked, entry.average))
    row.put("adapted", *number(part(row.asked, "dg"), tracked, entry.average))
    for key, of in (("gap_closed_pct", "adapted"), ("control_gap_closed_pct", "control")):
        row.put(key, *_gap(row, of))
    row.put("labelled", budgets(part(row.asked, "dg"), tracked))


def _gap(row: Draft, of: str) -> tuple[Number, tuple[str, ...]]:
    numbers = [row.cells[key] for key in (of, "before", "in_domain")]
    scores = tuple(dict.fromkeys(score for one in numbers for score in one.scores))
    after, before, own = (one.value for one in numbers)
    notes = tuple(note for key in (of, "before", "in_domain") for note in row.notes.get(key, ()))
    if None in (after, before, own):
        return Number(None, scores), notes
    if own <= before:
        return Number(None, scores), (NO_GAP, *notes)
    return Number(100 * (after - before) / (own - before), scores), notes
