"""Slices as radiologists look at them: the plane stays, its rows, columns and their directions become those
of the table in ``layers/orientation.py``. Nothing is interpolated."""

from segshift.layers import orientation
from segshift.volumes import Volume


def apply(volume: Volume) -> Volume:
    """Turn and flip the volume within its plane of slices, by the closest axes of its affine.

    Raises:
        SegShiftError: the affine has no inverse.
    """
    return orientation.turn(volume, orientation.plane_of(volume.affine))
