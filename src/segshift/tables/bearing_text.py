"""A paragraph about a table, for a paper: what is best, what equals it, and what could not be seen."""

from collections.abc import Sequence

import numpy as np

from segshift.grid import Grid
from segshift.statistics import power
from segshift.statistics.intervals import About
from segshift.tables.ranked_blocks import label, varying
from segshift.tables.samples import Compared, scores
from segshift.tables.table import Number, Row, Table, named, rounded

NAMED = 12  # rows that a sentence lists
SCOPE = {
    About.METHOD: "Intervals cover new patients and new training seeds.",
    About.MODELS: "Intervals cover new patients for these trained models, not new training runs.",
    About.ONE_SEED: "Each configuration was trained once: intervals cover new patients for these trained "
    "models and say nothing of new training runs.",
}


def paragraph(table: Table, grid: Grid, deciding: str, compared: Sequence[Compared]) -> str:
    """A paragraph a section of the table, true of its numbers; empty where nothing is compared.

    Args:
        table: the table with its intervals.
        grid: for names.
        deciding: the column that it is about.
        compared: the rows that are compared with each other.
    """
    told = [_section(table, grid, deciding, one) for one in compared if one.pairs is not None]
    return "\n\n".join(told) + "\n" if told else ""


def _section(table: Table, grid: Grid, deciding: str, one: Compared) -> str:
    pairs, rows = one.pairs, one.rows
    index = [column.key for column in table.columns].index(deciding)
    title = table.columns[index].title
    axes = varying(table, rows)
    names = [_name(table.rows[at], axes, grid) for at in rows]
    order = [int(i) for i in np.argsort(-pairs.differences.sum(axis=1), kind="stable")]
    best, second = order[:2]
    number = table.rows[rows[best]].cells[index]
    assert isinstance(number, Number)
    unit = table.legend.partition(":")[0]
    behind = f"{len(one.sample.patients)} test patients, {_seeds(one.sample.seeds)}"
    said = [
        f"{table.heading}: {len(rows)} configurations{_sources(table, grid, rows)} were compared on "
        f"{_where(table, grid, rows)} ({behind}).",
        f"{names[best]} came first with {title} {rounded(number.value)}{_interval(number)} ({unit}).",
        _tied(names, order, pairs.tied(), best),
        _gap(float(pairs.differences[best, second]), power.smallest_detectable(pairs), title),
        SCOPE[pairs.about],
    ]
    return " ".join(said)


def _where(table: Table, grid: Grid, rows: list[int]) -> str:
    targets = dict.fromkeys(score.target for score in scores([table.rows[at] for at in rows]))
    return joined([named("target", target, grid.config.labels) for target in targets])


def _sources(table: Table, grid: Grid, rows: list[int]) -> str:
    """What models were trained on, where that is the same for all rows."""
    own = [dict.fromkeys(score.model.source for score in scores([table.rows[at]])) for at in rows]
    if any(set(one) != set(own[0]) for one in own):
        return ""
    return f", trained on {joined([named('source', source, grid.config.labels) for source in own[0]])},"


def _name(row: Row, axes: list[str], grid: Grid) -> str:
    """A row's name in a sentence: commas within would read as a list."""
    names = [label(row, [axis], grid) for axis in axes if axis in row.axes]
    return f"{names[0]} ({', '.join(names[1:])})" if names[1:] else "".join(names)


def _seeds(count: int) -> str:
    return "one training seed" if count == 1 else f"{count} training seeds"


def _interval(number: Number) -> str:
    if number.low is None or number.high is None:
        return ""
    return f", 95 % interval {rounded(number.low)} to {rounded(number.high)}"


def _tied(names: list[str], order: list[int], tied: np.ndarray, best: int) -> str:
    """Which rows cannot be told from the best."""
    others = [names[i] for i in order if tied[i] and i != best]
    rule = "With all pairs of rows compared at once (studentized range, 95 %), "
    if not others:
        return f"{rule}it is better than every other one."
    if len(others) == len(names) - 1:
        return f"{rule}none of the others can be told from it."
    worse = len(names) - 1 - len(others)
    which = joined(others[:NAMED]) + (f" and {len(others) - NAMED} more" if len(others) > NAMED else "")
    rest = (
        "the other one is surely worse than some row"
        if worse == 1
        else (f"each of the other {worse} is surely worse than some row")
    )
    return f"{rule}{which} cannot be told from it; {rest}."


def _gap(gap: float, least: float, title: str) -> str:
    what = f"Its lead over the second, {rounded(gap)} points of {title}, is"
    than = "below" if gap < least else "not below"
    return (
        f"{what} {than} the smallest difference that this comparison detects with 80 % power, "
        f"{rounded(least)} points."
    )


def joined(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
