"""The quality sheet as one HTML page that needs no network: pictures, tables and histograms of a dataset."""

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from segshift.preparation.quality import Sample
from segshift.prepared import SPLITS

VOLUMES = 4  # of each split that are shown
SIDE = 220  # pixels of a shown slice's longer side
GAP, TITLE = 6, 16
PALETTE = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#ffe119",
           "#469990", "#dcbeff", "#9a6324", "#fabed4", "#aaffc3", "#800000")  # fmt: skip
STYLE = """\
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #1d2530; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5rem 0; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #e6e9ee; }
th:first-child, td:first-child { text-align: left; }
.wide { overflow-x: auto; } img { max-width: 100%; background: #000; }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin-right: 0.4em; }
.note { background: #fff4d6; padding: 0.4rem 0.8rem; }
svg { background: #f3f6fa; margin-right: 1rem; }
"""


def page(numbers: dict[str, Any], samples: dict[str, list[Sample]], colours: list[str] | None) -> str:
    """The page.

    Args:
        numbers: the content of ``quality.json``.
        samples: of each split, of its volumes in the same order.
        colours: of the classes, background first; default: a palette.
    """
    classes = numbers["classes"]
    colours = colours or ["#000000", *(PALETTE[n % len(PALETTE)] for n in range(len(classes) - 1))]
    title = f"{escape(numbers['dataset'])}: quality of the prepared data"
    parts = [f"<h1>{title}</h1>", f"<p>Steps: {escape(_steps(numbers['preprocess']))}.</p>"]
    parts += [f'<p class="note">{escape(note)}</p>' for note in numbers["notes"]]
    picture = base64.b64encode(_png(montage(numbers, samples, colours))).decode()
    names = ", ".join(f"{split}/{numbers['splits'][split][n]['id']}" for split, n in _shown(numbers))
    parts += ["<h2>Slices</h2>", _keys(classes, colours)]
    parts += [f'<img alt="Slices with contours of {escape(names)}" src="data:image/png;base64,{picture}">']
    parts += ["<h2>Sizes and spacing</h2>", _sizes(numbers)]
    parts += ["<h2>Classes</h2>", _classes(numbers)]
    parts += ["<h2>Intensities</h2>", *(_histogram(split, numbers["splits"][split]) for split in SPLITS)]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>\n{STYLE}</style>\n{body}\n</html>\n"
    )


def montage(numbers: dict[str, Any], samples: dict[str, list[Sample]], colours: list[str]) -> Image.Image:
    """Slices of some volumes of each split with the contours of their labels, a row a volume."""
    rows = []
    for split, index in _shown(numbers):
        named, sample = numbers["splits"][split][index], samples[split][index]
        pictures = [contoured(image, label, colours) for image, label in sample.slices]
        rows.append((f"{split}: {named['id']}, slices {', '.join(map(str, sample.places))}", pictures))
    width = max(sum(one.width + GAP for one in pictures) for _, pictures in rows)
    height = sum(TITLE + GAP + max(one.height for one in pictures) for _, pictures in rows)
    whole = Image.new("RGB", (width, height))
    draw, top = ImageDraw.Draw(whole), 0
    for text, pictures in rows:
        draw.text((2, top + 2), text, fill="#ffffff")
        left, top = 0, top + TITLE
        for one in pictures:
            whole.paste(one, (left, top))
            left += one.width + GAP
        top += max(one.height for one in pictures) + GAP
    return whole


def _shown(numbers: dict[str, Any]) -> list[tuple[str, int]]:
    """Split and place of the volumes that the montage shows, spread over each split."""
    shown = []
    for split in SPLITS:
        last = len(numbers["splits"][split]) - 1
        places = {round(n * last / (VOLUMES - 1)) for n in range(VOLUMES)} if last >= 0 else ()
        shown += [(split, place) for place in sorted(places)]
    return shown


