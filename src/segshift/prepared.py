"""The prepared format, one for all datasets: how it is written, identified and read.

``<folder>/{train,validation,test}.h5`` hold one group a volume: ``image`` float16 [z, y, x] in [0, 1] (of a
volume in colour [z, y, x, 3]; what reads it gets the channels before the rows),
``label`` uint8 [z, y, x], one slice a chunk, ``counts`` uint32 [z, classes] (pixels of each class in each
slice), and attributes ``patient``, ``spacing``, ``affine``, ``raw_shape`` and ``raw_affine`` (of the array
as its file had it); of the splits that are scored also the label on that raw grid, see
``raw_labels.py``. ``manifest.json`` describes them and carries the digest of all decoded arrays, so that
two files of the same content are the same data however HDF5 laid out their bytes.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segshift.errors import SegShiftError, unknown

SPLITS = ("train", "validation", "test")
Place = int | slice  # a slice of a volume, or consecutive ones


@dataclass(frozen=True, eq=False)
class VolumeInfo:
    """What is known of an unread volume. ``spacing`` in mm (z, y, x); affines as in ``volumes.Volume``."""

    id: str
    patient: str
    slices: int
    shape: tuple[int, int]
    spacing: tuple[float, float, float]
    affine: np.ndarray
    raw_shape: tuple[int, int, int]
    raw_affine: np.ndarray


@dataclass(frozen=True, eq=False)
class PreparedVolume:
    """A volume as it is stored: its arrays beside its ``VolumeInfo``."""

    info: VolumeInfo
    image: np.ndarray  # float16 [z, y, x], in colour [z, y, x, 3]
    label: np.ndarray  # uint8 [z, y, x]
    counts: np.ndarray  # uint32 [z, classes]

    def write(self, file: h5py.File) -> dict[str, Any]:
        """Store it in an open file; returns its entry in the manifest."""
        group, info = file.create_group(self.info.id), self.info
        group.create_dataset("image", data=self.image, chunks=(1, *self.image.shape[1:]))
        group.create_dataset("label", data=self.label, chunks=(1, *info.shape))
        group.create_dataset("counts", data=self.counts)
        attributes = {"patient": info.patient, "spacing": info.spacing, "affine": info.affine}
        group.attrs.update(attributes | {"raw_shape": info.raw_shape, "raw_affine": info.raw_affine})
        return {
            "id": info.id,
            "patient": info.patient,
            "slices": info.slices,
            "shape": list(info.shape),
            "spacing": list(info.spacing),
            "affine": info.affine.tolist(),
            "raw_shape": list(info.raw_shape),
            "raw_affine": info.raw_affine.tolist(),
            "counts": self.counts.sum(0, dtype=np.int64).tolist(),
            "sha256": digest(self.image, self.label, info.patient, info.spacing, info.affine),
        }


def digest(image: np.ndarray, label: np.ndarray, patient: str, spacing: Any, affine: Any) -> str:
    """sha256 of one volume's decoded content."""
    total = hashlib.sha256(f"{image.shape} {patient}\n".encode())
    for array, kind in ((image, "<f2"), (label, "u1"), (spacing, "<f8"), (affine, "<f8")):
        total.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return total.hexdigest()


def total_digest(volumes: dict[str, list[dict[str, Any]]]) -> str:
    """sha256 of a dataset: of splits in fixed order, and of their volumes' ids and digests, by id."""
    total = hashlib.sha256()
    for split in SPLITS:
        for entry in sorted(volumes[split], key=lambda entry: entry["id"]):
            total.update(f"{split} {entry['id']} {entry['sha256']}\n".encode())
    return total.hexdigest()


