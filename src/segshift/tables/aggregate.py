"""From scores to the rows of an experiment's table.

DS (domain-specific) is the mean of the scores on the source itself, DG (domain generalization) of those on
its siblings, OV (overall) of all. They are plain means over scores, anatomies pooled, so OV is not the middle
of DS and DG. Several seeds: the statistic of each seed first, then mean and standard deviation (n - 1) over
seeds.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from segshift.grid import Grid
from segshift.tables import asked as asking
from segshift.tables.asked import Asked, Key, Tracked
from segshift.tables.means import number, part
from segshift.tables.table import Column, Number, Row, Table

STATISTICS = {"ds": "DS", "dg": "DG", "ov": "OV"}
UNKNOWN_PRETRAINING = "What its weights were pretrained on is unknown, so nothing could be left out."
LARGEST = "The largest of its models; the count differs with the number of classes."


def build(grid: Grid, experiment: str, asked: list[Asked], tracked: Tracked) -> Table:
    """An experiment's table, best OV first; a number that lacks a score is a dash with a footnote.

    Args:
        grid: the configuration, expanded.
        experiment: its name.
        asked: the scores that it should have, see ``asked.of_grid``.
        tracked: what is known of them.
    """
    rows = asking.by_model(asked)
    possible = {key: ones for key, ones in rows.items() if not asking.waits(ones)}
    adapts = any(one.model.adapt for one in asked)
    columns = _columns(grid, possible, adapts)
    sources = {one.model.source for ones in possible.values() for one in ones}
    built = [_row(grid, key, ones, columns, tracked, sources) for key, ones in possible.items()]
    remarks = asking.not_yet([ones for key, ones in rows.items() if key not in possible])
    remarks += asking.by_older_code(tracked.outdated) + asking.one_sampling(asked, grid)
    return Table(
        experiment,
        grid.config.experiments[experiment].title,
        tuple(columns),
        tuple(_ranked(built)),
        tuple(remarks),
        partial=bool(asking.lacks(asked, tracked.scores)),
    )


def _columns(grid: Grid, rows: Mapping[Key, list[Asked]], adapts: bool) -> list[Column]:
    """Columns of statistics that no row has a score for (DG of a lone dataset) are not there."""
    everything = [one for asked in rows.values() for one in asked]
    anatomies = list(dict.fromkeys(one.anatomy for one in everything))
    columns = [Column("rank", "Rank", "whole"), Column("backbone", "Backbone", "text")]
    columns += [Column("tuning", "Tuning", "text"), Column("head", "Head", "text")]
    columns += [Column("adapt", "Adaptation", "text")] if adapts else []
    columns += [Column("trainable", "Trainable", "count")]
    names = grid.config.labels.get("anatomy", {})
    for anatomy in [*anatomies, None] if len(anatomies) > 1 else [None]:
        for key, title in STATISTICS.items():
            if any(_part(everything, anatomy, key)):
                prefix = f"{anatomy}_" if anatomy else ""
                label = f"{names.get(anatomy, anatomy)} " if anatomy else ""
                columns.append(Column(f"{prefix}{key}", f"{label}{title}"))
    return columns


def _part(asked: list[Asked], anatomy: str | None, statistic: str) -> list[Asked]:
    return part([one for one in asked if anatomy is None or one.anatomy == anatomy], statistic)


# ---- one row ---------------------------------------------------------------------------------------------


def _row(
    grid: Grid, key: Key, asked: list[Asked], columns: list[Column], tracked: Tracked, sources: set[str]
) -> Row:
    cells: list[str | int | Number | None] = []
    notes: dict[str, tuple[str, ...]] = {}
    lost = asking.lost(asked, tracked)
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
            cell, why = _number(_part(asked, anatomy or None, statistic), tracked, lost)
        cells.append(cell)
        if why:
            notes[column.key] = why
    return Row(tuple(cells), notes, axes=key._asdict())


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
    """A statistic and its footnotes; what is missing is named once for the whole row."""
    cell, notes = number(asked, tracked)
    if asking.lacks(asked, tracked.scores):
        notes = (lost, *notes[1:])
    return cell, notes


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
        replace(row, cells=(None if value == -math.inf else values.index(value) + 1, *row.cells[1:]))
        for row, value in zip(ordered, values, strict=True)
    ]