def contoured(image: np.ndarray, label: np.ndarray, colours: list[str]) -> Image.Image:
    """A slice, brought to the shown size, with a line of one pixel just inside each labelled region."""
    scale = SIDE / max(label.shape)
    size = tuple(max(1, round(n * scale)) for n in reversed(label.shape))
    picture = np.array(Image.fromarray(image).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    large = np.array(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    padded = np.pad(large, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    edge = np.zeros(large.shape, bool)
    for other in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= inner != other
    edge &= large > 0
    table = np.array([[int(colour[n : n + 2], 16) for n in (1, 3, 5)] for colour in colours], np.uint8)
    picture[edge] = table[large[edge]]
    return Image.fromarray(picture)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=3)  # more takes seconds and saves little
    return buffer.getvalue()


def _steps(steps: list) -> str:
    def said(step: Any) -> str:
        if isinstance(step, str):
            return step
        ((name, given),) = step.items()
        return f"{name} ({', '.join(f'{key} {value}' for key, value in (given or {}).items())})"

    return " → ".join(map(said, steps)) or "none"


def _keys(classes: list[str], colours: list[str]) -> str:
    spans = [
        f'<span class="key" style="background:{escape(colour)}"></span>{escape(name)}'
        for name, colour in list(zip(classes, colours, strict=True))[1:]
    ]
    return f"<p>{' &nbsp; '.join(spans)}</p>"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def cells(values: Iterable[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(value)}</{tag}>" for value in values) + "</tr>"

    lines = "\n".join(cells(row, "td") for row in rows)
    return (
        f'<div class="wide"><table><thead>{cells(head, "th")}</thead>\n<tbody>{lines}</tbody></table></div>'
    )


def _spread(values: list[float], digits: int = 4) -> str:
    """One value, or the least and the largest."""
    low, high = (f"{value:.{digits}g}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def _sizes(numbers: dict[str, Any]) -> str:
    rows = []
    for split in SPLITS:
        volumes = numbers["splits"][split]
        if not volumes:
            continue
        patients = {one["patient"] for one in volumes}
        row = [split, str(len(volumes)), str(len(patients))]
        for key in ("raw_size", "raw_spacing", "size", "spacing"):
            row.append(" × ".join(_spread([one[key][axis] for one in volumes]) for axis in range(3)))
        rows.append([*row, _spread([value for one in volumes for value in one["raw_range"]])])
    head = (
        "split",
        "volumes",
        "patients",
        "raw size",
        "raw spacing, mm",
        "size",
        "spacing, mm",
        "raw values",
    )
    return _table(head, rows)


def _classes(numbers: dict[str, Any]) -> str:
    lost, rows = numbers["lost_labels"], []
    for name in numbers["classes"][1:]:
        row, share = [name], lost["by_class"][name]
        for split in SPLITS:
            values = [one["millilitres"][name] for one in numbers["splits"][split]]
            row.append(_spread(values, 3) if values else "–")
        absent = sum(
            one["millilitres"][name] == 0 for volumes in numbers["splits"].values() for one in volumes
        )
        rows.append([*row, str(absent), "–" if share is None else f"{100 * share:.2f}"])
    rows.append(["all", *([""] * (len(SPLITS) + 1)), f"{100 * lost['fraction']:.2f}"])
    head = ("class", *(f"{split}, ml" for split in SPLITS), "volumes without", "lost by the steps, %")
    worst = max(
        (one for volumes in numbers["splits"].values() for one in volumes), key=lambda one: one["cropped"]
    )
    crop = (
        f"<p>Cropped away: {100 * lost['cropped']:.2f} % of all labelled voxels"
        + (f", at most {100 * worst['cropped']:.2f} %, of {escape(worst['id'])}" if worst["cropped"] else "")
        + ".</p>"
    )
    return _table(head, rows) + crop


def _histogram(split: str, volumes: list[dict[str, Any]]) -> str:
    """A line a volume and a bold one of all, voxels of the lowest bin (background) left out."""
    if not volumes:
        return ""
    counts = np.array([one["histogram"] for one in volumes], float)[:, 1:]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    mean, top = shares.mean(0), max(shares.max(), 1e-12)

    def line(values: np.ndarray, style: str) -> str:
        points = " ".join(f"{4 + 4 * n},{104 - 100 * value / top:.1f}" for n, value in enumerate(values))
        return f'<polyline fill="none" {style} points="{points}"/>'

    lines = [line(values, 'stroke="#8a93a0" stroke-width="0.5"') for values in shares[:40]]
    lines.append(line(mean, 'stroke="#005a9c" stroke-width="2"'))
    width = 4 * counts.shape[1] + 8
    return (
        f'<svg width="{width}" height="124" role="img"><title>{split}</title>{"".join(lines)}'
        f'<text x="4" y="120" font-size="12">{split}: values of the prepared image, 0 to 1</text></svg>'
    )
