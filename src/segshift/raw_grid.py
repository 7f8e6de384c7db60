"""The way back: a prediction on the prepared grid becomes labels on the voxels that the reader gave.

Class probabilities are interpolated linearly along each axis, then the class of the largest share is taken,
as labels came to the prepared grid. Where every raw voxel in view is a prepared pixel (only cropped, padded,
flipped or turned) nothing is interpolated. What was cropped away is background.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segshift.errors import SegShiftError

ROUNDING = 1e-3  # voxels: the difference between a position and a whole number that is no difference


class RawGrid:
    """Takes predictions slice by slice; holds two slices of all classes at the raw in-plane size, and labels.

    Raw axes that run along prepared ones, whichever and in whichever direction, are what every
    pre-processing step makes of a volume; anything else is refused.

    Args:
        affine: from prepared indices (z, y, x) to mm.
        shape: the prepared shape.
        raw_affine: from raw indices to mm.
        raw_shape: the raw shape.
        multiple: predictions are of the centre that ``slices.crop`` leaves of the slices.
        keep: keep the probabilities of all classes too, float32.

    Raises:
        SegShiftError: the grids are turned against each other, or an affine has no inverse.
    """

    def __init__(
        self,
        affine: np.ndarray,
        shape: Sequence[int],
        raw_affine: np.ndarray,
        raw_shape: Sequence[int],
        multiple: int = 1,
        keep: bool = False,
    ) -> None:
        self.keep, self.kept = keep, None
        cut = [side % multiple for side in shape[1:]]
        centre = np.eye(4)
        centre[1:3, 3] = [odd // 2 for odd in cut]
        self.shape = (shape[0], *(side - odd for side, odd in zip(shape[1:], cut, strict=True)))
        try:
            matrix = np.linalg.inv(affine @ centre) @ raw_affine  # raw indices -> prepared indices
        except np.linalg.LinAlgError:
            raise SegShiftError("the affine of the prepared grid has no inverse") from None
        #: raw axis along each prepared axis
        self.axes = [int(axis) for axis in np.abs(matrix[:3, :3]).argmax(1)]
        # how far a raw voxel lies off its line at the far end of the volume, in prepared voxels
        skew = np.abs(matrix[:3, :3]) * (np.array(raw_shape) - 1)
        skew[range(3), self.axes] = 0
        if sorted(self.axes) != [0, 1, 2] or skew.max() > ROUNDING * max(*self.shape, *raw_shape):
            raise SegShiftError("the prepared grid is turned against the raw grid")
        self.places = [
            _snap(matrix[axis, 3] + matrix[axis, raw] * np.arange(raw_shape[raw]))
            for axis, raw in enumerate(self.axes)
        ]
        #: true if nothing is interpolated
        self.exact = all((place == np.rint(place)).all() for place in self.places)
        sizes = [len(place) for place in self.places]
        self.result = np.zeros(sizes, np.uint8)  # in the order of the prepared axes
        self.taken, self.last = 0, None
        self.order = np.argsort(np.clip(self.places[0], 0, self.shape[0] - 1), kind="stable")
        self.done = 0

    def add(self, logits: Tensor) -> None:
        """Take the next slices: logits (n, classes, H, W) on any device."""
        values = logits if self.exact and not self.keep else logits.float().softmax(1)
        if self.keep and self.kept is None:
            self.kept = np.zeros((*self.result.shape, logits.shape[1]), np.float32)
        for axis in (1, 2):
            values = _along(values, axis + 1, self.places[axis])
        for one in values:
            self._slice(one)

    def labels(self) -> np.ndarray:
        """Class indices uint8 on the raw grid, after the last slice.

        Raises:
            ValueError: slices are missing.
        """
        return self._seen(self.result, 0)

    def shares(self) -> np.ndarray:
        """Probabilities float32 [..., classes] on the raw grid, if kept; outside, background's is 1.

        Raises:
            ValueError: slices are missing.
        """
        return self._seen(self.kept, np.eye(1, self.kept.shape[-1], dtype=np.float32)[0])

    def _seen(self, values: np.ndarray, nothing: float | np.ndarray) -> np.ndarray:
        """An array in the order of the raw axes, with ``nothing`` where no prediction was made."""
        if self.taken != self.shape[0]:
            raise ValueError(f"{self.taken} of {self.shape[0]} slices were added")
        for axis, place in enumerate(self.places):
            outside = (place < -0.5) | (place >= self.shape[axis] - 0.5)
            values[(slice(None),) * axis + (outside,)] = nothing
        return np.ascontiguousarray(values.transpose([*np.argsort(self.axes), *range(3, values.ndim)]))

    def _slice(self, values: Tensor) -> None:
        """Write the raw slices that lie between the last slice and this one (classes, h, w), or on it."""
        number = self.taken
        while self.done < len(self.order):
            index = int(self.order[self.done])
            place = float(np.clip(self.places[0][index], 0, self.shape[0] - 1))
            if place > number:
                break
            share = place - (number - 1)  # of this slice
            mixed = values if share == 1 or self.last is None else torch.lerp(self.last, values, share)
            self.result[index] = mixed.argmax(0).to(torch.uint8).cpu().numpy()
            if self.keep:
                self.kept[index] = mixed.permute(1, 2, 0).cpu().numpy()
            self.done += 1
        self.last, self.taken = values, number + 1


def _along(values: Tensor, axis: int, places: np.ndarray) -> Tensor:
    """(n, classes, H, W) at positions along one axis: linear between pixels, constant beyond the ends."""
    size = values.shape[axis]
    if len(places) == size and np.array_equal(places, np.arange(size)):
        return values
    places = np.clip(places, 0, size - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, size - 1)
    first = values.index_select(axis, torch.from_numpy(below).to(values.device))
    if (places == below).all():
        return first
    shape = [-1 if number == axis else 1 for number in range(values.ndim)]
    share = torch.from_numpy((places - below).astype(np.float32)).to(values.device).reshape(shape)
    return torch.lerp(first, values.index_select(axis, torch.from_numpy(above).to(values.device)), share)


def _snap(places: np.ndarray) -> np.ndarray:
    """Positions of which those that rounding errors moved off a whole number are whole again."""
    whole = np.rint(places)
    return np.where(np.abs(places - whole) < ROUNDING, whole, places)
