"""What a made-up scanner does to an image: the last step of every phantom."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Scanner:
    """A scanner.

    ``gamma`` bends the contrast curve; ``blur`` in pixels of a 64-pixel slice (rows, columns); ``view``
    scales the field of view; ``ghost`` is the strength of a copy shifted along the rows; ``resolution`` the
    share of the pixels that were acquired along a side, the rest is interpolated.
    """

    gamma: float = 1.0
    bias: float = 0.0
    noise: float = 0.0
    blur: tuple[float, float] = (0.0, 0.0)
    view: float = 1.0
    ghost: float = 0.0
    resolution: float = 1.0


def scan(image: np.ndarray, scanner: Scanner, random: np.random.Generator) -> np.ndarray:
    """Gamma, blur, bias field, ghost, resolution, Rician noise; then percentiles 1 to 99 to [0, 1].

    Args:
        image: tissue intensities [slice, row, column], square slices.
        scanner: what sees them.
        random: of the bias field, the ghost and the noise.

    Returns:
        float32 of the same shape.
    """
    slices, size, _ = image.shape
    image = np.clip(image, 0, 1.3) ** scanner.gamma
    image = ndimage.gaussian_filter(image, (0, *(blur * size / 64 for blur in scanner.blur)))
    across = np.linspace(-1, 1, size)
    z, y, x = np.meshgrid(np.linspace(-1, 1, slices), across, across, indexing="ij")
    bias = random.normal(0, 1, 5) * scanner.bias
    fields = (x, y, x * y, x * x - y * y, 0.5 * z)
    image = image * np.exp(sum(factor * field for factor, field in zip(bias, fields, strict=True)))
    if scanner.ghost:
        strength = scanner.ghost * random.uniform(0.3, 1)
        image = image + strength * np.roll(image, int(size * random.uniform(0.35, 0.5)), 1)
    if scanner.resolution != 1:
        image = _coarse(image, scanner.resolution)
    real, imaginary = random.normal(0, scanner.noise, (2, *image.shape))
    image = np.sqrt((image + real) ** 2 + imaginary**2)
    low, high = np.percentile(image, [1, 99])
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def _coarse(image: np.ndarray, resolution: float) -> np.ndarray:
    """Sampled at fewer pixels and brought back."""
    size = image.shape[1]
    acquired = max(round(size * resolution), 2)
    smooth = ndimage.gaussian_filter(image, (0, *(0.4 * size / acquired,) * 2))
    few = ndimage.zoom(smooth, (1, acquired / size, acquired / size), order=1, grid_mode=True, mode="nearest")
    back = ndimage.zoom(few, (1, size / acquired, size / acquired), order=3, grid_mode=True, mode="nearest")
    return np.clip(back, 0, None)
