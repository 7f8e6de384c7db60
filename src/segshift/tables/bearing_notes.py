"""What a table says in words of how far its numbers bear."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from segshift.statistics import noise, power
from segshift.statistics.intervals import About, about, lone, patient_part
from segshift.statistics.ties import pooled_seed_part
from segshift.tables.samples import Compared, scores
from segshift.tables.table import Evidence, Number, Row, Table, rounded

NAMED = 6  # suspects that a footnote names
UNKNOWN = (
    "Intervals, ties and rank intervals are left out: of these scores the patients behind them are not known."
)


def remarks(table: Table, deciding: str, compared: Sequence[Compared], known: bool) -> list[str]:
    """Remarks below a table: what intervals are about, the rule of ties, and what could have been seen."""
    title = next(column.title for column in table.columns if column.key == deciding)
    if not known:
        return [UNKNOWN, *_seeds_alone(compared, title)]
    if not compared:  # no row is complete
        return []
    if lonely := dict.fromkeys(name for one in compared for name in lone(one.sample)):
        names = ", ".join(lonely)
        return [f"Intervals, ties and rank intervals are left out: of {names} there is one test patient."]
    told = [one for one in compared if one.pairs is not None]
    said = [f"Intervals in brackets: 95 %. {_about(compared)}"]
    if not told:
        return said
    most = max(len(one.rows) for one in told)
    said.append(
        f"Ranks: the places that a row can have. Of two rows one is surely better if it leads in {title} by "
        "more than q·√(A + b)/√2, where A is the seeds' part (pooled over all pairs), b the patients' part "
        f"and q the 95 % point of the studentized range of all rows compared ({most}). “Cannot be told from "
        "the best”: no row is surely better. All pairs stand in the file .pairs.csv."
    )
    least = [power.smallest_detectable(one.pairs) for one in told]
    span = rounded(min(least)) + (f" to {rounded(max(least))}" if len(least) > 1 else "")
    said.append(f"Smallest difference in {title} that such a table detects with 80 % power: {span} points.")
    if len(told) == 1:
        said.append(seeds(told[0], title))
    return said


def _about(compared: Sequence[Compared]) -> str:
    """What the intervals of a table are about; rows of fewer seeds make it speak of the models."""
    kinds = {one.pairs.about if one.pairs else about(one.sample.seeds) for one in compared}
    least = min(kinds, key=[About.ONE_SEED, About.MODELS, About.METHOD].index)
    return least.explained


def seeds(one: Compared, title: str) -> str:
    """Seeds needed for the gap between ranks 1 and 2."""
    first, second = np.argsort(-one.pairs.differences.sum(axis=1), kind="stable")[:2]
    gap = rounded(float(one.pairs.differences[first, second]))
    start = f"Seeds needed to tell rank 1 from rank 2 ({gap} points of {title}) with 80 % power: "
    if one.pairs.about is not About.METHOD:
        return f"{start}not known from fewer than three seeds."
    b = patient_part(one.sample.difference(first, second).moves[0], one.sample.groups)
    needed = power.seeds_needed(one.pairs, first, second, (float(b[0]), float(b[1])))
    if needed is None:
        return f"{start}no number is enough; it takes more patients."
    return f"{start}{needed} (there are {one.pairs.seeds})."


def _seeds_alone(compared: Sequence[Compared], title: str) -> list[str]:
    """Of several seeds without patients: the part that is known."""
    told = [one for one in compared if one.sample.by_seed.shape[1] > 1 and len(one.rows) > 1]
    if not told:
        return []
    errors = [math.sqrt(pooled_seed_part(one.sample.by_seed)) for one in told]
    span = rounded(min(errors)) + (f" to {rounded(max(errors))}" if len(errors) > 1 else "")
    count = min(one.sample.by_seed.shape[1] for one in told)
    return [
        f"Seeds alone ({count}) give a difference of two rows in {title} a standard error of {span} points; "
        "the patients' part comes on top."
    ]


# ---- suspect cells -----------------------------------------------------------------------------------------


def suspects(table: Table, deciding: str) -> Table:
    """Notes on numbers that a suspect cell has a part in; siblings: all models on one source and target."""
    found = {one.name: one for one in suspect_scores(scores(table.rows))}
    if not found:
        return table
    rows = tuple(_suspected(row, table, deciding, found) for row in table.rows)
    return replace(table, rows=rows)


def suspect_scores(everything: Sequence[Evidence]) -> list[noise.Suspect]:
    """Suspects among scores; each is named by its cell and target."""
    siblings: dict[tuple[object, ...], dict[tuple[str, str], float]] = {}
    for one in everything:
        place = (one.model.source, one.target, one.model.adapt)
        siblings.setdefault(place, {})[one.cell, one.target] = one.dice
    return noise.suspects(siblings)


def _suspected(row: Row, table: Table, deciding: str, found: dict) -> Row:
    notes = dict(row.notes)
    for column, cell in zip(table.columns, row.cells, strict=True):
        if not isinstance(cell, Number) or not column.shown or column.kind != "dice":
            continue
        places = dict.fromkeys((score.cell, score.target) for score in cell.scores)
        told = [found[place] for place in places if place in found]
        alone = len({target for _, target in places}) == 1
        if told and (alone or column.key == deciding):
            notes[column.key] = tuple(dict.fromkeys((*notes.get(column.key, ()), _told(told))))
    return replace(row, notes=notes)


def _told(found: Sequence[noise.Suspect]) -> str:
    """One footnote for all suspects of a number."""
    named = [
        f"{one.name[0]} on {one.name[1]} ({rounded(one.value)}; median {rounded(one.median)})"
        for one in found[:NAMED]
    ]
    more = [f"and {len(found) - NAMED} more"] if len(found) > NAMED else []
    return (
        f"Suspect, more than three robust standard deviations below its siblings: {', '.join(named + more)}. "
        "Nothing is left out for it."
    )
