"""Turning volumes without interpolation. Slices are laid out as radiologists look at them:

======== =============================== =================== ====================
plane    slices                          row 0               column 0
======== =============================== =================== ====================
axial    inferior to superior            anterior            the patient's right
coronal  posterior to anterior           superior            the patient's right
sagittal the patient's left to right     superior            anterior
======== =============================== =================== ====================
"""

import nibabel
import numpy as np

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Volume

# of slices, rows and columns: the axis of scanner space (RAS+) that they follow, and in which direction
PLANES = {
    "axial": ((2, 1), (1, -1), (0, -1)),
    "coronal": ((1, 1), (2, -1), (0, -1)),
    "sagittal": ((0, 1), (2, -1), (1, -1)),
}


def plane_of(affine: np.ndarray) -> str:
    """The plane whose normal is closest to the axis of slices.

    Raises:
        SegShiftError: the affine has no inverse.
    """
    normal = _closest(affine)[0][0]
    return next(name for name, axes in PLANES.items() if axes[0][0] == normal)


def turn(volume: Volume, plane: str) -> Volume:
    """The same voxels, sliced along a plane and laid out as the table says; the affine follows.

    Raises:
        SegShiftError: an unknown plane, or the affine has no inverse.
    """
    if plane not in PLANES:
        raise unknown("unknown plane", plane, PLANES)
    found = _closest(volume.affine)
    where = {axis: number for number, (axis, _) in enumerate(found)}
    order = [where[axis] for axis, _ in PLANES[plane]]
    backwards = [found[old][1] != sign for old, (_, sign) in zip(order, PLANES[plane], strict=True)]
    flips = tuple(slice(None, None, -1) if back else slice(None) for back in backwards)
    moved = np.zeros((4, 4))
    moved[3, 3] = 1
    for new, (old, back) in enumerate(zip(order, backwards, strict=True)):
        moved[old, new] = -1 if back else 1
        moved[old, 3] = volume.image.shape[old] - 1 if back else 0
    turned = volume.each(
        lambda array: np.ascontiguousarray(array.transpose([*order, *range(3, array.ndim)])[flips])
    )
    return turned.with_(spacing=tuple(volume.spacing[old] for old in order), affine=volume.affine @ moved)


def _closest(affine: np.ndarray) -> list[tuple[int, int]]:
    """Of each axis of the array: the axis of scanner space that it follows, and 1 or -1."""
    found = nibabel.io_orientation(affine)
    if np.isnan(found).any():
        raise SegShiftError("the affine maps different voxels to the same place")
    return [(int(axis), int(sign)) for axis, sign in found]
