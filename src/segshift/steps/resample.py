"""Another pixel size, slice by slice, and if asked another distance of slices."""

from segshift.errors import SegShiftError
from segshift.layers.regridding import regrid
from segshift.volumes import Volume


def apply(volume: Volume, *, pixel: float, labels: str = "linear", thickness: float | None = None) -> Volume:
    """Resample to a pixel size, without anti-aliasing. Slices keep their distance unless one is asked.

    The new grid has the old one's centre and round(n · spacing / pixel) pixels a side; outside the old
    centres the border pixel is repeated.

    Args:
        volume: any.
        pixel: side of a pixel, mm.
        labels: ``linear`` (each class linearly, then the class of the largest share; a tie goes to the lower
            value) or ``nearest``.
        thickness: distance of slices, mm; default: as it is.

    Raises:
        SegShiftError: a size that is not positive, or an unknown ``labels``.
    """
    for name, side in (("pixel", pixel), ("thickness", thickness)):
        if side is not None and not side > 0:
            raise SegShiftError(f"resample: {name} {side} must be a positive number of mm")
    steps = [1.0, *(pixel / side for side in volume.spacing[1:])]
    if thickness is not None:
        steps[0] = thickness / volume.spacing[0]
    size = [max(1, round(n / step)) for n, step in zip(volume.image.shape[:3], steps, strict=True)]
    return regrid(volume, size, steps, labels, "resample")
