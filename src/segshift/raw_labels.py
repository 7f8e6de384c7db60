"""The labels on the reader's own voxels, kept beside what was prepared: the truth of ``space: native``.

``<split>.h5`` of the splits that are scored hold ``raw_label`` uint8 [z, y, x] in a volume's group, class
indices on the grid of ``raw_shape`` and ``raw_affine``, compressed, one slice a chunk; it is left out where
preparing changed no label. ``raw_label`` of a volume in the manifest is its sha256. The digest of the
prepared data does not cover it, so that data that was prepared before is the same data.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from segshift.errors import SegShiftError
from segshift.prepared import Prepared, PreparedVolume

NAME = "raw_label"


@dataclass(frozen=True, eq=False)
class VolumeWithRawLabel(PreparedVolume):
    """A prepared volume and, uint8 on its raw grid, its label before any step."""

    raw_label: np.ndarray

    def write_raw(self, file: h5py.File) -> dict[str, Any]:
        """Store the raw label beside the volume, which was written; returns what the manifest says of it."""
        label, info = self.raw_label, self.info
        same = label.shape == self.label.shape and np.array_equal(info.affine, info.raw_affine)
        if not same or not np.array_equal(label, self.label):
            chunk = (1, *label.shape[1:])
            file[info.id].create_dataset(NAME, data=label, chunks=chunk, compression="gzip")
        return {NAME: _digest(label)}


def read(prepared: Prepared, split: str, id: str) -> np.ndarray:
    """Class indices uint8 [z, y, x] of a volume on its raw grid.

    Raises:
        SegShiftError: they were not kept, the file is damaged, or they are not what the manifest says.
    """
    expected = _expected(prepared)[split, id]
    file = prepared.folder / f"{split}.h5"
    try:
        with h5py.File(file, "r", locking=False) as content:
            group = content[id]
            label = group[NAME][()] if NAME in group else group["label"][()]
    except (OSError, KeyError) as error:
        raise SegShiftError(f"{file}: the label of {id} cannot be read: {error}") from error
    if _digest(label) != expected:
        raise SegShiftError(
            f"{file}: the raw label of {id} is not what its manifest says; "
            f"run: segshift prepare {prepared.folder.name}"
        )
    return label


def digest(prepared: Prepared) -> str:
    """sha256 of the data that native scores are made from: what was prepared, and the raw labels.

    Raises:
        SegShiftError: raw labels were not kept.
    """
    total = hashlib.sha256(prepared.sha256.encode())
    for (split, id), one in sorted(_expected(prepared).items()):
        total.update(f"\n{split} {id} {one}".encode())
    return total.hexdigest()


def _expected(prepared: Prepared) -> dict[tuple[str, str], str]:
    splits = {split: prepared.manifest["splits"][split]["volumes"] for split in ("validation", "test")}
    entries = {(split, entry["id"]): entry for split, volumes in splits.items() for entry in volumes}
    if any(NAME not in entry for entry in entries.values()):
        name = prepared.folder.name
        raise SegShiftError(
            f"{prepared.folder} was prepared before raw labels were kept, which native scores need; "
            f"run: segshift prepare {name}"
        )
    return {place: entry[NAME] for place, entry in entries.items()}


def _digest(label: np.ndarray) -> str:
    shape = " ".join(map(str, label.shape))
    return hashlib.sha256(f"{shape}\n".encode() + np.ascontiguousarray(label, "u1").tobytes()).hexdigest()
