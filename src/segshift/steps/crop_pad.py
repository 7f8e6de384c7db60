"""Crop or pad every slice around its centre."""

from collections.abc import Sequence

import numpy as np

from segshift.layers.regridding import pair
from segshift.volumes import Volume


def apply(volume: Volume, *, size: int | Sequence[int]) -> Volume:
    """Crop or pad every slice to ``size`` pixels (one number, or height and width).

    Padding is 0 in image and label, so it belongs after the step that brings the image to [0, 1]. Of an odd
    difference the odd pixel is cropped or added at the end.

    Raises:
        SegShiftError: a size that is not two positive integers.
    """
    size = pair(size, "crop_pad")
    # int() rounds towards zero, so that padding and then cropping gives the slice back
    start = [int((n - new) / 2) for n, new in zip(volume.image.shape[1:3], size, strict=True)]
    moved = np.eye(4)
    moved[1:3, 3] = start
    return volume.each(lambda array: _window(array, start, size)).with_(affine=volume.affine @ moved)


def _window(array: np.ndarray, start: list[int], size: list[int]) -> np.ndarray:
    result = np.zeros((len(array), *size, *array.shape[3:]), array.dtype)
    source, target = [], []
    for first, new, n in zip(start, size, array.shape[1:3], strict=True):
        source.append(slice(max(first, 0), min(first + new, n)))
        target.append(slice(max(-first, 0), min(n - first, new)))
    result[:, target[0], target[1]] = array[:, source[0], source[1]]
    return result
