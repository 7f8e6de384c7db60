"""N4 bias field correction: the smooth inhomogeneity of an MR image is estimated and divided out.

Tustison et al., N4ITK: improved N3 bias correction, IEEE Transactions on Medical Imaging 29 (2010), as
SimpleITK has it. The field is estimated on every n-th voxel (``shrink``) and applied to all.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Volume

MASKS = ("otsu", "nonzero", "brain")
LEAST = 8  # slices, rows or columns that shrinking leaves, where there are as many


def apply(
    volume: Volume, *, mask: str = "otsu", shrink: int = 4, iterations: int = 50, levels: int = 4
) -> Volume:
    """Correct an image in raw intensities; background may be 0.

    One thread, for several add in another order and give other last bits. Memory: the image twice as
    float32, and the shrunken image a few times.

    Args:
        volume: before any normalization; no negative values.
        mask: where the field is estimated: ``otsu`` (brighter than Otsu's threshold of 200 bins),
            ``nonzero``, or ``brain`` (the mask that the reader found). Voxels at 0 never count.
        shrink: every how many voxels of each axis are used; less where fewer than eight would be left.
        iterations: at most, at each level.
        levels: of resolution; the grid of the spline doubles with each.

    Raises:
        SegShiftError: negative values, an unknown or empty mask, no mask where ``brain`` is asked, or a
            volume too thin for the estimate.
    """
    image = np.ascontiguousarray(volume.image, np.float32)
    if image.ndim != 3:
        raise SegShiftError("n4: a colour image has no bias field")
    for name, value in (("shrink", shrink), ("iterations", iterations), ("levels", levels)):
        if not isinstance(value, int) or value < 1:
            raise SegShiftError(f"n4: {name} {value!r} must be a positive integer")
    if image.min() < 0:
        raise SegShiftError(
            f"n4: the image holds negative values, down to {image.min():g}: N4 takes logarithms, so it "
            "belongs before z, and CT needs none"
        )
    whole = _itk(image, volume.spacing)
    inside = _itk(_mask(volume, whole, mask), volume.spacing)
    # SimpleITK's axes are x, y, z
    factors = [min(shrink, max(1, n // LEAST)) for n in reversed(image.shape)]
    try:
        with _one_thread():
            correct = sitk.N4BiasFieldCorrectionImageFilter()
            correct.SetMaximumNumberOfIterations([iterations] * levels)
            correct.Execute(sitk.Shrink(whole, factors), sitk.Shrink(inside, factors))
            field = sitk.GetArrayFromImage(correct.GetLogBiasFieldAsImage(whole))
    except RuntimeError:
        size = " x ".join(map(str, image.shape))
        count = np.count_nonzero(sitk.GetArrayViewFromImage(inside))
        raise SegShiftError(
            f"n4: no field can be estimated on {size} voxels, {count} of them in the mask {mask}"
        ) from None
    return volume.with_(image=image / np.exp(field))


def _mask(volume: Volume, whole: sitk.Image, mask: str) -> np.ndarray:
    if mask not in MASKS:
        raise unknown("n4: unknown mask", mask, MASKS)
    inside = volume.image > 0
    if mask == "otsu":
        inside &= sitk.GetArrayFromImage(sitk.OtsuThreshold(whole, 0, 1, 200)) > 0
    elif mask == "brain":
        if volume.mask is None:
            raise SegShiftError("n4: mask is brain, but the reader found no brain mask")
        inside &= volume.mask
    if not inside.any():
        raise SegShiftError(f"n4: no voxel lies in the mask {mask}")
    return inside.astype(np.uint8)


@contextmanager
def _one_thread() -> Iterator[None]:
    """The filter hands its own number of threads not to the filters within it; they take the default."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _itk(array: np.ndarray, spacing: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(side) for side in reversed(spacing)])
    return image
