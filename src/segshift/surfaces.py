"""HD95, ASSD and NSD of a structure, all from the distances of one search a surface.

Definitions: Maier-Hein, Reinke et al., Metrics reloaded, Nature Methods 21 (2024), with voxel centres as the
points of a surface. What libraries do differently stands in ``docs/metrics.md``.
"""

from collections.abc import Sequence
from math import dist
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

NEAR, FEW = 16, 500  # voxels within which most of a surface is, and surface voxels that are few
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
    """mm from each voxel of ``start`` to the nearest of ``to``: its distance transform where it is needed.

    What is near is found in a k-d tree of ``to``, which costs some surface voxels instead of all voxels. Far
    from a surface a tree has nothing to go by, so if more is far than a few the transform is made.
    """
    points, others = np.argwhere(start), np.argwhere(to)
    tree = KDTree(others * spacing)
    reach = NEAR * max(spacing)
    nearest = tree.query(points * spacing, distance_upper_bound=reach)[1]
    far = np.flatnonzero(nearest == len(others))
    if len(far) <= FEW:
        nearest[far] = tree.query(points[far] * spacing)[1]
        ends = others[nearest]
    else:
        ends = others[np.minimum(nearest, len(others) - 1)]
        # The indices of the nearest voxel are enough: a quarter of the memory of distances everywhere.
        transform = ndimage.distance_transform_edt(
            ~to, sampling=spacing, return_distances=False, return_indices=True
        )
        ends[far] = transform[:, *points[far].T].T
    # from whole numbers, so that a distance does not depend on where in the volume it lies
    return np.sqrt((((points - ends) * spacing) ** 2).sum(1))


def _boxes(labels: np.ndarray, classes: int) -> list[tuple[slice, ...] | None]:
    """The bounding box of every foreground class."""
    boxes = ndimage.find_objects(labels, max_label=classes - 1)
    return boxes + [None] * (classes - 1 - len(boxes))


def _union(one: tuple[slice, ...], other: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
