r"""A table as LaTeX, for ``\input``: plain pdflatex, and of packages booktabs alone.

Numbers are those of Markdown. A name that repeats the one above it is left blank, as in a merged cell. What a
page does not hold goes on in a second float.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from segshift.tables.paper import fit, pages, titled
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
    "√": r"$\surd$",
    "·": r"$\cdot$",
    "“": "``",
    "”": "''",
}


def to_latex(table: Table, labels: Mapping[str, Mapping[str, str]]) -> str:
    """One ``table`` environment, or several where a page does not hold it; notes stand below the last.

    Args:
        table: what to write.
        labels: display names by axis, as in labels.yaml.
    """
    columns = [column for column in table.columns if column.shown]
    lines = _lines(table, labels)
    widest = [max((line.widths[i] for line in lines), default=0) for i in range(len(columns))]
    titles, letters = titled(columns, widest)
    size, parts = fit(columns, letters)
    groups = [(line.section, line.cells[:1]) for line in lines]
    floats = [
        Float([columns[i] for i in part], [titles[i] for i in part], [line.part(part) for line in lines[at]])
        for at in pages(groups, size.rows)
        for part in parts
    ]
    blocks = [_float(table, one, size.name, one is floats[0], one is floats[-1]) for one in floats]
    return "% \\usepackage{booktabs}\n" + "\n".join(blocks)


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

    def part(self, columns: Sequence[int]) -> "Line":
        """Only some columns of it."""
        cells, widths = tuple(self.cells[i] for i in columns), tuple(self.widths[i] for i in columns)
        return Line(cells, widths, self.section)


@dataclass(frozen=True)
class Float:
    """What stands in one ``table`` environment: columns, their titles line by line, and rows."""

    columns: list[Column]
    titles: list[list[str]]
    lines: list[Line]


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


# ---- one float -------------------------------------------------------------------------------------------


def _float(table: Table, one: Float, size: str, first: bool, last: bool) -> str:
    title = table.title + (" (partial)" if table.partial else "") + ("" if first else " (continued)")
    head = [r"\begin{table}[htbp]", r"\centering"]
    head += [f"\\renewcommand{{\\thetable}}{{{escaped(table.number)}}}"] if table.number else []
    head += [] if first else [r"\addtocounter{table}{-1}"]
    head += [f"\\caption{{{escaped(title)}}}"]
    head += [f"\\label{{tab:{table.number or table.name}}}"] if first else []
    alignment = "".join(map(_side, one.columns))
    head += [r"\par\smallskip", f"\\{size}", r"\setlength{\tabcolsep}{4pt}", r"\makebox[\linewidth][c]{%"]
    head += [f"\\begin{{tabular}}{{@{{}}{alignment}@{{}}}}", r"\toprule", *_header(one), r"\midrule"]
    tail = [r"\bottomrule", r"\end{tabular}}", *(_notes(table) if last else []), r"\end{table}"]
    return "\n".join([*head, *_body(one), *tail]) + "\n"


def _side(column: Column) -> str:
    return "l" if column.kind == "text" else "r"


def _header(one: Float) -> list[str]:
    titles = " & ".join(map(_title, one.columns, one.titles)) + r" \\"
    if not any(column.group for column in one.columns):
        return [titles]
    above, rules, at = [], [], 1
    for group, members in groupby(one.columns, key=lambda column: column.group):
        width = len(list(members))
        if group:
            above.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(group)}}}")
            rules.append(f"\\cmidrule(lr){{{at}-{at + width - 1}}}")
        else:
            above += [""] * width
        at += width
    return [" & ".join(above) + r" \\", " ".join(rules), titles]


def _title(column: Column, lines: list[str]) -> str:
    if len(lines) == 1:
        return escaped(lines[0])
    return f"\\shortstack[{_side(column)}]{{" + r"\\".join(map(escaped, lines)) + "}"


def _body(one: Float) -> Iterator[str]:
    kinds = [column.kind for column in one.columns]
    names = next((i for i, kind in enumerate(kinds) if kind != "text"), len(kinds))
    above: Line | None = None
    for line in one.lines:
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
