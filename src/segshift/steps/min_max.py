"""(x - minimum) / (maximum - minimum) over all voxels of the volume."""

import numpy as np

from segshift.errors import SegShiftError
from segshift.volumes import Volume


def apply(volume: Volume) -> Volume:
    """Bring all values to [0, 1].

    Raises:
        SegShiftError: the volume is constant.
    """
    image = volume.image.astype(np.float64)
    bottom, top = image.min(), image.max()
    if bottom == top:
        raise SegShiftError(f"min_max: every voxel of the volume has the same value, {bottom:g}")
    return volume.with_(image=((image - bottom) / (top - bottom)).astype(np.float32))
