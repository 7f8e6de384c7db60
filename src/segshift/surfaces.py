"""HD95, ASSD and NSD of a structure, from one distance transform for its truth and one for its prediction.

Definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21 (2024), with voxel centres as the
points of a surface. What libraries do differently stands in ``docs/metrics.md``.
"""

from collections.abc import Sequence
from math import dist
from typing import NamedTuple

import numpy as np
from scipy import ndimage

# A spacing that a file holds in single precision must not decide whether a distance is within tolerance.
SLACK = 1e-4  # mm


class Surface(NamedTuple):
    """``hd95`` and ``assd`` in mm, ``nsd`` in percent; None where the structure is in neither."""

    hd95: float | None
    assd: float | None
    nsd: float | None


def missed(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """What HD95 and ASSD are where truth or prediction lacks the structure: the grid's diagonal in mm.

    No two voxels lie farther apart, so nothing that was found is ever worse than what was not.
    """
    return dist([0.0] * len(shape), [(n - 1) * side for n, side in zip(shape, spacing, strict=True)])


def surfaces(
    truth: np.ndarray, prediction: np.ndarray, classes: int, spacing: Sequence[float], tolerance: float
) -> list[Surface]:
    """The metrics of every foreground class, in the order of the classes.

    Args:
        truth: class indices [z, y, x].
        prediction: the same.
        classes: how many there are, with background.
        spacing: mm (z, y, x).
        tolerance: mm that a surface may lie off and still count for NSD.
    """
    boxes = [_boxes(labels, classes) for labels in (truth, prediction)]
    worst = missed(truth.shape, spacing)
    flat = tuple(n == 1 for n in truth.shape)
    found = []
    for number, (true_box, predicted_box) in enumerate(zip(*boxes, strict=True), 1):
        if true_box is None and predicted_box is None:
            found.append(Surface(None, None, None))
        elif true_box is None or predicted_box is None:
            found.append(Surface(worst, worst, 0.0))
        else:
            box = _union(true_box, predicted_box)
            found.append(surface(truth[box] == number, prediction[box] == number, spacing, tolerance, flat))
    return found


def surface(
    truth: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    tolerance: float,
    flat: Sequence[bool] = (False, False, False),
) -> Surface:
    """The metrics of two masks that both show something. ``flat`` names axes along which there is no surface:
    those of a single slice."""
    borders = [border(mask, flat) for mask in (truth, prediction)]
    there, back = (_distances(*pair, spacing) for pair in (borders, borders[::-1]))
    total = len(there) + len(back)
    near = sum(int(np.count_nonzero(one <= tolerance + SLACK)) for one in (there, back))
    return Surface(
        hd95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float((there.sum() + back.sum()) / total),
        nsd=100 * near / total,
    )


def border(mask: np.ndarray, flat: Sequence[bool] = (False, False, False)) -> np.ndarray:
    """Voxels of a mask that share a face with what is not in it; beyond the array nothing is."""
    inner = mask.copy()
    for axis, ignored in enumerate(flat):
        if not ignored:
            here, mask_ = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
            here[1:] &= mask_[:-1]
            here[:-1] &= mask_[1:]
            here[0] = here[-1] = False
    return mask & ~inner


def _distances(start: np.ndarray, to: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """mm from each voxel of ``start`` to the nearest of ``to``."""
    # The indices of the nearest voxel are enough: a quarter of the memory of distances everywhere.
    nearest = ndimage.distance_transform_edt(
        ~to, sampling=spacing, return_distances=False, return_indices=True
    )
    places = np.nonzero(start)
    squares = 0.0
    for axis, side in enumerate(spacing):
        squares = squares + ((places[axis] - nearest[axis][places]) * side) ** 2
    return np.sqrt(squares)


def _boxes(labels: np.ndarray, classes: int) -> list[tuple[slice, ...] | None]:
    """The bounding box of every foreground class."""
    boxes = ndimage.find_objects(labels, max_label=classes - 1)
    return boxes + [None] * (classes - 1 - len(boxes))


def _union(one: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
