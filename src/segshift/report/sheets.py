"""What the prepared datasets hold: counts, sizes, what preparation lost, and a picture."""

import base64
import io
import json
import re
from html import escape
from typing import Any

from PIL import Image

from segshift.report.facts import Facts, relative
from segshift.report.markup import folded, image, note, table, words
from segshift.report.plots import Section
from segshift.tables.table import rounded

PICTURE = re.compile(r'src="data:image/png;base64,([A-Za-z0-9+/=]+)"')
WIDTH = 900  # pixels that a picture of the quality sheet is brought to
SPLITS = ("train", "validation", "test")


def section(facts: Facts) -> Section:
    """A line a dataset of the scores, and its slices folded below."""
    names = list(dict.fromkeys(name for m, t in facts.tracked.scores for name in (m.source, t)))
    lines, sheets, missing = [], [], []
    for name in names:
        numbers = _numbers(facts, name)
        if numbers is None:
            missing.append(name)
            continue
        lines.append(_line(facts, name, numbers))
        if picture := _picture(facts, name):
            sheets.append(folded(f"{escape(facts.dataset(name))}: slices", picture))
    heads = dict.fromkeys(("Dataset", "Anatomy", "Modality"), "text")
    heads |= dict.fromkeys(("Train", "Validation", "Test"), "number")
    heads |= dict.fromkeys(("Size", "Spacing in mm", "Lost labels", "Notes"), "text")
    body = table(heads, lines) if lines else ""
    if missing:
        body += note(f"No quality sheet: {', '.join(missing)}.")
    if not names:
        body = note("No dataset has a score.")
    return Section("data", "Data sheets", "\n".join([body, *sheets]))


def _numbers(facts: Facts, name: str) -> dict[str, Any] | None:
    file = facts.results.data(name) / "quality.json"
    return json.loads(file.read_text()) if file.exists() else None


def _line(facts: Facts, name: str, numbers: dict[str, Any]) -> str:
    entry = facts.grid.config.datasets[name]
    volumes = [volume for split in SPLITS for volume in numbers["splits"][split]]
    texts = [facts.name("anatomy", entry.anatomy), entry.modality]
    counts = [len(numbers["splits"][split]) for split in SPLITS]
    sizes = [_range([volume["size"][axis] for volume in volumes]) for axis in range(3)]
    spacing = [_range([round(volume["spacing"][axis], 3) for volume in volumes]) for axis in range(3)]
    lost = f"{rounded(100 * numbers['lost_labels']['fraction'])} %"
    sheet = relative(facts.results, facts.results.data(name) / "quality.html")
    named = escape(facts.dataset(name))
    link = f'<a href="{escape(sheet)}">{named}</a>' if sheet else named
    cells = [f'<td class="text">{link}</td>', *map(words, texts), *(f"<td>{count}</td>" for count in counts)]
    more = [" × ".join(sizes), " × ".join(spacing), lost, "; ".join(numbers["notes"]) or "–"]
    return "".join([*cells, *map(words, more)])


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _picture(facts: Facts, name: str) -> str:
    """The quality sheet's slices, smaller."""
    file = facts.results.data(name) / "quality.html"
    found = PICTURE.search(file.read_text()) if file.exists() else None
    if not found:
        return ""
    picture = Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH))
    data = io.BytesIO()
    picture.save(data, format="JPEG", quality=82)
    what = f"Slices of {facts.dataset(name)} with contours of their classes"
    return image(data.getvalue(), "jpeg", what)
