"""From the numbers of a table to the samples that the statistics are about."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from segshift.grid import Grid
from segshift.statistics.sample import Cell, Sample, sample
from segshift.statistics.ties import Pairs
from segshift.tables.table import Evidence, Number, Row, Table

Groups = Callable[[str], str]  # a dataset -> the group of datasets whose patients it shares


@dataclass(frozen=True)
class Compared:
    """The rows of a section that have a mean in the deciding column: their places, sample and pairs."""

    rows: list[int]
    sample: Sample
    pairs: Pairs | None


def groups(grid: Grid) -> Groups:
    """Which datasets share patients: those of one pool (``patients`` in datasets.yaml), and forms of one."""
    datasets = grid.config.datasets

    def group(dataset: str) -> str:
        form = grid.form(dataset)
        return datasets[dataset].patients or datasets[form].patients or form

    return group


def cell(score: Evidence, weight: float, group: Groups) -> Cell:
    """A score as the statistics take it."""
    model = score.model
    name = f"{model._replace(seed=0).path} on {score.target}"
    volumes = tuple((volume.patient, volume.dice) for volume in score.volumes)
    return Cell(name, model.seed, weight, score.dice, group(score.target), volumes)


def cells(number: Number, group: Groups) -> list[Cell]:
    """The cells behind a mean."""
    return [cell(score, weight, group) for score, weight in zip(number.scores, number.weights, strict=True)]


def patient_differences(first: Sequence[Cell], second: Sequence[Cell]) -> dict[str, float]:
    """What the Dice of each patient differs by, of those that both sides have.

    Of a patient's volumes in a cell it is the mean, of the cells the mean by their weights.

    Args:
        first: cells of one row on one dataset.
        second: the same of another row.
    """
    sides = [_by_patient(cells) for cells in (first, second)]
    return {patient: value - sides[1][patient] for patient, value in sides[0].items() if patient in sides[1]}


def _by_patient(cells: Sequence[Cell]) -> dict[str, float]:
    """Of patients that stand in every cell."""
    whole, found = sum(cell.weight for cell in cells), None
    for cell in cells:
        volumes: dict[str, list[float]] = {}
        for patient, value in cell.volumes:
            volumes.setdefault(patient, []).append(value)
        own = {p: cell.weight / whole * sum(values) / len(values) for p, values in volumes.items()}
        found = own if found is None else {p: found[p] + own[p] for p in found if p in own}
    return found or {}


def is_mean(number: object) -> bool:
    """True if a table's cell is a mean of scores, with a value."""
    return isinstance(number, Number) and number.value is not None and bool(number.weights)


def sections(table: Table) -> list[list[int]]:
    """Places of the rows that are compared with each other."""
    found: dict[str, list[int]] = {}
    for at, row in enumerate(table.rows):
        found.setdefault(row.section, []).append(at)
    return list(found.values())


def of_column(table: Table, key: str, rows: Iterable[int], group: Groups) -> tuple[list[int], Sample | None]:
    """The rows (of those given) that have a mean in a column, and their sample; none where there is none."""
    index = [column.key for column in table.columns].index(key)
    kept = [at for at in rows if is_mean(table.rows[at].cells[index])]
    if not kept:
        return [], None
    return kept, sample([cells(table.rows[at].cells[index], group) for at in kept])


def scores(rows: Sequence[Row]) -> list[Evidence]:
    """Every score behind rows, once."""
    return list(
        dict.fromkeys(
            score
            for row in rows
            for number in row.cells
            if isinstance(number, Number)
            for score in number.scores
        )
    )
