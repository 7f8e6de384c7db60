"""``segshift report``: one page with every table and what was left out. It needs no network."""

import os
import re
from html import escape
from pathlib import Path
from string import Template

from segshift import grid as grids
from segshift.grid import Grid
from segshift.paths import Results
from segshift.tables.files import write

BOLD = re.compile(r"\*\*(.+?)\*\*")
MARKED, TEXT = r"<b>\1</b>", ' class="text"'
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SegShift report</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2530; max-width: 72rem; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.6rem; border-bottom: 1px solid #d5dae1; padding-bottom: 0.3rem; }
nav a { margin-right: 1rem; }
a { color: #005a9c; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.8rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #1d2530; }
td { border-bottom: 1px solid #e6e9ee; }
.text { text-align: left; }
tbody tr:hover { background: #f3f6fa; }
.note { font-size: 0.88rem; color: #4a5462; margin: 0.3rem 0; overflow-wrap: anywhere; }
.partial { color: #a33; }
</style>
</head>
<body>
<h1>How well do segmentation models survive a change of scanner, site or protocol?</h1>
<nav>$links</nav>
$sections
</body>
</html>
""")


def run(config_folder: str | Path, results: Results) -> Path:
    """Write ``results/report.html`` from the tables that ``tabulate`` wrote, and return its path.

    What has no complete table is shown by its partial one where there is one. The same tables
    give the same bytes.
    """
    grid = grids.read(config_folder)
    entries = grid.config.tables or grid.experiments
    found = {name: file for name in entries if (file := _table(results, _stem(grid, name)))}
    links = "\n".join(f'<a href="#{_stem(grid, name)}">{escape(_title(grid, name))}</a>' for name in found)
    sections = "\n".join(_section(grid, results, name, file) for name, file in found.items())
    nothing = '<p class="note">No table was built yet.</p>'
    write(results.report, PAGE.substitute(links=links, sections=sections or nothing))
    return results.report


def _stem(grid: Grid, name: str) -> str:
    """What a table's files are called."""
    return f"table_{name}" if name in grid.config.tables else name


def _title(grid: Grid, name: str) -> str:
    """A table's title; where tables have numbers they stand in links alone, for there are many."""
    return f"{name}" if name in grid.config.tables else grid.config.experiments[name].title


def _table(results: Results, stem: str) -> Path | None:
    """The Markdown file of a table, complete if there is one."""
    files = (results.tables / f"{stem}.md", results.tables / "partial" / f"{stem}.md")
    return next((file for file in files if file.exists()), None)


def _section(grid: Grid, results: Results, name: str, file: Path) -> str:
    title, *blocks = file.read_text().strip().split("\n\n")
    body = "\n".join(_block(block) for block in blocks)
    heading = escape(title.removeprefix("# "))
    if heading.endswith("(partial)"):
        heading = f'{heading.removesuffix("(partial)")}<span class="partial">(partial)</span>'
    endings = ("csv", "md", "tex", "html") if name in grid.config.tables else ("csv", "md")
    links = " · ".join(
        f'<a href="{escape(os.path.relpath(there, results.root))}">{there.name}</a>'
        for there in (file.parent / f"{file.stem}.{ending}" for ending in endings)
    )
    head = f'<h2 id="{_stem(grid, name)}">{heading}</h2>'
    return f'{head}\n{body}\n<p class="note">{links}</p>{_left_out(grid, name)}'


def _block(block: str) -> str:
    """A block of our own Markdown: a table, or a paragraph."""
    lines = block.split("\n")
    if not block.startswith("|"):
        return f'<p class="note">{escape(block)}</p>'
    header, rule, *rows = [[cell.strip() for cell in _split(line)] for line in lines]
    left = [not cell.endswith(":") for cell in rule]

    def line(cells: list[str], tag: str) -> str:
        marked = [
            f"<{tag}{TEXT if at_left else ''}>{BOLD.sub(MARKED, escape(cell))}</{tag}>"
            for cell, at_left in zip(cells, left, strict=True)
        ]
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    head = f"<thead>{line(header, 'th')}</thead>"
    return f'<div class="wide"><table>\n{head}\n<tbody>\n{body}\n</tbody></table></div>'


def _split(line: str) -> list[str]:
    """The cells of a table's line; a bar within a cell is written with a backslash."""
    return [cell.replace("\0", "|") for cell in line.replace("\\|", "\0").strip("|").split("|")]


def _left_out(grid: Grid, name: str) -> str:
    entry = grid.config.tables.get(name)
    experiments = entry.experiments if entry else [name]
    left_out = [
        one
        for experiment in experiments
        for one in grid.experiments[experiment].left_out
        if not entry or grid.shows(name, one.model, one.target)
    ]
    if not left_out:
        return ""
    items = "\n".join(
        f"<li>{escape(one.model.path)} on {escape(one.target)}: {escape(one.reason)}</li>" for one in left_out
    )
    count = "1 score was" if len(left_out) == 1 else f"{len(left_out)} scores were"
    summary = f"<summary>{count} left out on purpose</summary>"
    return f'\n<details class="note">{summary}\n<ul>\n{items}\n</ul></details>'
