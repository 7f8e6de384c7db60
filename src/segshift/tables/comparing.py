"""What compares the rows of a section: ranks, differences to the best, and what is bold.

Values are compared after rounding to nine decimals, so that arithmetic's dust breaks no tie.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import replace

from segshift.table_entries import Bold
from segshift.tables.draft import Draft
from segshift.tables.table import Number

SIZE = re.compile(
    r"(?P<family>.+)_[sblgh](?P<variant>_reg)?"
)  # a backbone's name: dinov2_b, sam_h, dinov2_l_reg


def value(row: Draft, key: str) -> float | None:
    """A number of a row, as it is compared; None where a dash stands."""
    cell = row.cells[key]
    return round(cell.value, 9) if isinstance(cell, Number) and cell.value is not None else None


def sections(rows: Iterable[Draft]) -> list[list[Draft]]:
    """Rows by section, in the order in which sections appear."""
    found: dict[str, list[Draft]] = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    return list(found.values())


def ranked(rows: list[Draft], key: str = "ov", rises: bool = True) -> list[Draft]:
    """Best first; equal values share a rank (1, 1, 3); rows with a dash come last and have none.

    ``rises``: more is better, here and below.
    """
    sign = 1 if rises else -1
    for row in rows:
        row.put("rank", None)
    ordered = []
    for section in sections(rows):
        section.sort(
            key=lambda row: -math.inf if value(row, key) is None else sign * value(row, key), reverse=True
        )
        values = [value(row, key) for row in section]
        for row, own in zip(section, values, strict=True):
            row.cells["rank"] = None if own is None else values.index(own) + 1
        ordered += section
    return ordered


def differences(rows: list[Draft], key: str, column: str, rises: bool = True) -> None:
    """100 (x - best) / best, from unrounded numbers; best is the section's best."""
    for section in sections(rows):
        _differences(section, key, column, rises)


def of_sizes(rows: list[Draft], key: str, column: str, rises: bool = True) -> None:
    """The same among the sizes of one backbone; nothing for a backbone of one size."""
    families: dict[tuple[str | None, ...], list[Draft]] = {}
    for row in rows:
        row.put(column, Number(None))
        if match := SIZE.fullmatch(row.axes["backbone"]):
            others = (row.axes.get(axis) for axis in ("tuning", "head", "adapt"))
            families.setdefault((row.section, *match.groups(), *others), []).append(row)
    for family in families.values():
        if len(family) > 1:
            _differences(family, key, column, rises)


def _differences(rows: list[Draft], key: str, column: str, rises: bool) -> None:
    numbers = [row.cells[key] for row in rows]
    there = [number for number in numbers if number.value is not None]
    best = (max if rises else min)(there, key=lambda number: number.value, default=None)
    for row, number in zip(rows, numbers, strict=True):
        row.put(column, _difference(number, best), row.notes.get(key, ()))


def _difference(number: Number, best: Number | None) -> Number:
    if number.value is None or not best or not best.value:
        return Number(None, number.scores)
    scores = tuple(dict.fromkeys((*number.scores, *best.scores)))
    return Number(100 * (number.value - best.value) / best.value, scores)


def loss(row: Draft, before: str, after: str, column: str) -> None:
    """100 (after - before) / before of two means, from unrounded numbers."""
    notes = (*row.notes.get(before, ()), *row.notes.get(after, ()))
    row.put(column, _difference(row.cells[after], row.cells[before]), notes)


def embolden(rows: list[Draft], bold: Bold, rises: bool = True) -> None:
    """Mark the best of each column and section; whoever equals the last of them is marked too."""
    for section in sections(rows):
        for key in bold.columns:
            there = (own for row in section if (own := value(row, key)) is not None)
            values = sorted(there, reverse=rises)
            if not values:
                continue
            cut = values[min(bold.top, len(values)) - 1]
            for row in section:
                if (own := value(row, key)) is not None and (own >= cut if rises else own <= cut):
                    row.cells[key] = replace(row.cells[key], bold=True)
