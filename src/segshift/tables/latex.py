r"""A table as LaTeX, for ``\input``: plain pdflatex, and of packages booktabs alone.

Numbers are those of Markdown. A name that repeats the one above it is left blank, as in a merged cell. Rows
that a page does not hold go on in a second float.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from segshift.tables.table import SPREAD, Column, Number, Row, Table, display

SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # its own sign is not in every font
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "±": r"$\pm$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "Δ": r"$\Delta$",
    "µ": r"$\mu$",
}
# Sizes by the letters of a line and the rows of a page in the standard classes, whose text is 345 pt wide.
# Before letters become too small to read, a table may take half of each margin.
SIZES = (
    (66, 34, r"\normalsize"),
    (72, 38, r"\small"),
    (78, 44, r"\footnotesize"),
    (118, 52, r"\scriptsize"),
    (1000, 66, r"\tiny"),
)
BETWEEN = 2  # columns, in letters


def to_latex(table: Table, labels: Mapping[str, Mapping[str, str]]) -> str:
    """One ``table`` environment, or several where a page does not hold all rows; notes stand below the last.

    Args:
        table: what to write.
        labels: display names by axis, as in labels.yaml.
    """
    shown = [column for column in table.columns if column.shown]
    lines = _lines(table, labels)
    size, parts = _fit(shown, lines)
    floats = []
    for number, part in enumerate(parts):
        first, last = number == 0, number == len(parts) - 1
        floats.append(_float(table, shown, part, size, first, _notes(table) if last else []))
    return "% \\usepackage{booktabs}\n" + "\n".join(floats)


def escaped(text: str) -> str:
    """Any text as LaTeX prints it; letters with accents stay as they are."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _breakable(text: str) -> str:
    """The same in a paragraph: paths of cells are longer than a line."""
    return re.sub(r"(/|\\_)", r"\1\\allowbreak{}", escaped(text))


# ---- rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A row of the body: cells as LaTeX, and how long they are in letters."""

    cells: tuple[str, ...]
    widths: tuple[int, ...]
    section: str


def _lines(table: Table, labels: Mapping[str, Mapping[str, str]]) -> list[Line]:
    numbers = {note: n for n, note in enumerate(table.footnotes, 1)}
    return [_line(table.columns, row, labels, numbers) for row in table.rows]


def _line(
    columns: Sequence[Column], row: Row, labels: Mapping[str, Mapping[str, str]], numbers: Mapping[str, int]
) -> Line:
    cells, widths = [], []
    for column, cell in zip(columns, row.cells, strict=True):
        if not column.shown:
            continue
        text = display(column, cell, labels)
        marks = ",".join(str(numbers[note]) for note in row.notes.get(column.key, ()))
        widths.append(len(text) + len(marks))
        text = escaped(text)
        if isinstance(cell, Number):
            text = re.sub(r"^-(?=\d)", "$-$", text)
            text = f"\\textbf{{{text}}}" if cell.bold else text
        cells.append(text + (f"\\textsuperscript{{{marks}}}" if marks else ""))
    return Line(tuple(cells), tuple(widths), row.section)


def _fit(columns: Sequence[Column], lines: Sequence[Line]) -> tuple[str, list[Sequence[Line]]]:
    """The largest size at which a line fits, and the rows page by page."""
    titles = [len(column.title) for column in columns]
    widths = [max(column) for column in zip(titles, *(line.widths for line in lines), strict=True)]
    letters = sum(widths) + BETWEEN * len(widths)
    rows, size = next((rows, size) for limit, rows, size in SIZES if letters <= limit or size == SIZES[-1][2])
    return size, list(_pages(lines, rows))


def _pages(lines: Sequence[Line], limit: int) -> Iterator[Sequence[Line]]:
    """Parts of at most ``limit`` rows, cut where a section or the first name changes if that is possible."""
    start = 0
    while len(lines) - start > limit:
        cuts = [
            at
            for at in range(start + limit // 2, start + limit + 1)
            if lines[at].section != lines[at - 1].section or lines[at].cells[0] != lines[at - 1].cells[0]
        ]
        end = cuts[-1] if cuts else start + limit
        yield lines[start:end]
        start = end
    yield lines[start:]


# ---- one float -------------------------------------------------------------------------------------------


def _float(
    table: Table, columns: list[Column], lines: Sequence[Line], size: str, first: bool, notes: list[str]
) -> str:
    title = table.title + (" (partial)" if table.partial else "") + ("" if first else " (continued)")
    head = [r"\begin{table}[htbp]", r"\centering"]
    head += [f"\\renewcommand{{\\thetable}}{{{escaped(table.number)}}}"] if table.number else []
    head += [] if first else [r"\addtocounter{table}{-1}"]
    head += [f"\\caption{{{escaped(title)}}}"]
    head += [f"\\label{{tab:{table.number or table.name}}}"] if first else []
    alignment = "".join("l" if column.kind == "text" else "r" for column in columns)
    head += [r"\par\smallskip", size, r"\setlength{\tabcolsep}{4pt}", r"\makebox[\linewidth][c]{%"]
    head += [f"\\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule", *_header(columns), r"\midrule"]
    tail = [r"\bottomrule", r"\end{tabular}}", *notes, r"\end{table}"]
    return "\n".join([*head, *_body(columns, lines), *tail]) + "\n"


def _header(columns: list[Column]) -> list[str]:
    titles = " & ".join(escaped(column.title) for column in columns) + r" \\"
    if not any(column.group for column in columns):
        return [titles]
    above, rules, at = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        if group:
            above.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(group)}}}")
            rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        else:
            above += [""] * width
        at += width
    return [" & ".join(above) + r" \\", " ".join(rules), titles]


def _body(columns: list[Column], lines: Sequence[Line]) -> Iterator[str]:
    names = next((i for i, column in enumerate(columns) if column.kind != "text"), len(columns))
    above: Line | None = None
    for line in lines:
        if above and line.section != above.section:
            yield r"\midrule"
            above = None
        # What repeats is blank, from the left to the first name that differs, but never the last name.
        repeated = 0
        while above and repeated < names - 1 and line.cells[repeated] == above.cells[repeated]:
            repeated += 1
        yield " & ".join(["" if i < repeated else cell for i, cell in enumerate(line.cells)]) + r" \\"
        above = line


def _notes(table: Table) -> list[str]:
    notes = [f"\\textsuperscript{{{n}}} {_breakable(note)}" for n, note in enumerate(table.footnotes, 1)]
    explained = " ".join(filter(None, (table.legend, SPREAD if table.spread else "")))
    notes += [_breakable(text) for text in filter(None, (*table.remarks, explained))]
    if not notes:
        return []
    return [r"\par\smallskip", r"\parbox{\linewidth}{\footnotesize\raggedright", "\\par\n".join(notes) + "}"]
