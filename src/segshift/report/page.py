"""The page: all sections in order, with Plotly's script once inside the file."""

from collections.abc import Sequence
from html import escape

from plotly.offline import get_plotlyjs

from segshift.report.plots import Section, dump
from segshift.report.script import SCRIPT
from segshift.report.style import STYLE
from segshift.tables import html as tables

TITLE = "How well do segmentation models survive a change of scanner, site or protocol?"
NAV = {
    "sentences": "In short",
    "ranking": "Ranking",
    "rows": "Source × target",
    "shift": "DS, DG",
    "adaptation": "Adaptation",
    "classes": "Classes",
    "examples": "Pictures",
    "volumes": "Worst volumes",
    "curves": "Curves",
    "data": "Data",
    "selection": "Selection",
    "cost": "Cost",
    "noise": "Noise",
    "missing": "Missing",
    "making": "Versions",
    "cells": "Cells",
}


def write(sections: Sequence[Section]) -> str:
    """The file's text; the same sections give the same text.

    Raises:
        ValueError: two plots have one id: one of them would be drawn in the other's place.
    """
    plots = [plot for section in sections for plot in section.plots]
    if len({plot.id for plot in plots}) < len(plots):
        raise ValueError("two plots of a report have one id")
    links = "".join(f'<a href="#{one.id}">{escape(NAV[one.id])}</a>' for one in sections)
    body = "\n".join(section.html for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>SegShift report</title>
<style>
{tables.STYLE}{STYLE}</style>
</head>
<body>
<header><h1>{TITLE}</h1><button id="theme" type="button">Dark</button></header>
<nav aria-label="Sections"><div>{links}</div></nav>
<main>
{body}
</main>
<script type="application/json" id="plots">{dump(plots)}</script>
<script>{get_plotlyjs()}</script>
<script>
{tables.SCRIPT}</script>
<script>
{SCRIPT}</script>
</body>
</html>
"""
