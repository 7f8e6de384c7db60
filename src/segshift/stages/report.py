"""``segshift report``: one page with every table and what was left out. It needs no network."""

import os
from html import escape
from pathlib import Path
from string import Template

from segshift import grid as grids
from segshift.grid import Grid
from segshift.paths import Results
from segshift.tables.files import FORMATS, write
from segshift.tables.html import SCRIPT, STYLE, parts

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
nav a { margin-right: 1rem; display: inline-block; }
a { color: #005a9c; }
$style</style>
</head>
<body>
<h1>How well do segmentation models survive a change of scanner, site or protocol?</h1>
<nav>$links</nav>
$sections
<script>
$script</script>
</body>
</html>
""")


def run(config_folder: str | Path, results: Results) -> Path:
    """Write ``results/report.html`` from the tables that ``tabulate`` wrote, and return its path.

    A table that is not complete is shown as far as it goes, if that was written. The same tables give the
    same bytes.
    """
    grid = grids.read(config_folder)
    names = [f"table_{name}" for name in grid.config.tables] or list(grid.experiments)
    found = {name: file for name in names if (file := _table(results, name))}
    tables = {name: parts(file.read_text()) for name, file in found.items()}
    links = "\n".join(f'<a href="#{name}">{_short(heading)}</a>' for name, (heading, _) in tables.items())
    sections = [
        f'<h2 id="{name}">{heading}</h2>\n{table}\n{_files(results, found[name])}'
        for name, (heading, table) in tables.items()
    ]
    nothing = '<p class="note">No table was built yet.</p>'
    body = "\n".join([*(sections or [nothing]), *_left_out(grid)])
    write(results.report, PAGE.substitute(links=links, sections=body, style=STYLE, script=SCRIPT))
    return results.report


def _table(results: Results, name: str) -> Path | None:
    """The HTML file of a table, complete if there is one."""
    files = (results.tables / f"{name}.html", results.tables / "partial" / f"{name}.html")
    return next((file for file in files if file.exists()), None)


def _short(heading: str) -> str:
    """Of ``Table 4.5: …`` the number; a table without one keeps its title."""
    number, colon, _ = heading.partition(":")
    return number if colon and number.startswith("Table ") else heading


def _files(results: Results, file: Path) -> str:
    links = " · ".join(
        f'<a href="{escape(os.path.relpath(there, results.root))}">{there.name}</a>'
        for ending in FORMATS
        if (there := file.with_suffix(f".{ending}")).exists()
    )
    return f'<p class="note">{links}</p>'


def _left_out(grid: Grid) -> list[str]:
    """What each experiment does not have on purpose, folded."""
    blocks = []
    for name, expanded in grid.experiments.items():
        items = "\n".join(
            f"<li>{escape(one.model.path)} on {escape(one.target)}: {escape(one.reason)}</li>"
            for one in expanded.left_out
        )
        count = len(expanded.left_out)
        scores = "1 score was" if count == 1 else f"{count} scores were"
        summary = f"<summary>{escape(name)}: {scores} left out on purpose</summary>"
        if items:
            blocks.append(f'<details class="note">{summary}\n<ul>\n{items}\n</ul></details>')
    return blocks
