"""What a dataset looks like after preparation, as numbers and pictures: the content of the quality sheet."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from segshift.preparation import lost
from segshift.prepared import SPLITS
from segshift.volumes import Volume

BINS = 64
SHOWN = (0.25, 0.5, 0.75)  # of the slices with something labelled


@dataclass(frozen=True, eq=False)
class Sample:
    """What a quality sheet keeps of one volume: small, so that all volumes fit in memory.

    ``slices`` are pairs of image (uint8 [h, w] or [h, w, 3]) and label (uint8 [h, w]); ``histogram`` counts
    voxels of the prepared image in equal bins of [0, 1].
    """

    slices: list[tuple[np.ndarray, np.ndarray]]
    places: list[int]
    histogram: np.ndarray
    raw_range: tuple[float, float]
    raw_spacing: tuple[float, float, float]


def sample(image: np.ndarray, label: np.ndarray, raw: Volume) -> Sample:
    """Take it from a prepared image (float16 in [0, 1]) and label, and the volume as it was read."""
    labelled = np.flatnonzero(label.reshape(len(label), -1).any(1))
    if not len(labelled):
        labelled = np.arange(len(label))
    places = sorted({int(labelled[int(share * (len(labelled) - 1) + 0.5)]) for share in SHOWN})
    slices = [(np.rint(image[z].astype(np.float32) * 255).astype(np.uint8), label[z]) for z in places]
    histogram = np.zeros(BINS, np.int64)
    for one in image:  # slice by slice: no second copy of the volume
        histogram += np.histogram(one.astype(np.float32), BINS, (0, 1))[0]
    spacing = tuple(float(side) for side in raw.spacing)
    return Sample(slices, places, histogram, (float(raw.image.min()), float(raw.image.max())), spacing)


def numbers(settings: dict[str, Any], made: dict[str, list[dict[str, Any]]], notes: list[str]) -> dict:
    """The content of ``quality.json``.

    Args:
        settings: of the dataset.
        made: of each split, its volumes: ``entry`` (the manifest's), ``lost`` and ``sample``.
        notes: sentences about what is odd but not wrong.
    """
    missing = lost.total(one["lost"] for split in SPLITS for one in made[split])
    return {
        "dataset": settings["dataset"],
        "classes": settings["classes"],
        "preprocess": settings.get("preprocess") or [],
        "lost_labels": {
            "fraction": missing.fraction,
            "cropped": missing.cropped_fraction,
            "by_class": dict(zip(settings["classes"], missing.by_class(), strict=True)),
        },
        "notes": notes,
        "splits": {split: [_volume(one, settings["classes"]) for one in made[split]] for split in SPLITS},
    }


def _volume(one: dict[str, Any], classes: list[str]) -> dict[str, Any]:
    entry, missing, taken = one["entry"], one["lost"], one["sample"]
    millilitres = np.prod(entry["spacing"]) / 1000
    return {
        "id": entry["id"],
        "patient": entry["patient"],
        "size": [entry["slices"], *entry["shape"]],
        "spacing": entry["spacing"],
        "raw_size": entry["raw_shape"],
        "raw_spacing": list(taken.raw_spacing),
        "raw_range": list(taken.raw_range),
        "millilitres": {
            name: count * millilitres for name, count in zip(classes, entry["counts"], strict=True)
        },
        "lost_labels": missing.fraction,
        "cropped": missing.cropped_fraction,
        "histogram": taken.histogram.tolist(),
        "slices_shown": taken.places,
    }
