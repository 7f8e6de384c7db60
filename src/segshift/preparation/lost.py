"""How much of the labels the steps lose: cut off by crops, and worn away by resampling."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from segshift.errors import SegShiftError
from segshift.volumes import Volume

LIMIT = 0.01  # of the labelled voxels, unless the entry's `lost_labels` says otherwise


@dataclass(frozen=True)
class Lost:
    """Of each class: mm³ before the steps, of that what lies outside the prepared grid, and mm³ after."""

    before: np.ndarray  # float64 [classes]
    cropped: np.ndarray
    after: np.ndarray

    @property
    def cropped_fraction(self) -> float:
        """Of all labelled voxels, those that lie outside the prepared grid."""
        return float(self.cropped[1:].sum() / max(self.before[1:].sum(), 1e-12))

    @property
    def fraction(self) -> float:
        """Of all labelled voxels, those cut off and, net over the volumes, those that resampling lost.

        Resampling gains some voxels of a class and loses others; only what is missing in sum is lost.
        """
        inside = self.before - self.cropped
        worn = np.maximum(inside - self.after, 0)
        return float((self.cropped + worn)[1:].sum() / max(self.before[1:].sum(), 1e-12))

    def by_class(self) -> list[float | None]:
        """The same for each class; None where there was none."""
        missing = self.cropped + np.maximum(self.before - self.cropped - self.after, 0)
        return [
            float(one / whole) if whole > 0 else None for one, whole in zip(missing, self.before, strict=True)
        ]


def measure(before: Volume, after: Volume, classes: int) -> Lost:
    """Compare class indices before the first and after the last step.

    Args:
        before: with labels as class indices, on the reader's grid.
        after: the same volume after the steps.
        classes: number of classes.
    """

    def volumes(volume: Volume, label: np.ndarray) -> np.ndarray:
        voxel = abs(np.linalg.det(np.asarray(volume.affine, float)[:3, :3]))
        return np.bincount(label.ravel(), minlength=classes) * voxel

    whole, rest = volumes(before, before.label), volumes(after, after.label)
    if before.label.shape == after.label.shape and np.allclose(before.affine, after.affine):
        return Lost(whole, np.zeros(classes), rest)
    matrix = np.linalg.inv(after.affine) @ before.affine  # indices before -> indices after
    limits = np.array(after.label.shape)[:, None] - 0.5
    cropped = np.zeros(classes)
    for z, slice_ in enumerate(before.label):  # slice by slice: few coordinates in memory at once
        y, x = np.nonzero(slice_)
        places = matrix[:3, :3] @ np.stack([np.full(len(y), z), y, x]) + matrix[:3, 3:]
        # a voxel on the very edge is inside, whatever the last bit says
        outside = ((places < -0.5 - 1e-6) | (places > limits + 1e-6)).any(0)
        cropped += np.bincount(slice_[y[outside], x[outside]], minlength=classes)
    voxel = abs(np.linalg.det(np.asarray(before.affine, float)[:3, :3]))
    return Lost(whole, cropped * voxel, rest)


def total(parts: Iterable[Lost]) -> Lost:
    """Of several volumes, one at least."""
    parts = list(parts)
    return Lost(*(sum(getattr(one, field.name) for one in parts) for field in fields(Lost)))


def limit(settings: dict[str, Any]) -> float:
    """What may be lost, as a fraction."""
    given = settings.get("lost_labels")
    return LIMIT if given is None else float(given)


def check_volume(lost: Lost, settings: dict[str, Any]) -> None:
    """Refuse a volume that a crop cuts. Resampling is judged over all volumes: of few voxels it loses or
    gains some by chance.

    Raises:
        SegShiftError: more than the entry allows lies outside the prepared grid.
    """
    if lost.cropped_fraction > limit(settings):
        shares = lost.cropped / np.maximum(lost.before, 1e-12)
        raise SegShiftError(
            f"{_percent(lost.cropped_fraction)} of the labelled voxels are cropped away, "
            f"{_worst(shares, settings)}; {_allowed(settings)}"
        )


def check_dataset(lost: Lost, settings: dict[str, Any]) -> None:
    """Refuse a dataset whose steps lose too much.

    Raises:
        SegShiftError: more than the entry allows is lost over all volumes.
    """
    if lost.fraction > limit(settings):
        shares = np.array([share or 0 for share in lost.by_class()])
        raise SegShiftError(
            f"the steps lose {_percent(lost.fraction)} of the labelled voxels over all volumes, "
            f"{_percent(lost.cropped_fraction)} of them by cropping, {_worst(shares, settings)}; "
            f"{_allowed(settings)}"
        )


def _worst(shares: np.ndarray, settings: dict[str, Any]) -> str:
    worst = 1 + int(np.argmax(shares[1:]))
    return f"most of all {_percent(shares[worst])} of {settings['classes'][worst]}"


def _allowed(settings: dict[str, Any]) -> str:
    return f"`lost_labels` of the entry allows {_percent(limit(settings))}: mend `preprocess`, or raise it"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
