"""Volumes on another grid with the same axes: what the steps that change a pixel size share."""

from collections.abc import Sequence

import numpy as np

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Volume

WAYS = ("linear", "nearest")


def pair(size: int | Sequence[int], step: str) -> list[int]:
    """Height and width from one number or two.

    Raises:
        SegShiftError: not two positive integers; names ``step``.
    """
    values = [size, size] if isinstance(size, int) else list(size)
    if len(values) != 2 or not all(isinstance(n, int) and n > 0 for n in values):
        raise SegShiftError(f"{step}: size {size!r} must be one positive integer, or height and width")
    return values


def regrid(volume: Volume, size: Sequence[int], steps: Sequence[float], labels: str, name: str) -> Volume:
    """Sample a volume on a grid of ``size`` voxels, ``steps`` old voxels apart, with the old grid's centre.

    Args:
        volume: any; its image is interpolated linearly, its mask takes the nearest voxel.
        size: voxels along each axis (z, y, x).
        steps: old voxels from one new voxel to the next, along each axis.
        labels: ``linear`` (each class linearly, then the class of the largest share; a tie goes to the lower
            value) or ``nearest``.
        name: of the step, for its errors.

    Raises:
        SegShiftError: an unknown ``labels``.
    """
    if labels not in WAYS:
        raise unknown(f"{name}: unknown labels", labels, WAYS)
    shape = volume.image.shape[:3]
    offsets = [(n - 1) / 2 - (new - 1) / 2 * step for n, new, step in zip(shape, size, steps, strict=True)]
    places = [
        None if new == n and step == 1 else offset + step * np.arange(new)
        for n, new, step, offset in zip(shape, size, steps, offsets, strict=True)
    ]
    grid = np.diag([*steps, 1.0])
    grid[:3, 3] = offsets
    label, mask = volume.label, volume.mask
    if label is not None:
        label = _linear_label(label, places) if labels == "linear" else _nearest(label, places)
    return Volume(
        _linear(volume.image.astype(np.float32), places),
        label,
        tuple(side * step for side, step in zip(volume.spacing, steps, strict=True)),
        volume.affine @ grid,
        None if mask is None else _nearest(mask, places),
    )


def _linear(array: np.ndarray, places: list[np.ndarray | None]) -> np.ndarray:
    for axis, place in enumerate(places):
        if place is None:
            continue
        place = np.clip(place, 0, array.shape[axis] - 1)
        below = np.minimum(np.floor(place).astype(int), max(array.shape[axis] - 2, 0))
        above = np.minimum(below + 1, array.shape[axis] - 1)
        along = [-1 if a == axis else 1 for a in range(array.ndim)]
        share = (place - below).astype(np.float32).reshape(along)
        first = array.take(below, axis)
        array = first + (array.take(above, axis) - first) * share
    return array


def _linear_label(label: np.ndarray, places: list[np.ndarray | None]) -> np.ndarray:
    shape = [n if place is None else len(place) for n, place in zip(label.shape, places, strict=True)]
    best, result = np.full(shape, -1, np.float32), np.zeros(shape, label.dtype)
    for value in np.unique(label):  # one at a time: memory of one volume, however many classes
        share = _linear((label == value).astype(np.float32), places)
        larger = share > best
        best[larger], result[larger] = share[larger], value
    return result


def _nearest(label: np.ndarray, places: list[np.ndarray | None]) -> np.ndarray:
    for axis, place in enumerate(places):
        if place is not None:
            nearest = np.clip(np.floor(place + 0.5).astype(int), 0, label.shape[axis] - 1)
            label = label.take(nearest, axis)
    return label
