"""Pieces of HTML that sections share."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path


def folded(summary: str, body: str, id: str = "") -> str:
    """Something that opens by a click; ``summary`` and ``body`` are HTML."""
    name = f' id="{escape(id)}"' if id else ""
    return f"<details{name}><summary>{summary}</summary>\n{body}\n</details>"


def note(text: str) -> str:
    """A remark; escaped."""
    return f'<p class="note">{escape(text)}</p>'


def many(count: int, what: str) -> str:
    """A count and its noun."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def words(text: str) -> str:
    """A cell of a table with words, on the left; escaped."""
    return f'<td class="text">{escape(text)}</td>'


def cell(html: str) -> str:
    """A cell of a table with a number, on the right."""
    return f"<td>{html}</td>"


def table(heads: dict[str, str], lines: Sequence[str]) -> str:
    """A table.

    Args:
        heads: titles of the columns, each with ``text`` or ``number``.
        lines: rows, each the HTML of its cells, or of ``<tr>``.
    """
    head = "".join(
        f"<th{' class=text' if kind == 'text' else ''}>{escape(title)}</th>" for title, kind in heads.items()
    )
    rows = "\n".join(line if line.startswith("<tr") else f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>'
    )


def image(data: bytes, kind: str, told: str) -> str:
    """A picture in the page; ``kind``: png or jpeg; ``told``: what it shows."""
    text = base64.b64encode(data).decode()
    return f'<img alt="{escape(told)}" src="data:image/{kind};base64,{text}">'


def files(found: Sequence[tuple[Path, str]]) -> str:
    """Links to files beside the page: each with its address."""
    return " · ".join(f'<a href="{escape(where)}">{escape(file.name)}</a>' for file, where in found)
