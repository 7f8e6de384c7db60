"""Parts of drawn phantoms: a warped plane, soft shapes, smooth random fields; twice as fine as the slice."""

import numpy as np
from scipy import ndimage

FINE = 2  # pixels a side of one pixel of the slice: edges are then as soft as a voxel makes them


def field(random: np.random.Generator, shape: tuple[int, ...], width: tuple[float, ...]) -> np.ndarray:
    """A smooth random field with deviation 1; ``width`` in voxels."""
    noise = ndimage.gaussian_filter(random.normal(size=shape), width)
    return noise / noise.std()


class Canvas:
    """An image and a label in the making, on a turned, scaled, shifted and warped plane.

    ``x`` (columns), ``y`` (rows) and ``z`` (slices) run from -1 to 1. ``warp`` is the amplitude of smooth
    displacements in these units.
    """

    def __init__(self, random: np.random.Generator, size: int, slices: int, warp: float) -> None:
        self.random, self.size = random, size
        fine = FINE * size
        across = (np.arange(fine) + 0.5) / fine * 2 - 1
        z, y, x = np.meshgrid(np.linspace(-1, 1, slices), across, across, indexing="ij")
        wide = (1.5, fine / 10, fine / 10)
        x = x + warp * field(random, x.shape, wide)
        y = y + warp * field(random, x.shape, wide)
        turn, scale, right, down = random.normal((0, 1, 0, 0), (0.06, 0.04, 0.03, 0.03))
        self.y = (y * np.cos(turn) - x * np.sin(turn)) * scale + down
        self.x = (y * np.sin(turn) + x * np.cos(turn)) * scale + right
        self.z = z
        self.image, self.label = np.zeros(x.shape), np.zeros(x.shape, np.uint8)

    def lumpy(self, amplitude: float, width: float, along: float = 1.0) -> np.ndarray:
        """A field that makes an outline or a tissue uneven; ``width`` in pixels of a 64-pixel slice."""
        pixels = width * FINE * self.size / 64
        return amplitude * field(self.random, self.x.shape, (along, pixels, pixels))

    def ellipse(self, x: float, y: float, across: float, down: float) -> np.ndarray:
        """Below 1 inside; centre and half axes."""
        return ((self.x - x) / across) ** 2 + ((self.y - y) / down) ** 2

    def fill(self, where: np.ndarray, value: float | np.ndarray, label: int | None = None) -> None:
        """Paint a region, and label it."""
        self.image[where] = value[where] if isinstance(value, np.ndarray) else value
        if label is not None:
            self.label[where] = label

    def slices(self, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label at the slice's own pixels: the mean, and the class that fills most of a pixel."""
        label = np.stack([_mean(self.label == index) for index in range(classes)]).argmax(0)
        return _mean(self.image), label.astype(np.uint8)


def _mean(fine: np.ndarray) -> np.ndarray:
    slices, rows, columns = fine.shape
    return fine.reshape(slices, rows // FINE, FINE, columns // FINE, FINE).mean((2, 4))
