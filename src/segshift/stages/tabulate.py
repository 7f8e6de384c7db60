"""``segshift tabulate``: tables, from what MLflow tracked, checked against the score files."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from segshift import grid as grids
from segshift import story
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model, Score
from segshift.measures import Shown
from segshift.pages import link
from segshift.paths import Results
from segshift.reading import Reading
from segshift.stages import beside
from segshift.table_entries import DatasetTable, Scores
from segshift.tables import asked as asking
from segshift.tables import files, html, inventory, layout, making, plan
from segshift.tables.asked import Asked, Tracked
from segshift.tables.table import Table

DICE = Shown()
NAMED = 10  # missing scores that an error names


def run(
    config_folder: str | Path,
    results: Results,
    name: str,
    partial: bool = False,
    folder: Path | None = None,
    other: str | None = None,
) -> Table:
    """Write one table and return it; arguments and errors as of ``run_all``."""
    return run_all(config_folder, results, [name], partial, folder, other)[0]


def run_all(
    config_folder: str | Path,
    results: Results,
    names: Sequence[str] | None = None,
    partial: bool = False,
    folder: Path | None = None,
    other: str | None = None,
) -> list[Table]:
    """Write tables of tables.yaml, or experiments' own, in every format, and return them.

    What they are made of is read once. A table that cannot be made stops no other.

    Args:
        config_folder: the configuration that says what the tables are made of.
        results: where scores and tracking lie.
        names: numbers of tables, or experiments; default: all that the workflow makes.
        partial: make them though scores are missing; they are dashes, and footnotes name the cells.
        folder: where to write; default: ``results/tables``, or ``results/tables/partial``.
        other: an origin of imported scores, or a CSV file of scores; each number is then printed beside its
            number, with the difference, in files ``<table>_beside``.

    Raises:
        SegShiftError: a score is missing (unless partial), or is not tracked as its score file says.
    """
    grid = grids.read(config_folder)
    usual = plan.names(grid)
    known = dict.fromkeys([*grid.config.tables, *grid.experiments])
    for name in names or ():
        if name not in known:
            what = "table or experiment" if grid.config.tables else "experiment"
            raise unknown(f"tabulate: unknown {what}", name, known)
    maker = Maker(grid, results, usual if names is None else names, partial, other)
    if other and names is None:
        maker.names = [name for name in usual if maker.others.fit(name, maker.asked[name])]
    folder = folder or (results.tables / "partial" if partial else results.tables)
    tables, failed = [], {}
    for name in maker.names:
        try:
            table, texts = maker.make(name)
        except SegShiftError as error:
            failed.setdefault(str(error), []).append(name)
            continue
        for ending, text in texts.items():
            files.write(folder / f"{table.name}.{ending}", text)
            if folder == results.tables:  # what was missing is there: nobody must read the old partial table
                (folder / "partial" / f"{table.name}.{ending}").unlink(missing_ok=True)
        tables.append(table)
    if failed:
        raise SegShiftError(_told(failed, len(maker.names)))
    return tables


def _told(failed: dict[str, list[str]], of: int) -> str:
    """What was wrong with which tables."""
    if of == 1:
        return next(iter(failed))
    count = sum(map(len, failed.values()))
    reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in failed.items())
    return f"{count} of {of} tables could not be made: {reasons}"


class Maker:
    """Makes tables of one configuration from one reading."""

    def __init__(
        self, grid: Grid, results: Results, names: Iterable[str], partial: bool, other: str | None = None
    ) -> None:
        self.grid, self.results, self.names, self.partial = grid, results, list(names), partial
        self._of: dict[tuple[str, ...], list[Asked]] = {}
        self.asked = {name: self._asked(name) for name in self.names}
        self.wanted = {name: self._wanted(name) for name in self.names}
        self.reading = Reading(grid, results, (model for own in self.wanted.values() for model in own))
        self.others = beside.Others(grid, results, other)
        self.pages: html.Pages | None = None

    def _asked(self, name: str) -> list[Asked]:
        """The scores of a table's experiments, or of an experiment."""
        entry = self.grid.config.tables.get(name)
        experiments = tuple(entry.experiments) if entry else (name,)
        if experiments not in self._of:
            self._of[experiments] = asking.of_grid(self.grid, experiments)
        return self._of[experiments]

    def _wanted(self, name: str) -> dict[Model, list[str]]:
        """Models that a table is made of, and the targets whose scores it shows."""
        found: dict[Model, list[str]] = {}
        for one in self._shown(name):
            if not (one.left_out or one.waits_for):
                found.setdefault(one.model, []).append(one.target)
        of = getattr(self.grid.config.tables.get(name), "parameters", {})
        for one in self.asked[name] if of else ():  # not only of its own models it shows counts of parameters
            if all(one.axis(axis) == value for axis, value in of.items()) and not one.waits_for:
                found.setdefault(one.model, [])
        return found

    def _shown(self, name: str) -> list[Asked]:
        entry = self.grid.config.tables.get(name)
        return layout.chosen(entry.where, self.asked[name]) if isinstance(entry, Scores) else self.asked[name]

    def make(self, name: str) -> tuple[Table, dict[str, str]]:
        """A table and its files, by ending.

        Raises:
            SegShiftError: it cannot be made.
        """
        entry, labels = self.grid.config.tables.get(name), self.grid.config.labels
        if isinstance(entry, DatasetTable):
            table = inventory.build(self.grid.config, name, self.results)
            return table, files.texts(table, entry, labels)
        tracked = self.reading.tracked(self.wanted[name], getattr(entry, "shown", DICE))
        missing = [one.score for one in asking.lacks(self._shown(name), tracked.scores)]
        if missing and not self.partial:
            raise SegShiftError(f"{name}: {_sentence(missing, tracked)}")
        table = making.build(self.grid, name, self.asked[name], tracked)
        table = self.others.beside(name, table, self.asked[name])
        self.pages = self.pages or link(self.grid, self.reading.store)
        return table, files.texts(table, entry, labels, self.pages)


def _sentence(lost: list[Score], tracked: Tracked) -> str:
    named = [
        f"{model.path} on {target}" + (f" ({why})" if (why := tracked.failures.get(model)) else "")
        for model, target in lost[:NAMED]
    ]
    more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"{len(lost)} scores are missing: {'; '.join(named)}{more}"


def show(config_folder: str | Path, results: Results) -> None:
    """Print every table in the configuration's order, what they say if ``story.yaml`` asks for it, where the
    files are, and how to look at the runs."""
    grid = grids.read(config_folder)
    names = [*(f"table_{name}" for name in grid.config.tables), *grid.experiments]
    tables = [file for name in names if (file := results.tables / f"{name}.md").exists()]
    if not tables:
        raise SegShiftError(
            f"there are no tables in {results.tables}: run the workflow, or segshift tabulate"
        )
    for file in tables:
        print(file.read_text())
    for number, sentence in enumerate(story.sentences(config_folder, results), 1):
        print(textwrap.fill(f"{number}. {sentence}", 100, subsequent_indent="   "), end="\n\n")
    print(f"Tables: {results.tables}")
    if any(file.with_suffix(".txt").exists() for file in tables):
        print(f"A paragraph for a paper beside each table: {results.tables}/*.txt")
    if results.report.exists():
        print(f"Report: {results.report}")
    # `make demo` is said without the environment being active, so the command must work without it
    program = Path(sys.executable).with_name("segshift")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else "segshift"
    print(f"Curves and runs: {shown} ui --config {config_folder} --results {results.root}")
