"""Volumes after each of their steps, kept by content: a changed step repeats what follows it only.

The key of a step's result is a digest of what was read (voxels, labels as class indices, geometry), of every
step so far with its parameters and source, and of the libraries' versions. So nothing has to be declared
stale, and datasets that begin alike share files. The folder may be deleted at any time.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from segshift import modules
from segshift.preparation import steps as preprocess
from segshift.preparation.steps import Step
from segshift.volumes import Volume

LIBRARIES = ("numpy", "scipy", "SimpleITK", "nibabel")


@dataclass(frozen=True)
class Cache:
    """A folder of at most ``limit`` bytes.

    What was not used for longest goes first, but nothing that the run which began at ``began`` used: where
    its own files fill the folder, the rest of it is not kept.
    """

    folder: Path
    limit: float
    began: float = field(default_factory=time.time)

    def get(self, key: str) -> Volume | None:
        """The volume, or None; a damaged file counts as none."""
        file = self.folder / f"{key}.h5"
        try:
            with h5py.File(file, "r", locking=False) as content:
                found = {name: content[name][()] for name in ("image", "label", "mask") if name in content}
                spacing, affine = content.attrs["spacing"], content.attrs["affine"]
            os.utime(file)
        except (OSError, KeyError):
            return None
        spacing = tuple(float(side) for side in spacing)
        return Volume(found["image"], found.get("label"), spacing, affine, found.get("mask"))

    def put(self, key: str, volume: Volume) -> None:
        """Keep a volume, if there is room."""
        file = self.folder / f"{key}.h5"
        arrays = {"image": volume.image, "label": volume.label, "mask": volume.mask}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        if file.exists() or not self._room(sum(array.nbytes for array in arrays.values())):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        try:
            with h5py.File(part, "w") as content:
                for name, array in arrays.items():
                    chunk = (1, *array.shape[1:])
                    how = {"compression": "lzf", "shuffle": True, "fletcher32": True}
                    content.create_dataset(name, data=array, chunks=chunk, **how)
                content.attrs.update({"spacing": volume.spacing, "affine": volume.affine})
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def _room(self, needed: int) -> bool:
        """Make room for so many bytes; False if this run's own files leave none."""
        kept = []
        for file in self.folder.glob("*") if self.folder.is_dir() else ():
            try:
                stat = file.stat()
            except FileNotFoundError:  # another process made room
                continue
            kept.append((stat.st_mtime, stat.st_size, file))
        total = needed + sum(size for _, size, _ in kept)
        for used, size, file in sorted(kept):
            if total <= self.limit or used >= self.began:
                break
            file.unlink(missing_ok=True)
            total -= size
        return total <= self.limit


def apply(volume: Volume, steps: Sequence[Step], cache: Cache | None) -> tuple[Volume, int]:
    """Apply the steps, from the last one whose result is kept.

    Returns:
        The volume, and how many steps were taken from the cache.

    Raises:
        SegShiftError: an unknown step or parameter, or a step refused the volume.
    """
    if cache is None or cache.limit <= 0 or not steps:
        return preprocess.apply(volume, steps), 0
    keys = chain(content_key(volume), steps)
    done = len(steps)
    while done and (found := cache.get(keys[done - 1])) is None:
        done -= 1
    if done:
        volume = found
    for step, key in zip(steps[done:], keys[done:], strict=True):
        volume = preprocess.apply_one(volume, step)
        cache.put(key, volume)
    return volume, done


def chain(key: str, steps: Sequence[Step]) -> list[str]:
    """The key of each step's result, from the key of what it starts with."""
    keys = []
    for step in steps:
        name, given = preprocess.parse(step)
        file = modules.source("steps", name)
        code = modules.code_digest([file, *modules.layers(file)])
        said = json.dumps([key, name, given, code], sort_keys=True)
        key = hashlib.sha256(said.encode()).hexdigest()[:32]
        keys.append(key)
    return keys


def content_key(volume: Volume) -> str:
    """Digest of a volume and of the libraries that work on it."""
    total = hashlib.sha256(json.dumps(_versions()).encode())
    for array in (volume.image, volume.label, volume.mask, np.asarray(volume.spacing), volume.affine):
        if array is None:
            total.update(b"none")
            continue
        total.update(f"{array.shape} {array.dtype}\n".encode())
        total.update(np.ascontiguousarray(array))
    return total.hexdigest()


@functools.cache
def _versions() -> list[str]:
    return [importlib.metadata.version(name) for name in LIBRARIES]
