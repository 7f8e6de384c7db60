"""What a dataset's reader gives and a pre-processing step takes: cases and volumes. Numpy only.

A step is a file ``steps/<step>.py`` with ``apply(volume, *, parameters) -> Volume``; an entry of
``datasets.yaml`` names it as ``percentile`` or with parameters as ``{percentile: {low: 1}}``. Steps that move
voxels keep the affine exact: it maps the index of a voxel to the centre of that voxel in scanner space.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from segshift.errors import SegShiftError


@dataclass(frozen=True)
class Case:
    """One volume to be read: who it is of, which split it belongs to (None: a split list says so), and where
    it is.

    ``where`` is the dataset module's own business: paths, an index in a file.
    """

    id: str
    patient: str
    split: str | None
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """A volume with slices along the first axis.

    ``image`` float32 [z, y, x], in colour [z, y, x, 3]; ``label`` integer [z, y, x] or None; ``spacing`` in
    mm (z, y, x);
    ``affine`` 4 × 4, from voxel indices (z, y, x) of these arrays to scanner space in mm (x, y, z; RAS+).
    ``mask`` bool [z, y, x] of the brain (or other region of interest) where the data bring one.
    """

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray
    mask: np.ndarray | None = None

    def with_(self, **changes: Any) -> "Volume":
        return replace(self, **changes)

    def each(self, function: Callable[[np.ndarray], np.ndarray]) -> "Volume":
        """Image, label and mask, each through the same function."""
        label, mask = (None if one is None else function(one) for one in (self.label, self.mask))
        return self.with_(image=function(self.image), label=label, mask=mask)


def integers(label: np.ndarray, source: str) -> np.ndarray:
    """A label array as integers, whatever type a file stores it in.

    Raises:
        SegShiftError: it holds other values, with the first of them and ``source``.
    """
    if np.issubdtype(label.dtype, np.integer):
        return label
    whole = np.isfinite(label) & (label == np.rint(label))
    if not whole.all():
        raise SegShiftError(f"{source}: the label holds {label[~whole][0]:g}, which is no class number")
    return label.astype(np.int32)
