"""What a table's numbers can bear: intervals, ties and rank intervals put into a table that is built.

The statistics are those of ``segshift.statistics``; rows are compared within their section. Where no test
volumes are known (a plain file of scores) intervals and ties are left out, and the table says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from segshift.grid import Grid
from segshift.statistics import intervals, ties
from segshift.statistics.sample import Sample, sample
from segshift.table_entries import Statistics
from segshift.tables import bearing_notes, bearing_text, p_values, pairs_file, ranked_blocks
from segshift.tables.ratios import of_ratio
from segshift.tables.samples import Compared, Groups, cells, groups, is_mean, of_column, scores, sections
from segshift.tables.table import Column, Number, Row, Table

TIED = "Cannot be told from the best."
RANKS = "ranks"


def build(table: Table, grid: Grid, settings: Statistics, rises: bool = True, quiet: bool = False) -> Table:
    """The table with intervals, marks of ties, rank intervals and remarks.

    Args:
        table: any table of scores, built.
        grid: the configuration: which datasets share patients.
        settings: what the entry asks for.
        rises: more is better.
        quiet: leave the table as it is where nothing can be said of intervals.
    """
    group, keys = groups(grid), [column.key for column in table.columns]
    deciding = settings.columns[0] if settings.columns else _ranking(table)
    if deciding is None or deciding not in keys:
        return table
    known = _known(table)
    if quiet and not known:
        return table
    models = settings.about == "models"
    compared = []
    for rows in sections(table):
        places, found = of_column(table, deciding, rows, group)
        if found is not None:
            compared.append(Compared(places, found, ties.pairs(found, models, rises)))
    printed = settings.columns or [deciding]
    table = replace(
        table,
        columns=tuple(replace(one, interval=one.interval or one.key in printed) for one in table.columns),
        rows=tuple(_with_intervals(row, table.columns, group, models) for row in table.rows),
    )
    table = of_ratio(table, group, models, rises)
    table = _marked(table, deciding, compared)
    table = bearing_notes.suspects(table, deciding)
    remarks = bearing_notes.remarks(table, deciding, compared, known)
    beside: dict[str, str | bytes] = dict(table.beside)
    if any(one.pairs for one in compared):
        beside["txt"] = bearing_text.paragraph(table, grid, deciding, compared)
        beside["pairs.csv"] = pairs_file.write(
            table, [(one.rows, one.pairs) for one in compared if one.pairs]
        )
    if settings.p_values:
        table, said, written = p_values.build(table, deciding, compared, group)
        remarks += said
        beside |= written
    if settings.blocks:
        said, pictures = ranked_blocks.build(table, grid, deciding, settings.blocks, rises)
        remarks += said
        beside |= pictures
    return replace(table, remarks=(*table.remarks, *remarks), beside=beside)


def _ranking(table: Table) -> str | None:
    """The column that ranks a table: OV, else its last mean."""
    dice = [column.key for column in table.columns if column.kind == "dice" and column.shown]
    for key in ("ov", "overall"):
        if key in dice:
            return key
    return dice[-1] if dice else None


def _known(table: Table) -> bool:
    """True if intervals can be given: volumes of at least two patients stand behind some score."""
    return any(len({volume.patient for volume in score.volumes}) > 1 for score in scores(table.rows))


def _with_intervals(row: Row, columns: Iterable[Column], group: Groups, models: bool) -> Row:
    return replace(
        row,
        cells=tuple(
            interval(cell, group, models) if column.kind == "dice" and is_mean(cell) else cell
            for column, cell in zip(columns, row.cells, strict=True)
        ),
    )


def interval(number: Number, group: Groups, models: bool = False) -> Number:
    """A mean with its interval, where it has one."""
    found = intervals.of_row(sample_of(number, group=group), models=models)
    return number if found is None else replace(number, low=found.low, high=found.high)


def sample_of(*numbers: Number, group: Groups) -> Sample:
    """The sample of some means."""
    return sample([cells(number, group) for number in numbers])


def _marked(table: Table, deciding: str, compared: list[Compared]) -> Table:
    """A column of rank intervals behind the rank (or in front), and a note on what is tied."""
    told = [one for one in compared if one.pairs is not None]
    if not told:
        return table
    spans: Mapping[int, tuple[int, int]] = {
        at: span for one in told for at, span in zip(one.rows, one.pairs.ranks(), strict=True)
    }
    tied = {  # a best row that stands alone is no tie
        at
        for one in told
        for at, is_tied in zip(one.rows, one.pairs.tied(), strict=True)
        if is_tied and one.pairs.tied().sum() > 1
    }
    keys = [column.key for column in table.columns]
    place = keys.index("rank") + 1 if "rank" in keys else 0
    rows = []
    for at, row in enumerate(table.rows):
        span = spans.get(at)
        number = Number(float(span[0]), low=span[0], high=span[1]) if span else Number(None)
        notes = dict(row.notes)
        if at in tied:
            notes[deciding] = (*notes.get(deciding, ()), TIED)
        rows.append(replace(row, cells=(*row.cells[:place], number, *row.cells[place:]), notes=notes))
    columns = (*table.columns[:place], Column(RANKS, "Ranks", "span"), *table.columns[place:])
    return replace(table, columns=columns, rows=tuple(rows))
