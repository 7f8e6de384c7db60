"""Plotly figures as plain data, and the sections that hold them. Colours follow the page's theme."""

import json
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any

from plotly.colors import sample_colorscale

from segshift.tables.table import rounded

# Okabe and Ito (2008); their black would vanish on a dark page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1", "#7f7f7f")
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "hexagon")
SCALE = "Viridis"


@dataclass(frozen=True)
class Plot:
    """A figure: ``data`` and ``layout`` as Plotly's. ``height`` in pixels.

    A point whose ``customdata`` is an anchor leads there when it is clicked.
    """

    id: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 380

    @property
    def place(self) -> str:
        """Where the page draws it."""
        title = self.layout.get("title", {}).get("text", "plot").replace("<br>", ", ")
        label = escape(title)
        return (
            f'<div class="plot" id="{escape(self.id)}" role="img" aria-label="{label}" '
            f'style="height:{self.height}px"></div>'
        )


@dataclass
class Section:
    """A part of the report: HTML under a heading, and the plots that stand in it."""

    id: str
    title: str
    body: str
    plots: list[Plot] = field(default_factory=list)

    @property
    def html(self) -> str:
        return f'<section id="{self.id}">\n<h2>{escape(self.title)}</h2>\n{self.body}\n</section>'


def layout(title: str, x: str = "", y: str = "", **more: Any) -> dict[str, Any]:
    """A layout with titles of figure and axes."""
    base: dict[str, Any] = {
        "title": {"text": title, "font": {"size": 15}, "x": 0, "xanchor": "left", "xref": "container"},
        "margin": {"l": 60, "r": 16, "t": 46, "b": 52},
        "xaxis": {"title": {"text": x}, "automargin": True, "zeroline": False},
        "yaxis": {"title": {"text": y}, "automargin": True, "zeroline": False},
        "hoverlabel": {"align": "left"},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
    }
    for name, value in more.items():
        base[name] = base[name] | value if isinstance(base.get(name), dict) else value
    return base


def grid(plots: list[Plot]) -> str:
    """Small plots side by side, as many as fit."""
    return f'<div class="plots">{"".join(plot.place for plot in plots)}</div>' if plots else ""


def bars(spreads: list[float | None]) -> dict[str, Any]:
    """Error bars; of one seed there are none."""
    return {
        "type": "data",
        "array": [spread or 0 for spread in spreads],
        "width": 3,
        "visible": any(spread is not None for spread in spreads),
    }


def inked(value: float | None) -> str:
    """A value's text on its colour of ``SCALE`` (0 to 100): black or white, whichever is read more easily."""
    if value is None:
        return ""
    (colour,) = sample_colorscale(SCALE, [min(max(value / 100, 0), 1)], colortype="tuple")
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in colour]
    light = sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    ink = "#000" if light > 0.179 else "#fff"  # where both contrasts are equal (WCAG 2, 1.4.3)
    return f'<span style="color:{ink}">{rounded(value, 1)}</span>'


def wrapped(names: list[str], width: int = 13) -> tuple[list[str], int]:
    """Names of columns on several lines, so that they need not be turned, and the pixels of further lines."""
    lines = ["<br>".join(wrap(name, width, break_long_words=False)) for name in names]
    return lines, 17 * max((line.count("<br>") for line in lines), default=0)


def dump(plots: list[Plot]) -> str:
    """All plots as JSON that may stand in a page."""
    content = {plot.id: {"data": plot.data, "layout": plot.layout} for plot in plots}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def style(names: list[str]) -> dict[str, tuple[str, str]]:
    """A colour and a symbol for each name; symbols change when colours are used up."""
    return {
        name: (COLOURS[i % len(COLOURS)], SYMBOLS[i // len(COLOURS) % len(SYMBOLS)])
        for i, name in enumerate(names)
    }
