"""The ranked tables, with every seed's number, and which rows the seeds cannot tell apart."""

from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.report.facts import Facts, relative
from segshift.report.links import Links
from segshift.report.markup import folded, note
from segshift.report.plots import COLOURS, Plot, Section, layout
from segshift.story_numbers import Value, alike
from segshift.table_entries import DatasetTable, Scores
from segshift.tables import html
from segshift.tables.files import FORMATS
from segshift.tables.table import Number, Row, Table
from segshift.tables.wide import wide

OVERALL = ("ov", "overall")


def section(
    facts: Facts, links: Links, names: Iterable[str], make: Callable[[str], Table], least: float = 0.0
) -> Section:
    """All tables of which there is something to show.

    Args:
        facts: what is known.
        links: where numbers lead.
        names: of tables, or experiments.
        make: builds one.
        least: points of Dice; rows that differ by less count as equal.
    """
    parts, plots, empty, found = [], [], [], []
    for name in names:
        try:
            table = make(name)
        except SegShiftError as error:
            parts.append(f'<h3 id="{_id(name)}">{escape(name)}</h3>\n{note(f"Not made: {error}")}')
            continue
        if not (_counts(facts, name) or any(number.scores for number in table.numbers)):
            empty.append(table.heading)
            continue
        body, drawn = one(facts, links, name, table, least)
        found.append((name, table))
        parts.append(body)
        plots += drawn
    if empty:
        parts.append(note(f"No score yet: {'; '.join(empty)}."))
    jumps = " · ".join(f'<a href="#{_id(name)}">{escape(_short(table))}</a>' for name, table in found)
    tops = [f'<p class="jumps">{jumps}</p>'] if len(found) > 1 else []
    return Section("ranking", "Ranking", "\n".join([*tops, *parts]), plots)


def one(facts: Facts, links: Links, name: str, table: Table, least: float) -> tuple[str, list[Plot]]:
    """A table's HTML under its heading, and the plot of its seeds."""
    entry = facts.grid.config.tables.get(name)
    across = entry.across if isinstance(entry, Scores) else None
    shown = html.fragment(wide(table, across, facts.labels), facts.labels, links)
    ranked = _ranked(table)
    plots = [_seeds(facts, name, ranked)] if len(ranked) > 1 else []
    told = any(remark.startswith("Ranks:") for remark in table.remarks)  # from patients and seeds together
    said = [ties(facts, ranked, least)] if len(ranked) > 1 and not told else []
    said = [f'<p class="ties">{escape(text)}</p>' for text in said]
    said += [folded("A paragraph for a paper", note(text))] if (text := table.beside.get("txt")) else []
    head = f'<h3 id="{_id(name)}">{html.heading(table)}</h3>'
    return "\n".join([head, shown, *said, *(plot.place for plot in plots), _files(facts, table)]), plots


def _counts(facts: Facts, name: str) -> bool:
    return isinstance(facts.grid.config.tables.get(name), DatasetTable)


def _id(name: str) -> str:
    return f"table-{name}"


def _short(table: Table) -> str:
    return f"Table {table.number}" if table.number else table.title


# ---- ties --------------------------------------------------------------------------------------------------


def _ranked(table: Table) -> list[tuple[Row, Value]]:
    """Rows by what they are ranked by, best first; none of a table without ranks."""
    keys = [column.key for column in table.columns]
    overall = next((key for key in OVERALL if key in keys), None)
    if "rank" not in keys or overall is None:
        return []
    cells = [(row, row.cells[keys.index(overall)]) for row in table.rows]
    values = [(row, Value(cell.by_seed)) for row, cell in cells if _mean(cell)]
    return sorted(values, key=lambda pair: -pair[1].mean)


def _mean(cell: object) -> bool:
    return isinstance(cell, Number) and cell.value is not None and bool(cell.weights)


def ties(facts: Facts, ranked: list[tuple[Row, Value]], least: float = 0.0) -> str:
    """Which rows the seeds cannot tell apart: differences within both sides' standard deviations together."""
    values = [value for _, value in ranked]
    if all(value.spread is None for value in values):
        return "Ties: with one seed, no row can be told apart from another."
    runs = alike(values, least)
    if not runs:
        return "Ties: none; every difference is larger than the standard deviations over seeds of both rows."
    told = "; ".join(
        f"{run.start + 1} to {run.stop} ({', '.join(_name(facts, ranked[at][0]) for at in run)})"
        for run in runs
    )
    return (
        f"Ties, by OV from the top: {told} cannot be told apart with these seeds (no two of them differ by "
        "more than their standard deviations together)."
    )


def _name(facts: Facts, row: Row) -> str:
    names = {axis: name for axis, name in row.axes.items() if (axis, name) != ("adapt", "none")}
    return " · ".join(facts.name(axis, name) for axis, name in names.items())


def _seeds(facts: Facts, name: str, ranked: list[tuple[Row, Value]]) -> Plot:
    """Every seed's OV as a dot, the mean as a line."""
    names = [f"{place}. {_name(facts, row)}" for place, (row, _) in enumerate(ranked, 1)]
    points = [(at, seed, value) for at, (_, one) in enumerate(ranked) for seed, value in one.by_seed.items()]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "a seed",
        "x": [value for _, _, value in points],
        "y": [names[at] for at, _, _ in points],
        "text": [f"seed {seed}" for _, seed, _ in points],
        "marker": {"size": 9, "color": COLOURS[0], "opacity": 0.75},
        "hovertemplate": "%{y}<br>%{text}: %{x:.2f}<extra></extra>",
    }
    means = {
        "type": "scatter",
        "mode": "markers",
        "name": "mean",
        "x": [value.mean for _, value in ranked],
        "y": names,
        "marker": {"symbol": "line-ns-open", "size": 18, "color": COLOURS[1], "line": {"width": 3}},
        "hovertemplate": "%{y}<br>mean: %{x:.2f}<extra></extra>",
    }
    shape = layout("OV of every seed", "Dice in %", yaxis={"autorange": "reversed", "type": "category"})
    return Plot(f"seeds-{name}", [dots, means], shape, 130 + 26 * len(names))


def _files(facts: Facts, table: Table) -> str:
    """Links to the table's files beside the report, where they are."""
    found = []
    for folder in (facts.results.tables, facts.results.tables / "partial"):
        files = [folder / f"{table.name}.{ending}" for ending in (*FORMATS, *table.beside)]
        if found := [file for file in files if file.exists()]:
            break
    listed = " · ".join(f'<a href="{escape(_path(facts, file))}">{file.name}</a>' for file in found)
    return f'<p class="note">{listed}</p>' if listed else ""


def _path(facts: Facts, file: Path) -> str:
    return relative(facts.results, file) or file.name
