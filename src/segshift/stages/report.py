"""``segshift report``: one page for people, from scores, tables and what MLflow tracked."""

from pathlib import Path

from segshift import grid as grids
from segshift import story
from segshift.pages import link
from segshift.paths import Results
from segshift.report import (
    adaptation,
    cells,
    choices,
    classes,
    cost,
    curves,
    examples,
    facts,
    links,
    making,
    missing,
    noise,
    opening,
    page,
    ranking,
    rows,
    sheets,
    shift,
    volumes,
)
from segshift.stages.tabulate import Maker
from segshift.tables import plan
from segshift.tables.files import write
from segshift.tables.table import Table


def run(config_folder: str | Path, results: Results) -> Path:
    """Write ``results/report.html`` and return its path.

    What is missing is missing on the page too, with the reason; the same results give the same bytes.

    Args:
        config_folder: the configuration.
        results: where scores, tables and tracking lie.

    Raises:
        SegShiftError: a mistake in the configuration, or a damaged file.
    """
    grid = grids.read(config_folder)
    found = facts.read(grid, results)
    where = links.make(found, link(grid, found.reading.store) if found.models else None)
    told = story.read(config_folder, grid)
    maker = Maker(grid, results, plan.names(grid), partial=True)
    maker.reading = found.reading

    def make(name: str) -> Table:
        return maker.make(name)[0]

    sections = [
        opening.section(found, config_folder),
        ranking.section(found, where, maker.names, make, told.least if told else 0.0),
        rows.section(found, where),
        shift.section(found),
        adaptation.section(found, where),
        classes.section(found),
        examples.section(found),
        volumes.section(found, where),
        curves.section(found),
        sheets.section(found),
        choices.section(found, where),
        cost.section(found),
        noise.section(found),
        missing.section(found),
        making.section(found),
        cells.section(found, where),
    ]
    write(results.report, page.write(sections))
    return results.report
