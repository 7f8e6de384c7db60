"""The critical-difference diagram (Demšar, JMLR 7, 2006): rows on a line by mean rank.

Bars lie below rows that do not differ by more than the critical difference. As SVG for pages, and as PDF or
PNG for papers.
"""

import io
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.statistics.friedman import Friedman

FORMATS = ("svg", "pdf", "png")
# Text stays text and nothing depends on the day, so that the same numbers give the same bytes.
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "segshift", "font.size": 9, "pdf.fonttype": 42}
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def write(found: Friedman, file: Path, title: str = "") -> None:
    """Write the diagram in the format that the file's ending says.

    Raises:
        SegShiftError: another ending.
    """
    if (ending := file.suffix.removeprefix(".")) not in FORMATS:
        raise SegShiftError(f"{file}: a diagram is written as {', '.join(FORMATS)}")
    part = file.with_name(file.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(drawn(found, ending, title))
    part.replace(file)


def drawn(found: Friedman, ending: str, title: str = "") -> bytes:
    """The diagram as a file's bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        k, bars = len(found.names), cliques(found)
        half = (k + 1) // 2
        height = 1.1 + 0.2 * half + 0.09 * len(bars)
        figure = Figure(figsize=(7.0, height), layout="constrained")
        _draw(figure.add_subplot(), found, bars, half, title)
        stream = io.BytesIO()
        figure.savefig(stream, format=ending, metadata=METADATA[ending], dpi=200)
    return stream.getvalue()


def cliques(found: Friedman) -> list[tuple[int, int]]:
    """Longest runs of rows, by place, whose mean ranks lie within the critical difference of each other."""
    runs: list[tuple[int, int]] = []
    for first, rank in enumerate(found.mean_ranks):
        last = max(
            i for i, other in enumerate(found.mean_ranks) if other - rank <= found.critical_difference + 1e-12
        )
        if last > first and not any(last <= end for _, end in runs):
            runs.append((first, last))
    return runs


def _draw(axes, found: Friedman, bars: list[tuple[int, int]], half: int, title: str) -> None:
    """Ranks 1 (best, left) to k; names below, the better half on the left."""
    k, ranks = len(found.names), found.mean_ranks
    axes.plot([1, k], [0, 0], color="black", lw=1)
    for rank in range(1, k + 1):
        axes.plot([rank, rank], [0, 0.25], color="black", lw=0.8)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom")
    end = min(1 + found.critical_difference, k)
    axes.plot([1, end], [1.9, 1.9], color="black", lw=1.5)
    axes.text((1 + end) / 2, 2.05, f"CD = {found.critical_difference:.2f}", ha="center", va="bottom")
    for line, (first, last) in enumerate(bars):
        y = -0.35 - 0.42 * line
        axes.plot([ranks[first] - 0.06, ranks[last] + 0.06], [y, y], color="#005a9c", lw=3)
    below = -0.6 - 0.42 * len(bars)
    for place, (name, rank) in enumerate(zip(found.names, ranks, strict=True)):
        left = place < half
        y = below - (place if left else k - 1 - place)
        side, align = (0.7, "right") if left else (k + 0.3, "left")
        axes.plot([rank, rank, side], [0, y, y], color="#4a5462", lw=0.7)
        axes.text(side, y, f" {name} ({rank:.2f}) ", ha=align, va="center")
    axes.set_xlim(1 - 0.35 * k, k + 0.35 * k)
    axes.set_ylim(below - half, 3.2)
    axes.axis("off")
    told = f"{found.blocks} blocks, {found.trainings} independent trainings a row, Friedman p = {found.p:.2g}"
    axes.set_title("\n".join(filter(None, (title, told))), fontsize=8)
