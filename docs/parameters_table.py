"""``docs/parameters.csv``: what the thesis prints, what its code counts, what learns here, and why."""

import csv
import io
import re
from collections import Counter as Tally
from functools import cache
from pathlib import Path
from typing import NamedTuple

from segshift.combinations import of_names
from segshift.counts import Counter
from segshift.entries import Config

PUBLISHED = Path(__file__).parents[1] / "config/published/parameters.csv"
COLUMNS = (
    "part",
    "backbone",
    "tuning",
    "head",
    "width",
    "patch",
    "classes",
    "printed",
    "original",
    "default",
    "reason",
)
CLASSES = (15, 6, 3)
HEADS = (
    "linear",
    "segformer",
    "da",
    "da_small",
    "resnet",
    "unet",
    "unet_small",
    "sam",
    "sam_fpe",
    "hsam",
    "hqsam",
    "hqhsam",
)
OF_SAM = ("sam", "sam_fpe", "hsam", "hqsam", "hqhsam")  # heads that meet SAM's own neck
OTHERS = ("dinov2_s", "dinov2_l", "dinov2_g", "sam_l", "mae_l", "sam_h", "mae_h")
UNITS = {"M": 1e6, "K": 1e3}
ROUNDED = 0.05e6  # the thesis rounds or truncates to one or two decimals of a million
# What stands in a parameter's name, and what to call it.
LABELS = {
    r"prompt_encoder": "the prompt encoder except its 'no prompt' vector",
    r"iou_prediction_head": "IoU heads",
    r"output_hypernetworks_mlps|hq_networks|second_stage\.networks": "hyper-networks of masks of no class",
    r"unused_norms": "layer norms that are never called",
    r"auxiliary": "auxiliary classifiers",
    r"key\.bias": "the bias of attention's keys, which its softmax cancels",
    r"\.(transform|merge)\.": "Rein's layers `transform` and `merge`",
}


class Row(NamedTuple):
    """What is counted: ``part`` is head, tuning or model (all that learns); a tuning has no classes."""

    part: str
    backbone: str
    tuning: str
    head: str
    classes: int | None


def rows() -> list[Row]:
    """Each head × classes × patch, each tuning × width, each network, and all that the thesis prints."""
    found = [Row("head", b, "frozen", h, c) for h in HEADS for b in ("dinov2_b", "mae_b") for c in CLASSES]
    found += [Row("head", "sam_b", "frozen", head, c) for head in OF_SAM for c in CLASSES]
    found += [Row("head", backbone, "frozen", "hqhsam", c) for backbone in OTHERS for c in CLASSES]
    found += [Row("head", "sam_b", "ladder_d", "hqhsam", c) for c in CLASSES]
    found += [Row("head", "resnet101", "full", "unet_small", c) for c in CLASSES]
    base = ("dinov2_b", "sam_b", "mae_b")
    found += [Row("tuning", b, t, "hqhsam", None) for t in ("rein", "rein_lora") for b in (*base, *OTHERS)]
    found += [Row("tuning", b, t, "hqhsam", None) for t in ("ladder_d", "ladder_r") for b in base]
    found += [Row("model", b, t, "hqhsam", 15) for t in ("rein", "rein_lora") for b in OTHERS[1:]]
    printed = [
        one._replace(classes=None) if one.part == "tuning" else one for one in _printed() if one.backbone
    ]
    return sorted(dict.fromkeys(found + printed), key=lambda row: (*_order(row), -(row.classes or 0)))


def text(config: Config, counter: Counter) -> str:
    """The whole file."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows():
        writer.writerow(_line(config, counter, row))
    return stream.getvalue()


def _order(row: Row) -> tuple[int, str, str, str]:
    return ("head", "tuning", "model").index(row.part), row.head, row.tuning, row.backbone


def _line(config: Config, counter: Counter, row: Row) -> list[object]:
    names = {"backbone": row.backbone, "tuning": row.tuning, "head": row.head}
    default, original = (
        of_names(config, names, row.classes or CLASSES[-1], originals).combination
        for originals in (False, True)
    )
    deepest = counter.build(default)[0].backbone
    deepest = deepest.maps[min(deepest.last, len(deepest.maps) - 1)]
    sizes = [counter.sizes(one) for one in (original, default)]
    learning = [_learning(one, row.part) for one in sizes]
    counts = [sum(one.values()) for one in learning]
    printed, notes = _print(row, counts[0])
    reasons = [*notes, *_differences(*learning, frozen=set(sizes[1]["frozen"]))]
    where = [deepest.channels, deepest.stride, row.classes or ""]
    return [*row[:4], *where, printed, *counts, "; ".join(reasons)]


def _learning(sizes: dict[str, dict[str, int]], part: str) -> dict[str, int]:
    parts = ("backbone", "tuning", "head") if part == "model" else (part,)
    return {name: size for one in parts for name, size in sizes[one].items()}


def _differences(original: dict[str, int], default: dict[str, int], frozen: set[str]) -> list[str]:
    """What learns in the one alone, under a name that says what it is, with its size."""
    tally: dict[str, Tally[str]] = {"frozen": Tally(), "left out": Tally(), "added": Tally()}
    for name in original.keys() - default.keys():
        tally["frozen" if name in frozen else "left out"][_label(name)] += original[name]
    for name in default.keys() - original.keys():
        tally["added"][_label(name)] += default[name]
    return [
        f"{how}: " + ", ".join(f"{what} ({size:,})" for what, size in sorted(some.items()))
        for how, some in tally.items()
        if some
    ]


def _label(name: str) -> str:
    return next((label for pattern, label in LABELS.items() if re.search(pattern, name)), name)


@cache
def _printed() -> dict[Row, list[dict[str, str]]]:
    """The thesis's printed counts; a head without a backbone is the same on the four base ones."""
    found: dict[Row, list[dict[str, str]]] = {}
    for line in csv.DictReader(PUBLISHED.open()):
        row = Row(line["part"], line["backbone"], line["tuning"], line["head"], int(line["classes"]))
        found.setdefault(row, []).append(line)
    return found


def _print(row: Row, count: int) -> tuple[str, list[str]]:
    """What is printed for a row, with its tables, and why where that is not the original count."""
    published = _printed()
    asked = [row._replace(classes=one) for one in (CLASSES if row.classes is None else [row.classes])]
    if row.backbone in ("dinov2_b", "sam_b", "mae_b"):
        asked += [one._replace(backbone="") for one in asked]
    tables: dict[str, list[str]] = {}
    notes: dict[str, None] = {}
    for line in [line for one in asked for line in published.get(one, [])]:
        number = line["printed"]
        tables.setdefault(number, []).append(line["tables"])
        note = line["note"]
        if (
            not note
            and not line["backbone"]
            and abs(float(number[:-1]) * UNITS[number[-1]] - count) > ROUNDED
        ):
            note = "the same for all backbones, counted on SAM"
        notes |= {f"printed {number}: {note}": None} if note else {}
    shown = "; ".join(f"{number} ({'; '.join(where)})" for number, where in tables.items())
    return shown, list(notes)
