"""``segshift tabulate --runs``: the tables from a plain file of scores. No MLflow, no Snakemake, no torch."""

from pathlib import Path

from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid
from segshift.measures import Shown
from segshift.paths import Results
from segshift.stages.beside import Others
from segshift.table_entries import DatasetTable
from segshift.tables import files, inventory, making, plan, runs
from segshift.tables.asked import Asked, Tracked
from segshift.tables.html import Pages
from segshift.tables.runs import Run
from segshift.tables.table import Table

DICE = Shown()
Made = tuple[list[Asked], Tracked, list[str]]  # what should be there, what is known, and remarks


def run(
    config_folder: str | Path,
    results: Results,
    file: Path,
    folder: Path,
    names: list[str] | None = None,
    other: str | None = None,
) -> list[Table]:
    """Write the tables that a file has scores for, and return them.

    Args:
        config_folder: the configuration, which says what each table is.
        results: where prepared datasets lie, for the table that counts them.
        file: scores, with the columns of ``config/published/runs.csv``.
        folder: where to write.
        names: numbers of tables; default: all of which the file has a score.
        other: an origin of imported scores, or a CSV file, whose numbers are printed beside these.

    Raises:
        SegShiftError: the file has a mistake, or lacks everything that a named table shows.
    """
    grid = grids.read(config_folder)
    check(grid, names)
    others = Others(grid, results, other, plain=True)
    return write(grid, runs.read(file, grid), str(file), results, folder, others, names)


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
    others: Others,
    names: list[str] | None = None,
    pages: Pages | None = None,
) -> list[Table]:
    """Write the tables that there are runs for; ``where`` says what the runs are from."""
    usual = [name for name, entry in grid.config.tables.items() if entry.in_all]
    there = [name for name in names or usual if names or has(grid, name, found)]
    maker = Maker(grid, found, results, others)
    if others.asked and not names:
        there = [name for name in there if maker.fits(name)]
    tables = {name: maker.build(name) for name in there}
    for name, table in tables.items():
        for ending, text in files.texts(table, grid.config.tables[name], grid.config.labels, pages).items():
            files.write(folder / f"{table.name}.{ending}", text)
    print(f"{len(tables)} tables in {folder}")
    if lacking := [name for name in usual if name not in there and not names]:
        where = f"{where} or {others.asked}" if others.asked else where
        print(f"{where} has nothing for: {', '.join(lacking)}")
    return list(tables.values())


def has(grid: Grid, name: str, found: list[Run]) -> bool:
    """True if a table shows any of the runs; the one that counts datasets shows none and is always made."""
    entry = grid.config.tables[name]
    if getattr(entry, "shown", DICE) != DICE:  # runs of a file have a Dice, and nothing else
        return False
    return isinstance(entry, DatasetTable) or any(
        run.experiment in entry.experiments and plan.shows(grid, name, run.model, run.target) for run in found
    )


def build(grid: Grid, name: str, found: list[Run], results: Results) -> Table:
    """One table; arguments and errors as of ``Maker``."""
    return Maker(grid, found, results).build(name)


class Maker:
    """Makes tables from runs, be they a file's or read back from MLflow; what tables share is made once."""

    def __init__(self, grid: Grid, found: list[Run], results: Results, others: Others | None = None) -> None:
        """What tables are made of.

        Args:
            grid: the configuration, expanded.
            found: the runs.
            results: where prepared datasets lie, for the table that counts them.
            others: whose numbers are printed beside them; default: what entries say.
        """
        self.grid, self.found, self.results = grid, found, results
        self.others = others or Others(grid, results, plain=True)
        self._made: dict[tuple[str, ...], Made] = {}

    def made(self, name: str) -> Made:
        """What a table of scores is made of."""
        key = tuple(self.grid.config.tables[name].experiments)
        if key not in self._made:
            asked = runs.asked(self.found, self.grid, key)
            smaller = runs.smaller(self.found, self.grid, key)
            self._made[key] = asked, runs.tracked(self.found, key), smaller
        return self._made[key]

    def fits(self, name: str) -> bool:
        """True if the others have any score of a table."""
        return bool(self.grid.config.tables[name].experiments) and self.others.fit(name, self.made(name)[0])

    def build(self, name: str) -> Table:
        """A table of tables.yaml.

        Raises:
            SegShiftError: there is nothing for it.
        """
        entry = self.grid.config.tables[name]
        if isinstance(entry, DatasetTable):
            return inventory.build(self.grid.config, name, self.results)
        if not has(self.grid, name, self.found):
            raise SegShiftError(
                f"table {name}: there is no run of experiment {', '.join(entry.experiments)} for it"
            )
        asked, tracked, remarks = self.made(name)
        return self.others.beside(name, making.build(self.grid, name, asked, tracked, remarks), asked)
