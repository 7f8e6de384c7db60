"""Volumes, and the named pre-processing steps that a dataset's entry lists. Numpy only."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """One volume to be read: who it is of, which split it belongs to (None: a split list says so), and where it is.

    ``where`` is the dataset module's own business: paths, an index in a file.
    """

    id: str
    patient: str
    split: str | None
    where: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Volume:
    """A volume with slices along the first axis.

    ``image`` float32 [z, y, x]; ``label`` integer [z, y, x] or None; ``spacing`` in mm (z, y, x);
    ``affine`` 4 × 4, from voxel indices (z, y, x) of these arrays to scanner space in mm (x, y, z; RAS+).
    """

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray

    def with_(self, **changes: Any) -> "Volume":
        return replace(self, **changes)