class Prepared:
    """A prepared dataset, opened for reading.

    Files are opened on first use and once a process, so that an object made before a fork, or pickled, can
    be used by the workers of a data loader.

    Args:
        folder: ``results/data/<dataset>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._files: dict[tuple[int, str], h5py.File] = {}
        self._arrays: dict[tuple[int, str, str], tuple[h5py.Dataset, h5py.Dataset]] = {}

    def exists(self) -> bool:
        """Was it prepared?"""
        return (self.folder / "manifest.json").is_file()

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` holds.

        Raises:
            SegShiftError: the dataset is not prepared, or the file is damaged.
        """
        file = self.folder / "manifest.json"
        if not self.exists():
            raise SegShiftError(f"no {file}; run: segshift prepare {self.folder.name}")
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise self._changed(f"manifest.json is damaged ({error})") from None

    @property
    def sha256(self) -> str:
        """Digest of all decoded arrays: the identity of the data."""
        return self.manifest["sha256"]

    @property
    def classes(self) -> list[str]:
        """Class names, background first."""
        return self.manifest["classes"]

    def volumes(self, split: str) -> list[VolumeInfo]:
        """The volumes of a split, by id."""
        return [
            VolumeInfo(
                id=entry["id"],
                patient=entry["patient"],
                slices=entry["slices"],
                shape=tuple(entry["shape"]),
                spacing=tuple(entry["spacing"]),
                affine=np.array(entry["affine"]),
                raw_shape=tuple(entry["raw_shape"]),
                raw_affine=np.array(entry["raw_affine"]),
            )
            for entry in self._entries(split)
        ]

    def slice(self, split: str, id: str, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Image float32 [H, W], in colour [3, H, W], in [0, 1], and label uint8 [H, W] of one slice.

        Raises:
            SegShiftError: no such split or volume, or the file is missing or damaged.
            IndexError: no such slice.
        """
        image, label = self.stored(split, id, z)
        return image.astype(np.float32), label

    def stored(self, split: str, id: str, where: Place) -> tuple[np.ndarray, np.ndarray]:
        """One slice, or consecutive ones in one read, of the types that are stored: image float16 [H, W], in
        colour [3, H, W], and label uint8 [H, W], with z before them where ``where`` is a slice.

        Raises:
            SegShiftError: no such split or volume, or the file is missing or damaged.
            IndexError: no such slice.
        """
        key = (os.getpid(), split, id)
        if key not in self._arrays:  # to look a name up in a file takes longer than to read a slice
            group = self._group(split, id)
            self._arrays[key] = group["image"], group["label"]
        image, label = self._arrays[key]
        found = image[where]
        if image.ndim == 4:
            found = np.ascontiguousarray(np.moveaxis(found, -1, -3))
        return found, label[where]

    def volume(self, split: str, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image float32 [z, H, W], in colour [z, 3, H, W], in [0, 1], and label uint8 [z, H, W].

        Raises:
            SegShiftError: no such split or volume, or the file is missing or damaged.
        """
        image, label = self.stored(split, id, slice(None))
        return image.astype(np.float32), label

    def counts(self, split: str) -> list[np.ndarray]:
        """Pixels of each class in each slice, uint32 [z, classes], for each of ``volumes(split)``."""
        return [self._group(split, entry["id"])["counts"][()] for entry in self._entries(split)]

    def verify(self) -> None:
        """Compare the files with the manifest's digests.

        Raises:
            SegShiftError: volumes differ; names the first, or says that the manifest itself does.
        """
        for split in SPLITS:
            ids = [entry["id"] for entry in self._entries(split)]
            if sorted(self._file(split)) != sorted(ids):
                raise self._changed(
                    f"{split}.h5 holds volumes that its manifest does not list, or lacks some"
                )
            for entry in self._entries(split):
                group = self._group(split, entry["id"])
                stored = [group.attrs[key] for key in ("patient", "spacing", "affine")]
                if digest(group["image"][()], group["label"][()], *stored) != entry["sha256"]:
                    raise self._changed(f"volume {entry['id']} in {split}.h5 is not what its manifest says")
        if total_digest({split: self._entries(split) for split in SPLITS}) != self.sha256:
            raise self._changed("the digest in manifest.json is not that of its volumes")

    def close(self) -> None:
        """Close the files of this process."""
        self._arrays = {key: arrays for key, arrays in self._arrays.items() if key[0] != os.getpid()}
        for key in [key for key in self._files if key[0] == os.getpid()]:
            self._files.pop(key).close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}, "_arrays": {}}

    def _entries(self, split: str) -> list[dict[str, Any]]:
        if split not in SPLITS:
            raise unknown(f"{self.folder.name}: unknown split", split, SPLITS)
        return self.manifest["splits"][split]["volumes"]

    def _group(self, split: str, id: str) -> h5py.Group:
        file = self._file(split)
        if id not in file:
            raise unknown(f"{self.folder.name}: no volume in {split} is called", id, file)
        return file[id]

    def _file(self, split: str) -> h5py.File:
        key = (os.getpid(), split)
        if key not in self._files:
            if split not in SPLITS:
                raise unknown(f"{self.folder.name}: unknown split", split, SPLITS)
            try:
                # no lock: nobody writes into a prepared file, and many network file systems refuse locks
                self._files[key] = h5py.File(self.folder / f"{split}.h5", "r", locking=False)
            except OSError as error:
                raise self._changed(f"{split}.h5 cannot be read: {error}") from error
        return self._files[key]

    def _changed(self, what: str) -> SegShiftError:
        return SegShiftError(f"{self.folder}: {what}; run: segshift prepare {self.folder.name}")
