"""What is wrong with one volume, before and after its steps: one sentence each."""

from typing import Any

import numpy as np

from segshift.errors import SegShiftError
from segshift.volumes import Volume

ROUNDING = 1e-6  # interpolation of values in [0, 1] may leave it by a rounding error
SIDES = (0.02, 50.0)  # mm: a voxel's side outside is a unit mistaken, not a scan
AGREE = 0.01  # relative difference of spacing and affine


def before(volume: Volume, settings: dict[str, Any]) -> None:
    """Check what a reader gave.

    Raises:
        SegShiftError: shape, geometry, values or label are not what a scan's can be.
    """
    image, label = volume.image, volume.label
    colour = image.ndim == 4 and image.shape[3] == 3
    if not (image.ndim == 3 or colour) or 0 in image.shape:
        raise SegShiftError(f"the image has shape {image.shape}, not [slices, H, W] or [slices, H, W, 3]")
    if label is None:
        raise SegShiftError("there is no label")
    for name, other in (("label", label), ("brain mask", volume.mask)):
        if other is not None and other.shape != image.shape[:3]:
            raise SegShiftError(f"the image has shape {image.shape}, the {name} {other.shape}")
    bad = int(np.count_nonzero(~np.isfinite(image)))
    if bad:
        raise SegShiftError(f"{bad} voxels of the image are NaN or infinite")
    if image.min() == image.max():
        raise SegShiftError(f"every voxel of the image has the same value, {image.flat[0]:g}")
    _geometry(volume, "spacing" in (settings.get("accept") or []))


def foreground(label: np.ndarray, settings: dict[str, Any]) -> None:
    """Check that something is labelled.

    Raises:
        SegShiftError: a volume of background alone, unless the entry accepts such.
    """
    if not label.any() and "empty_labels" not in (settings.get("accept") or []):
        raise SegShiftError(
            "the label is background alone; if such volumes belong here: `accept: [empty_labels]` in the "
            "dataset's entry"
        )


def after(volume: Volume) -> None:
    """Check what the steps made of it.

    Raises:
        SegShiftError: values outside [0, 1].
    """
    low, high = float(volume.image.min()), float(volume.image.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise SegShiftError(
            f"values lie in [{low:g}, {high:g}] after the steps, not in [0, 1]: `preprocess` lacks a "
            "step that brings them there (percentile or min_max), or the reader hdf5_stack `scale: 255`"
        )


def _geometry(volume: Volume, any_spacing: bool) -> None:
    affine, spacing = np.asarray(volume.affine, float), np.asarray(volume.spacing, float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not np.isfinite(spacing).all():
        raise SegShiftError(f"its geometry is broken: spacing {_sides(spacing)}, affine {affine.tolist()}")
    small, large = SIDES
    if (spacing <= 0).any() or (not any_spacing and ((spacing < small) | (spacing > large)).any()):
        raise SegShiftError(
            f"a spacing of {_sides(spacing)} mm (slices, rows, columns) is absurd: sides between {small:g} "
            f"and {large:g} mm are expected; if it is right: `accept: [spacing]` in the dataset's entry"
        )
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(columns - spacing) > AGREE * spacing).any():
        raise SegShiftError(f"spacing {_sides(spacing)} mm and affine ({_sides(columns)} mm) do not agree")
    if abs(np.linalg.det(affine[:3, :3])) < 0.1 * np.prod(columns):  # axes nearly in one plane
        raise SegShiftError("its affine maps different voxels to the same place")


def _sides(values: np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in values)
