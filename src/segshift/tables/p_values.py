"""p-values of each row against the best one, where a table's entry asks for them.

They are an illustration: no correction for how many rows are compared with a best one that the same scores
chose. What is surely better is decided by the tie set.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segshift.statistics.permutation import DRAWS, EXACT, Flipped, sign_flip, wilcoxon
from segshift.tables.pairs_file import name
from segshift.tables.samples import Compared, Groups, cell, patient_differences
from segshift.tables.table import Column, Evidence, Number, Table

FLIPPED, SIGNED = "p", "p_wilcoxon"
HEADER = ("row", "best", "difference", "p", "swaps", "dataset", "patients", "p_wilcoxon", "p_holm")


@dataclass(frozen=True)
class Tested:
    """A row against the best one of its section; ``datasets``: patients, p of signed ranks, and by Holm."""

    row: int
    best: int
    difference: float
    flipped: Flipped
    datasets: dict[str, tuple[int, float, float]]


def build(
    table: Table, deciding: str, compared: Sequence[Compared], group: Groups
) -> tuple[Table, list[str], dict[str, str]]:
    """The table with two columns of p-values behind the deciding one, their remark, and the file of all.

    Args:
        table: with its intervals.
        deciding: the column whose differences are tested.
        compared: the rows that are compared with each other.
        group: which datasets share patients.
    """
    keys = [column.key for column in table.columns]
    at = keys.index(deciding)
    tested = [one for part in compared if part.pairs for one in _tested(table, at, part, group)]
    if not tested:
        return table, [], {}
    by_row = {one.row: one for one in tested}
    rows = []
    for place, row in enumerate(table.rows):
        one = by_row.get(place)
        holm = min((p for *_, p in one.datasets.values()), default=None) if one else None
        cells = (Number(one.flipped.p if one else None), Number(holm))
        rows.append(replace(row, cells=(*row.cells[: at + 1], *cells, *row.cells[at + 1 :])))
    columns = (Column(FLIPPED, "p", "p"), Column(SIGNED, "p, Wilcoxon", "p"))
    columns = (*table.columns[: at + 1], *columns, *table.columns[at + 1 :])
    said = _said(table.columns[at].title, tested)
    table = replace(table, columns=columns, rows=tuple(rows))
    return table, [said], {"p_values.csv": _file(table, tested)}


def _tested(table: Table, at: int, part: Compared, group: Groups) -> Iterable[Tested]:
    best = int(np.argmax(part.pairs.differences.sum(axis=1)))
    first = table.rows[part.rows[best]].cells[at]
    for i, place in enumerate(part.rows):
        if i == best:
            continue
        second = table.rows[place].cells[at]
        if _places(first) != _places(second):
            continue  # a patient whom only one of them has cannot be swapped
        difference = part.sample.difference(best, i)
        values = _by_dataset(first, second, group)
        found = wilcoxon({target: list(own.values()) for target, own in values.items()})
        datasets = {target: (len(values[target]), *found[target]) for target in found}
        flipped = sign_flip(difference.parts[0])
        yield Tested(place, part.rows[best], float(difference.values[0]), flipped, datasets)


def _places(number: Number) -> set[tuple[str, str]]:
    """Sources and targets behind a mean."""
    return {(score.model.source, score.target) for score in number.scores}


def _by_dataset(first: Number, second: Number, group: Groups) -> dict[str, dict[str, float]]:
    """What each patient's Dice differs by, on each dataset that both have."""
    sides = [_weighted(number) for number in (first, second)]
    targets = [target for target in sides[0] if target in sides[1]]
    return {
        target: patient_differences(
            *([cell(score, weight, group) for score, weight in side[target]] for side in sides)
        )
        for target in targets
    }


def _weighted(number: Number) -> dict[str, list[tuple[Evidence, float]]]:
    found: dict[str, list[tuple[Evidence, float]]] = {}
    for score, weight in zip(number.scores, number.weights, strict=True):
        found.setdefault(score.target, []).append((score, weight))
    return found


def _said(title: str, tested: Sequence[Tested]) -> str:
    """The footnote."""
    drawn = not all(one.flipped.exact for one in tested)
    swaps = f"{DRAWS} drawn swaps" if drawn else f"all swaps, of at most {EXACT} patients"
    return (
        f"p: of the difference in {title} to the best row, by swapping rows patient by patient ({swaps}), "
        "two-sided; about these trained models. p, Wilcoxon: signed ranks of patients, a test a dataset, the "
        "smallest after Holm over the datasets. Neither is adjusted for the number of rows: what is surely "
        "better, Ranks say. A row of other sources or targets than the best has none. All p-values stand in "
        "the file .p_values.csv."
    )


def _file(table: Table, tested: Sequence[Tested]) -> str:
    """A line a row and dataset."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for one in tested:
        flipped = (f"{one.difference:.10g}", repr(one.flipped.p), one.flipped.swaps)
        names = (name(table.rows[one.row]), name(table.rows[one.best]))
        for target, (patients, p, holm) in one.datasets.items():
            writer.writerow([*names, *flipped, target, patients, f"{p:.10g}", f"{holm:.10g}"])
    return stream.getvalue()
