"""A table as HTML that needs no network: sorted by a click, with the scores behind each number on hover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from urllib.parse import quote

from segshift.tables.table import SPREAD, Cell, Column, Evidence, Number, Row, Table, display, rounded

LISTED = 16  # scores that a hover names; a screen holds no more


@dataclass(frozen=True)
class Pages:
    """Addresses of MLflow's pages.

    ``server``: its address, such as ``http://127.0.0.1:5000``; ``experiment``: the id of the MLflow
    experiment that holds the runs; ``hint``: what a reader has to know to follow a link.
    """

    server: str
    experiment: str
    hint: str = ""

    def link(self, runs: Sequence[str]) -> str:
        """One run's page, or the list of several runs.

        Args:
            runs: ids of MLflow runs.
        """
        root = f"{self.server.rstrip('/')}/#/experiments/{self.experiment}/runs"
        if len(runs) == 1:
            return f"{root}/{runs[0]}"
        chosen = quote(f"attributes.run_id IN ({', '.join(repr(run) for run in runs)})")
        return f"{root}?searchFilter={chosen}&workflowType=machine_learning"

    def linked(self, text: str, runs: Sequence[str]) -> str:
        """A number's HTML with the link to its runs; ``runs`` as of ``link``."""
        return f'<a href="{escape(self.link(runs))}">{text}</a>'


STYLE = """\
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; text-align: right; white-space: nowrap; }
thead tr:last-child th, thead th[rowspan] { border-bottom: 2px solid #1d2530; vertical-align: bottom; }
th.group { text-align: center; border-bottom: 1px solid #8a93a0; }
td { border-bottom: 1px solid #e6e9ee; }
.text { text-align: left; }
sup { line-height: 0; font-size: 0.75em; }
.interval { font-size: 0.85em; }
table:not(.sorted) tr.section td { border-top: 2px solid #8a93a0; }
tbody tr:hover { background: #f3f6fa; }
td a { color: inherit; text-decoration-color: #b5bfcc; text-underline-offset: 3px; }
td a:hover { color: #005a9c; }
th button { all: unset; cursor: pointer; }
th button:hover { color: #005a9c; }
th button:focus-visible { outline: 2px solid #005a9c; outline-offset: 2px; }
th button::after { content: "\\2195"; color: #b5bfcc; padding-left: 0.3em; }
th[aria-sort="ascending"] button::after { content: "\\2191"; color: inherit; }
th[aria-sort="descending"] button::after { content: "\\2193"; color: inherit; }
.note { font-size: 0.88rem; color: #4a5462; margin: 0.3rem 0; overflow-wrap: anywhere; }
.partial { color: #a33; }
"""

