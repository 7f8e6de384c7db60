"""A figure in three formats; the same figure gives the same bytes."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from segshift.figures.entries import ENDINGS

SETTINGS = {
    "svg.hashsalt": "segshift",  # else the ids in an SVG differ from one writing to the next
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "font.size": 8,
    "axes.titlesize": 9,
}
DATES = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}, "png": {}}


def save(figure: Figure, stem: Path, caption: str = "") -> list[Path]:
    """Write ``<stem>.svg``, ``.pdf`` and ``.png`` by rename, and what they show to ``<stem>.txt``."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(SETTINGS):
        for ending in ENDINGS:
            file = stem.with_name(f"{stem.name}.{ending}")
            part = stem.with_name(f"{stem.name}.{ending}.part")
            figure.savefig(part, format=ending, dpi=150, bbox_inches="tight", metadata=DATES[ending])
            part.replace(file)
            written.append(file)
    part = stem.with_name(f"{stem.name}.txt.part")
    part.write_text(f"{caption}\n")
    part.replace(stem.with_name(f"{stem.name}.txt"))
    return written


def settings():
    """The look of all figures, as a context."""
    return matplotlib.rc_context(SETTINGS)
