"""All pairs of rows behind marks of ties, as CSV: a line a pair, the better row first."""

import csv
import io
from collections.abc import Iterable

import numpy as np

from segshift.statistics.ties import Pairs
from segshift.tables.table import Row, Table

HEADER = ("row", "other", "difference", "margin", "surely_better", "standard_error", "df", "about")


def write(table: Table, compared: Iterable[tuple[list[int], Pairs]]) -> str:
    """The pairs of each section.

    Args:
        table: whose rows they are.
        compared: places of rows, and their pairs.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for places, pairs in compared:
        names = [name(table.rows[at]) for at in places]
        order = np.argsort(-pairs.differences.sum(axis=1), kind="stable")
        for i, one in enumerate(order):
            for other in order[i + 1 :]:
                first, second = (one, other) if pairs.differences[one, other] >= 0 else (other, one)
                numbers = (array[first, second] for array in (pairs.differences, pairs.margins))
                more = (array[first, second] for array in (pairs.errors, pairs.df))
                better = str(bool(pairs.better[first, second])).lower()
                line = [*map(_digits, numbers), better, *map(_digits, more), pairs.about.value]
                writer.writerow([names[first], names[second], *line])
    return stream.getvalue()


def _digits(value: float) -> str:
    """Ten significant digits: more are arithmetic's dust, which differs between machines."""
    return f"{float(value):.10g}"


def name(row: Row) -> str:
    """What tells a row apart, without what is averaged."""
    return "/".join(name for name in row.axes.values() if name not in ("mean", "none"))