# A click sorts, a second one the other way, a third restores the order of the table. Numbers start with the
# highest, ranks with the first, names with A. Cells without a value stay at the end.
SCRIPT = """\
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], original = [...body.rows];
  const heads = [...table.querySelectorAll("th[data-column]")];
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const text = head.classList.contains("text"), at = +head.dataset.column;
      const up = text || head.dataset.first === "lowest";
      const order = up ? ["ascending", "descending", ""] : ["descending", "ascending", ""];
      const next = order[(order.indexOf(head.getAttribute("aria-sort") || "") + 1) % 3];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      table.classList.toggle("sorted", next !== "");
      const value = (row) => row.cells[at].dataset.value;
      const compare = (a, b) => text ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      const sorted = !next ? original : [...original].sort((one, two) => {
        const a = value(one), b = value(two);
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return next === "ascending" ? compare(a, b) : compare(b, a);
      });
      body.append(...sorted);
    });
  }
}
"""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1d2530; margin: 2rem auto; padding: 0 1rem; }}
body {{ max-width: 84rem; }}
h1 {{ font-size: 1.5rem; }}
{style}</style>
</head>
<body>
<h1>{heading}</h1>
<main>
{table}
</main>
<script>
{script}</script>
</body>
</html>
"""


def to_html(table: Table, labels: Mapping[str, Mapping[str, str]], pages: Pages | None = None) -> str:
    """A page with one table.

    Args:
        table: what to write.
        labels: display names by axis, as in labels.yaml.
        pages: where MLflow shows runs; without them nothing links.
    """
    return PAGE.format(
        title=escape(table.heading),
        heading=heading(table),
        style=STYLE,
        script=SCRIPT,
        table=fragment(table, labels, pages),
    )


def parts(page: str) -> tuple[str, str]:
    """Heading and table of a page that ``to_html`` wrote, for a page with ``STYLE`` and ``SCRIPT``."""
    _, _, rest = page.partition("<h1>")
    title, _, rest = rest.partition("</h1>\n<main>\n")
    return title, rest.partition("\n</main>\n")[0]


def heading(table: Table) -> str:
    """What stands above a table."""
    return escape(table.heading) + (' <span class="partial">(partial)</span>' if table.partial else "")


def fragment(table: Table, labels: Mapping[str, Mapping[str, str]], pages: Pages | None = None) -> str:
    """The table and its notes, for a page that has ``STYLE`` and ``SCRIPT``."""
    numbers = {note: n for n, note in enumerate(table.footnotes, 1)}
    columns = [column for column in table.columns if column.shown]
    lines, section = [], table.rows[0].section if table.rows else ""
    for row in table.rows:
        cells = "".join(
            _cell(column, cell, row, labels, numbers, pages)
            for column, cell in zip(table.columns, row.cells, strict=True)
            if column.shown
        )
        lines.append(f'<tr class="section">{cells}</tr>' if row.section != section else f"<tr>{cells}</tr>")
        section = row.section
    head, body = "\n".join(_header(columns)), "\n".join(lines)
    return (
        f'<div class="wide"><table class="sortable">\n<thead>\n{head}\n</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n{_notes(table, pages)}"
    )


# ---- parts of a table --------------------------------------------------------------------------------------


def _header(columns: list[Column]) -> list[str]:
    grouped = any(column.group for column in columns)
    above, below = [], []
    for group, members in groupby(enumerate(columns), key=lambda item: item[1].group):
        heads = list(members)
        if group:
            above.append(f'<th class="group" colspan="{len(heads)}" scope="colgroup">{escape(group)}</th>')
        for at, column in heads:
            span = ' rowspan="2"' if grouped and not group else ""
            kind = ' class="text"' if column.kind == "text" else ""
            kind += ' data-first="lowest"' if column.key == "rank" or column.kind in ("span", "p") else ""
            title = f'<button type="button">{escape(column.title)}</button>'
            (below if group or not grouped else above).append(
                f'<th{kind} scope="col" data-column="{at}"{span}>{title}</th>'
            )
    return [f"<tr>{''.join(line)}</tr>" for line in (above, below) if line]


def _cell(
    column: Column,
    cell: Cell,
    row: Row,
    labels: Mapping[str, Mapping[str, str]],
    numbers: Mapping[str, int],
    pages: Pages | None,
) -> str:
    text = escape(display(column, cell, labels))
    value = cell.value if isinstance(cell, Number) else text if isinstance(cell, str) else cell
    attributes = ' class="text"' if column.kind == "text" else ""
    attributes += "" if value is None else f' data-value="{value}"'
    if isinstance(cell, Number):
        number, _, interval = text.partition(" [")  # on a line of its own: overall scores stand rightmost
        text = f"<b>{number}</b>" if cell.bold else number
        text += f'<br><span class="interval">[{interval}</span>' if interval else ""
        if cell.scores:
            attributes += f' title="{escape(hover(cell.scores))}"'
            runs = list(dict.fromkeys(score.run for score in cell.scores if score.run))
            text = pages.linked(text, runs) if pages and runs else text
    marks = ",".join(str(numbers[note]) for note in row.notes.get(column.key, ()))
    return f"<td{attributes}>{text}{f'<sup>{marks}</sup>' if marks else ''}</td>"


def hover(scores: Sequence[Evidence]) -> str:
    """What a number was made of: how many scores, seeds and volumes, then score by score."""
    seeds = sorted({seed for score in scores if (seed := _seed(score.cell)) is not None})
    volumes = sum(len(score.volumes) for score in scores)
    facts = ["1 score" if len(scores) == 1 else f"{len(scores)} scores"]
    if seeds:
        facts.append(f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}")
    if volumes:
        facts.append("1 volume" if volumes == 1 else f"{volumes} volumes")
    lines = [", ".join(facts)]
    for score in scores[:LISTED]:
        whose = f" ({score.origin})" if score.origin else ""
        lines.append(f"{score.cell} on {score.target}: {rounded(score.dice)}{_volumes(score)}{whose}")
    if len(scores) > LISTED:
        lines.append(f"and {len(scores) - LISTED} more")
    return "\n".join(lines)


def _seed(cell: str) -> int | None:
    """Of a cell's path, ``source/backbone/tuning/head/seed`` and what follows."""
    parts = cell.split("/")
    return int(parts[4]) if len(parts) > 4 and parts[4].isdigit() else None


def _volumes(score: Evidence) -> str:
    count = len(score.volumes)
    return f" ({count} {'volume' if count == 1 else 'volumes'})" if count else ""


def _notes(table: Table, pages: Pages | None) -> str:
    notes = [f"<sup>{n}</sup> {escape(note)}" for n, note in enumerate(table.footnotes, 1)]
    explained = " ".join(filter(None, (table.legend, SPREAD if table.spread else "")))
    notes += [escape(text) for text in filter(None, (*table.remarks, explained))]
    if pages and pages.hint and any(score.run for number in table.numbers for score in number.scores):
        notes.append(escape(pages.hint))
    return "\n".join(f'<p class="note">{note}</p>' for note in notes)
