"""(x - p_low) / (p_high - p_low), clipped to [0, 1]; percentiles over all voxels of the volume.

Thesis, section 4.2.1.
"""

import numpy as np

from segshift.errors import SegShiftError
from segshift.volumes import Volume


def apply(volume: Volume, *, low: float = 1, high: float = 99) -> Volume:
    """Bring the values between two percentiles to [0, 1].

    Percentiles are interpolated linearly between ranks.

    Raises:
        SegShiftError: ``low`` and ``high`` are no percentiles, or both stand for the same value.
    """
    if not 0 <= low < high <= 100:
        raise SegShiftError(f"percentile: low {low} and high {high} must satisfy 0 <= low < high <= 100")
    bottom, top = np.percentile(volume.image.astype(np.float64), [low, high], overwrite_input=True)
    if bottom == top:
        raise SegShiftError(
            f"percentile: percentiles {low} and {high} of the volume are the same value, {bottom:g}"
        )
    image = volume.image - bottom  # float64; from here in place, for it is the largest array of most datasets
    image /= top - bottom
    return volume.with_(image=np.clip(image, 0, 1, out=image).astype(np.float32))
