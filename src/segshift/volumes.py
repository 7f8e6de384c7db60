"""Volumes, and the named pre-processing steps that a dataset's entry lists. Numpy only.

A step is a function ``step(volume, *, parameters) -> Volume``; an entry names it as ``percentile`` or with
parameters as ``{percentile: {low: 1}}``. Steps that move voxels keep the affine exact: it maps the index of
a voxel to the centre of that voxel in scanner space.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segshift.errors import SegShiftError, unknown


@dataclass(frozen=True)
class Case:
    """One volume to be read: who it is of, which split it belongs to (None: a split list says so), and where
    it is.

    ``where`` is the dataset module's own business: paths, an index in a file.
    """

    id: str
    patient: str
    split: str | None
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """A volume with slices along the first axis.

    ``image`` float32 [z, y, x]; ``label`` integer [z, y, x] or None; ``spacing`` in mm (z, y, x);
    ``affine`` 4 × 4, from voxel indices (z, y, x) of these arrays to scanner space in mm (x, y, z; RAS+).
    """

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray

    def with_(self, **changes: Any) -> "Volume":
        return replace(self, **changes)


def percentile(volume: Volume, *, low: float = 1, high: float = 99) -> Volume:
    """(x - p_low) / (p_high - p_low), percentiles over all voxels of the volume, clipped to [0, 1].

    Thesis, section 4.2.1.

    Raises:
        SegShiftError: ``low`` and ``high`` are no percentiles, or both stand for the same value.
    """
    if not 0 <= low < high <= 100:
        raise SegShiftError(f"percentile: low {low} and high {high} must satisfy 0 <= low < high <= 100")
    bottom, top = np.percentile(volume.image.astype(np.float64), [low, high])
    if bottom == top:
        raise SegShiftError(
            f"percentile: percentiles {low} and {high} of the volume are the same value, {bottom:g}"
        )
    image = (volume.image - bottom) / (top - bottom)
    return volume.with_(image=np.clip(image, 0, 1).astype(np.float32))


def z(volume: Volume) -> Volume:
    """Zero mean and unit (population) standard deviation over all voxels of the volume.

    Raises:
        SegShiftError: the volume is constant.
    """
    image = volume.image.astype(np.float64)
    if image.min() == image.max():
        raise SegShiftError(f"z: every voxel of the volume has the same value, {image.flat[0]:g}")
    return volume.with_(image=((image - image.mean()) / image.std()).astype(np.float32))


def min_max(volume: Volume) -> Volume:
    """(x - minimum) / (maximum - minimum) over all voxels of the volume.

    Raises:
        SegShiftError: the volume is constant.
    """
    image = volume.image.astype(np.float64)
    bottom, top = image.min(), image.max()
    if bottom == top:
        raise SegShiftError(f"min_max: every voxel of the volume has the same value, {bottom:g}")
    return volume.with_(image=((image - bottom) / (top - bottom)).astype(np.float32))


def resample(volume: Volume, *, pixel: float, labels: str = "linear") -> Volume:
    """Resample every slice to a pixel size, without anti-aliasing. Slices keep their distance.

    The new grid has the old one's centre and round(n · spacing / pixel) pixels a side; outside the old
    centres the border pixel is repeated.

    Args:
        volume: any.
        pixel: side of a pixel, mm.
        labels: ``linear`` (each class linearly, then the class of the largest share; a tie goes to the lower
            value) or ``nearest``.

    Raises:
        SegShiftError: a pixel size that is not positive, or an unknown ``labels``.
    """
    if not pixel > 0:
        raise SegShiftError(f"resample: pixel {pixel} must be a positive number of mm")
    steps = [pixel / side for side in volume.spacing[1:]]
    size = [max(1, round(n / step)) for n, step in zip(volume.image.shape[1:], steps, strict=True)]
    return _regrid(volume, size, steps, labels, "resample")


def resize(volume: Volume, *, size: int | Sequence[int], labels: str = "nearest") -> Volume:
    """Resize every slice to ``size`` pixels (one number, or height and width); its field of view stays.

    Args:
        volume: any.
        size: pixels.
        labels: ``nearest`` or ``linear``, see ``resample``.

    Raises:
        SegShiftError: a size that is not two positive integers, or an unknown ``labels``.
    """
    size = _pair(size, "resize")
    steps = [n / new for n, new in zip(volume.image.shape[1:], size, strict=True)]
    return _regrid(volume, size, steps, labels, "resize")


def crop_pad(volume: Volume, *, size: int | Sequence[int]) -> Volume:
    """Crop or pad every slice around its centre to ``size`` pixels (one number, or height and width).

    Padding is 0 in image and label, so it belongs after the step that brings the image to [0, 1]. Of an odd
    difference the odd pixel is cropped or added at the end.

    Raises:
        SegShiftError: a size that is not two positive integers.
    """
    size = _pair(size, "crop_pad")
    # int() rounds towards zero, so that padding and then cropping gives the slice back
    start = [int((n - new) / 2) for n, new in zip(volume.image.shape[1:], size, strict=True)]
    moved = np.eye(4)
    moved[1:3, 3] = start
    label = None if volume.label is None else _window(volume.label, start, size)
    return volume.with_(image=_window(volume.image, start, size), label=label, affine=volume.affine @ moved)


STEPS = {step.__name__: step for step in (percentile, z, min_max, resample, crop_pad, resize)}


def parse(step: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and parameters of an entry of a ``preprocess`` list.

    Raises:
        SegShiftError: not a name or a dict of one name, an unknown step, or unknown or missing parameters.
    """
    if isinstance(step, str):
        name, given = step, {}
    elif isinstance(step, dict) and len(step) == 1:
        name, given = next(iter(step.items()))
        given = given or {}
    else:
        raise SegShiftError(
            f"preprocess: {step!r} is neither a step's name nor {{name: {{parameter: value}}}}"
        )
    if name not in STEPS:
        raise unknown("preprocess: unknown step", name, STEPS)
    if not isinstance(given, dict):
        raise SegShiftError(
            f"preprocess: the parameters of {name} must be {{parameter: value}}, not {given!r}"
        )
    known = [p for p in inspect.signature(STEPS[name]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key in given:
        if key not in [p.name for p in known]:
            raise unknown(f"preprocess: {name} has no parameter", key, [p.name for p in known])
    missing = [p.name for p in known if p.default is p.empty and p.name not in given]
    if missing:
        raise SegShiftError(f"preprocess: {name} needs {', '.join(missing)}")
    return name, given


def apply(volume: Volume, steps: Sequence[str | dict[str, Any]]) -> Volume:
    """Apply the steps of a ``preprocess`` list in order.

    Raises:
        SegShiftError: see ``parse``; or a step refused the volume.
    """
    for name, given in [parse(step) for step in steps]:
        volume = STEPS[name](volume, **given)
    return volume


def integers(label: np.ndarray, source: str) -> np.ndarray:
    """A label array as integers, whatever type a file stores it in.

    Raises:
        SegShiftError: it holds other values, with the first of them and ``source``.
    """
    if np.issubdtype(label.dtype, np.integer):
        return label
    whole = np.isfinite(label) & (label == np.rint(label))
    if not whole.all():
        raise SegShiftError(f"{source}: the label holds {label[~whole][0]:g}, which is no class number")
    return label.astype(np.int32)


def _pair(size: int | Sequence[int], step: str) -> list[int]:
    pair = [size, size] if isinstance(size, int) else list(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        raise SegShiftError(f"{step}: size {size!r} must be one positive integer, or height and width")
    return pair


def _window(array: np.ndarray, start: list[int], size: list[int]) -> np.ndarray:
    result = np.zeros((len(array), *size), array.dtype)
    source, target = [], []
    for first, new, n in zip(start, size, array.shape[1:], strict=True):
        source.append(slice(max(first, 0), min(first + new, n)))
        target.append(slice(max(-first, 0), min(n - first, new)))
    result[:, target[0], target[1]] = array[:, source[0], source[1]]
    return result


def _regrid(volume: Volume, size: list[int], steps: list[float], labels: str, name: str) -> Volume:
    """Sample slices on a grid of ``size`` pixels, ``steps`` old pixels apart, with the old grid's centre."""
    if labels not in ("linear", "nearest"):
        raise unknown(f"{name}: unknown labels", labels, ("linear", "nearest"))
    centres = [(n - 1) / 2 for n in volume.image.shape[1:]]
    offsets = [centre - (new - 1) / 2 * step for centre, new, step in zip(centres, size, steps, strict=True)]
    places = [offset + step * np.arange(new) for offset, new, step in zip(offsets, size, steps, strict=True)]
    grid = np.diag([1.0, *steps, 1.0])
    grid[1:3, 3] = offsets
    label = volume.label
    if label is not None:
        label = _linear_label(label, places) if labels == "linear" else _nearest(label, places)
    sides = (side * step for side, step in zip(volume.spacing[1:], steps, strict=True))
    image = _linear(volume.image.astype(np.float32), places)
    return Volume(image, label, (volume.spacing[0], *sides), volume.affine @ grid)


def _linear(array: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    for axis, place in zip((1, 2), places, strict=True):
        place = np.clip(place, 0, array.shape[axis] - 1)
        below = np.minimum(np.floor(place).astype(int), max(array.shape[axis] - 2, 0))
        above = np.minimum(below + 1, array.shape[axis] - 1)
        share = (place - below).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
        first = array.take(below, axis)
        array = first + (array.take(above, axis) - first) * share
    return array


def _linear_label(label: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    best = np.full((len(label), *map(len, places)), -1, np.float32)
    result = np.zeros(best.shape, label.dtype)
    for value in np.unique(label):  # one at a time: memory of one volume, however many classes
        share = _linear((label == value).astype(np.float32), places)
        larger = share > best
        best[larger], result[larger] = share[larger], value
    return result


def _nearest(label: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    for axis, place in zip((1, 2), places, strict=True):
        nearest = np.clip(np.floor(place + 0.5).astype(int), 0, label.shape[axis] - 1)
        label = label.take(nearest, axis)
    return label
