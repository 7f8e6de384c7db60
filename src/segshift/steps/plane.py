"""Slices along another plane, laid out as the table in ``layers/orientation.py`` says. Nothing is
interpolated."""

from segshift.layers import orientation
from segshift.volumes import Volume


def apply(volume: Volume, *, plane: str) -> Volume:
    """Slice the volume along ``axial``, ``coronal`` or ``sagittal``, by the closest axes of its affine.

    Raises:
        SegShiftError: an unknown plane, or the affine has no inverse.
    """
    return orientation.turn(volume, plane)
