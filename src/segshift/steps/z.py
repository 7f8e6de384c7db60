"""Zero mean and unit (population) standard deviation over all voxels of the volume."""

import numpy as np

from segshift.errors import SegShiftError
from segshift.volumes import Volume


def apply(volume: Volume) -> Volume:
    """(x - mean) / standard deviation. `min_max` after it brings the values to [0, 1].

    Raises:
        SegShiftError: the volume is constant.
    """
    image = volume.image.astype(np.float64)
    if image.min() == image.max():
        raise SegShiftError(f"z: every voxel of the volume has the same value, {image.flat[0]:g}")
    return volume.with_(image=((image - image.mean()) / image.std()).astype(np.float32))
