"""How a table fits on paper: the size of its letters, titles on several lines, and parts.

Widths are estimates in points of LaTeX's standard classes, measured in Computer Modern.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from segshift.tables.table import Column

TEXT, MARGINS, PAPER = 350, 480, 560  # widths: of the text, with half of each margin, of all that paper holds
GAP = 8  # between two columns
SLACK = 1  # letters that a title may be longer than its column before it is broken


@dataclass(frozen=True)
class Size:
    """A size of letters: its name, the width of a letter, and how many rows stand on a page."""

    name: str
    letter: float
    rows: int
    limit: int

    def width(self, letters: Sequence[int]) -> float:
        """Of a line whose columns have so many letters."""
        return self.letter * sum(letters) + GAP * (len(letters) - 1)


# Before letters become too small to read, a table may take half of each margin.
SIZES = (
    Size("normalsize", 5.1, 34, TEXT),
    Size("small", 4.7, 38, TEXT),
    Size("footnotesize", 4.3, 44, TEXT),
    Size("scriptsize", 4.0, 52, MARGINS),
    Size("tiny", 3.45, 66, PAPER),
)
IN_PARTS = SIZES[3]


def broken(title: str, width: int) -> list[str]:
    """A title on as many lines as a column of ``width`` letters needs; words and ``diff %`` stay whole."""
    words = re.findall(r"[^ -]+(?: %)?-*(?: |$)|[^ -]+-+|[ -]+", title)
    limit = max([width + SLACK, *(len(word.rstrip()) for word in words)])
    lines = [""]
    for word in words:
        if lines[-1] and len((lines[-1] + word).rstrip()) > limit:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def titled(columns: Sequence[Column], widest: Sequence[int]) -> tuple[list[list[str]], list[int]]:
    """The titles of columns line by line, and how many letters each column then has.

    They are broken where the table is too wide for the largest letters otherwise.

    Args:
        columns: of the table.
        widest: how many letters the widest cell of each has.
    """
    titles = [[column.title] for column in columns]
    letters = [max(width, len(title)) for width, (title,) in zip(widest, titles, strict=True)]
    if SIZES[0].width(letters) > SIZES[0].limit:
        titles = [broken(column.title, width) for column, width in zip(columns, widest, strict=True)]
        letters = [max(width, *map(len, title)) for width, title in zip(widest, titles, strict=True)]
    return titles, letters


def fit(columns: Sequence[Column], letters: Sequence[int]) -> tuple[Size, list[list[int]]]:
    """The largest size at which a line fits, and the columns of each part where none does.

    Args:
        columns: of the table.
        letters: how wide each is.
    """
    for size in SIZES:
        if size.width(letters) <= size.limit:
            return size, [list(range(len(columns)))]
    return IN_PARTS, _side_by_side(columns, letters)


def _side_by_side(columns: Sequence[Column], letters: Sequence[int]) -> list[list[int]]:
    """Parts of whole groups; each starts with the names of the rows."""
    names = 0
    while names < len(columns) and not columns[names].group and columns[names].kind in ("text", "whole"):
        names += 1
    parts = [list(range(names))]
    for group, members in groupby(range(names, len(columns)), key=lambda i: columns[i].group):
        indices = list(members)
        for unit in [indices] if group else [[i] for i in indices]:
            if len(parts[-1]) > names and IN_PARTS.width([letters[i] for i in parts[-1] + unit]) > MARGINS:
                parts.append(list(range(names)))
            parts[-1] += unit
    return parts


def pages(groups: Sequence[object], rows: int) -> Iterator[slice]:
    """Parts of at most so many rows, cut where ``groups`` (one name a row) changes if that is possible."""
    start = 0
    while len(groups) - start > rows:
        cuts = [at for at in range(start + rows // 2, start + rows + 1) if groups[at] != groups[at - 1]]
        end = cuts[-1] if cuts else start + rows
        yield slice(start, end)
        start = end
    yield slice(start, len(groups))
