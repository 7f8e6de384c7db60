"""``segshift tabulate --runs``: the tables from a plain file of scores. No MLflow, no Snakemake, no torch."""

from pathlib import Path

from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid
from segshift.paths import Results
from segshift.table_entries import DatasetTable, SelectionTable
from segshift.tables import files, inventory, layout, runs, selection
from segshift.tables.asked import Asked, Tracked
from segshift.tables.html import Link
from segshift.tables.runs import Run
from segshift.tables.table import Table

Made = tuple[list[Asked], Tracked, list[str]]  # what should be there, what is known, and remarks


def run(
    config_folder: str | Path, results: Results, file: Path, folder: Path, names: list[str] | None = None
) -> list[Table]:
    """Write the tables that a file has scores for, and return them.

    Args:
        config_folder: the configuration, which says what each table is.
        results: where prepared datasets lie, for the table that counts them.
        file: scores, with the columns of ``config/published/runs.csv``.
        folder: where to write.
        names: numbers of tables; default: all of which the file has a score.

    Raises:
        SegShiftError: the file has a mistake, or lacks everything that a named table shows.
    """
    grid = grids.read(config_folder)
    check(grid, names)
    return write(grid, runs.read(file, grid), str(file), results, folder, names)


def check(grid: Grid, names: list[str] | None) -> None:
    """Names of tables.

    Raises:
        SegShiftError: one is unknown, or the configuration has no tables.yaml.
    """
    if not grid.config.tables:
        raise SegShiftError(f"{grid.config.folder} has no tables.yaml, which says what a table is")
    for name in names or ():
        if name not in grid.config.tables:
            raise unknown("tabulate: unknown table", name, grid.config.tables)


def write(
    grid: Grid,
    found: list[Run],
    where: str,
    results: Results,
    folder: Path,
    names: list[str] | None = None,
    link: Link | None = None,
) -> list[Table]:
    """Write the tables that there are runs for; ``where`` says what the runs are from."""
    there = [name for name in names or grid.config.tables if names or has(grid, name, found)]
    shared: dict[tuple[str, ...], Made] = {}
    tables = [build(grid, name, found, results, shared) for name in there]
    for name, table in zip(there, tables, strict=True):
        for ending, text in files.texts(table, grid.config.tables[name], grid.config.labels, link).items():
            files.write(folder / f"{table.name}.{ending}", text)
    print(f"{len(tables)} tables in {folder}")
    if other := [name for name in grid.config.tables if name not in there and not names]:
        print(f"{where} has nothing for: {', '.join(other)}")
    return tables


def has(grid: Grid, name: str, found: list[Run]) -> bool:
    """True if a table shows any of the runs; the one that counts datasets shows none and is always made."""
    entry = grid.config.tables[name]
    return isinstance(entry, DatasetTable) or any(
        run.experiment in entry.experiments and grid.shows(name, run.model, run.target) for run in found
    )


def build(
    grid: Grid,
    name: str,
    found: list[Run],
    results: Results,
    shared: dict[tuple[str, ...], Made] | None = None,
) -> Table:
    """A table from runs, be they a file's or read back from MLflow.

    Args:
        grid: the configuration, expanded.
        name: a table's number.
        found: the runs.
        results: where prepared datasets lie, for the table that counts them.
        shared: what tables of the same experiments are made of; it is filled, so that each is made once.

    Raises:
        SegShiftError: there is nothing for it.
    """
    entry = grid.config.tables[name]
    if isinstance(entry, DatasetTable):
        return inventory.build(grid.config, name, results)
    if not has(grid, name, found):
        raise SegShiftError(
            f"table {name}: there is no run of experiment {', '.join(entry.experiments)} for it"
        )
    make = selection.build if isinstance(entry, SelectionTable) else layout.build
    shared, key = {} if shared is None else shared, tuple(entry.experiments)
    if key not in shared:
        shared[key] = runs.asked(found, grid, key), runs.tracked(found, key), runs.smaller(found, grid, key)
    return make(grid, name, *shared[key])
