"""Another number of pixels over the same field of view."""

from collections.abc import Sequence

from segshift.layers.regridding import pair, regrid
from segshift.volumes import Volume


def apply(volume: Volume, *, size: int | Sequence[int], labels: str = "nearest") -> Volume:
    """Resize every slice to ``size`` pixels (one number, or height and width); its field of view stays.

    Args:
        volume: any.
        size: pixels.
        labels: ``nearest`` or ``linear``, see ``resample``.

    Raises:
        SegShiftError: a size that is not two positive integers, or an unknown ``labels``.
    """
    size = [len(volume.image), *pair(size, "resize")]
    steps = [n / new for n, new in zip(volume.image.shape[:3], size, strict=True)]
    return regrid(volume, size, steps, labels, "resize")
