"""Whose numbers are printed beside a table's own: an origin of imported scores, or a CSV file of scores."""

from dataclasses import replace
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.grid import Grid
from segshift.measures import Shown
from segshift.paths import Results
from segshift.tables import beside, runs
from segshift.tables.asked import Asked
from segshift.tables.runs import Run
from segshift.tables.table import Table, named

PUBLISHED = "published"  # whose the scores of a file are


class Others:
    """Other people's scores, each set of them read once, when the first table asks for it."""

    def __init__(self, grid: Grid, results: Results, asked: str | None = None, plain: bool = False) -> None:
        """What is read.

        Args:
            grid: the configuration, expanded.
            results: where it is remembered what was imported.
            asked: an origin or a CSV file, whatever entries say; default: what ``beside`` of a table says.
            plain: an origin is read from ``<configuration>/<origin>/runs.csv``, if that is there.
        """
        self.grid, self.results, self.asked, self.plain = grid, results, asked, plain
        self._read: dict[str, list[Run]] = {}

    def fit(self, name: str, asked: list[Asked]) -> bool:
        """True if those that were asked for have any score that a table is made of, and it shows Dice."""
        shown = getattr(self.grid.config.tables.get(name), "shown", Shown())
        return shown == Shown() and beside.common(asked, self._of(self.asked)[1])

    def beside(self, name: str, table: Table, asked: list[Asked]) -> Table:
        """The table with their numbers in it; as it is, if nobody's were asked for.

        Args:
            name: the table's number in tables.yaml, or an experiment.
            table: as it was built.
            asked: what it was built of.

        Raises:
            SegShiftError: they were not imported, or have no score of it.
        """
        entry = self.grid.config.tables.get(name)
        where = self.asked or getattr(entry, "beside", None)
        if not where:
            return table
        shown = getattr(entry, "shown", Shown())
        if shown != Shown():
            raise SegShiftError(f"{name}: imported scores are Dice, so none stand beside {shown.legend}")
        origin, found = self._of(where)
        if not beside.common(asked, found):
            raise SegShiftError(f"{name}: {where} has no score of it to stand beside")
        made = beside.build(self.grid, name, table, asked, found, origin)
        if not self.asked:
            return made
        label = named("origin", origin, self.grid.config.labels).lower()
        number = f" (Table {table.number})" if table.number else ""
        title = f"{table.title}{number}, ours and {label}"
        return replace(made, name=f"{table.name}_beside", title=title, number="")

    def _of(self, where: str) -> tuple[str, list[Run]]:
        """Whose scores they are, and the scores."""
        is_file = where.endswith(".csv") or "/" in where
        if where not in self._read:
            own = Path(self.grid.config.folder) / where / "runs.csv"
            file = Path(where) if is_file else own if self.plain and own.exists() else None
            self._read[where] = runs.read(file, self.grid) if file else self._imported(where)
        return PUBLISHED if is_file else where, self._read[where]

    def _imported(self, origin: str) -> list[Run]:
        from segshift import imported  # MLflow takes seconds to import, and a plain file needs none

        return imported.read(self.grid, self.results, origin)
