"""Stacks of slices in HDF5, one file a split: the layout of the lab's brain and prostate data.

Keys: ``images`` and ``labels`` as [sum of nz, H, W] or [volume, slice, H, W], and ``nz``, the number of
slices of each volume. Optional, one entry a volume: ``px``, ``py``, ``pz`` (mm along columns, rows and
slices) and ``patients`` (strings). ``nx`` and ``ny`` describe scans before they were resampled and are not
read. The files hold no orientation, so the affine only scales: voxel (z, y, x) lies at
(x · px, y · py, z · pz) mm.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Case, Volume, integers

SPLITS = ("train", "validation", "test")
REQUIRED = ("images", "labels", "nz")
WORDS = {"train": "train", "validation": "val", "test": "test"}  # in names of files


def cases(
    folder: Path,
    *,
    files: dict[str, str],
    pixel: float | None = None,
    thickness: float | None = None,
    scale: float = 1.0,
) -> list[Case]:
    """The volumes of all files, ``<split>_<index>`` each; so is the patient where the file names none.

    Args:
        folder: where the files lie.
        files: file name of each split.
        pixel: side of a pixel, mm; by default what the file says, else 1.
        thickness: distance of slices, mm; by default what the file says, else 1.
        scale: image values are divided by it; 255 for files in [0, 255].

    Raises:
        SegShiftError: an unknown split, a missing or truncated file, a missing key, or keys that do not fit
            together.
    """
    found = []
    for split, name in files.items():
        if split not in SPLITS:
            raise unknown("reader files: unknown split", split, SPLITS)
        file = Path(folder) / name
        with _open(file) as content:
            depths = _check(content, file)
            patients = _patients(content, file, len(depths))
        for index, depth in enumerate(depths):
            case = f"{split}_{index:03d}"
            where = {"file": file, "index": index, "first": sum(depths[:index]), "depth": depth}
            where |= {"pixel": pixel, "thickness": thickness, "scale": scale}
            found.append(Case(case, patients[index] if patients else case, split, where))
    return found


def read(case: Case) -> Volume:
    """One volume; values as they are in the file, divided by ``scale``.

    Raises:
        SegShiftError: a missing or truncated file, a label that holds no class numbers, or a ``scale`` for
            values that are in [0, 1] already.
    """
    where = case.where
    index, depth = where["index"], where["depth"]
    with _open(where["file"]) as content:
        stacked = content["images"].ndim == 3
        part = slice(where["first"], where["first"] + depth) if stacked else (index, slice(0, depth))
        image, label = content["images"][part], content["labels"][part]
        sides = {key: float(content[key][index]) if key in content else 1.0 for key in ("pz", "py", "px")}
    # the entry wins: some of these files give the pixel size of the scan, not of the resampled slices
    if where["pixel"] is not None:
        sides["py"] = sides["px"] = float(where["pixel"])
    if where["thickness"] is not None:
        sides["pz"] = float(where["thickness"])
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [sides["pz"], sides["py"], sides["px"], 1]
    if where["scale"] > 1 and image.max() <= 1:
        raise SegShiftError(
            f"{where['file']}: scale is {where['scale']:g}, but {case.id} holds no value above 1"
        )
    image = (image / where["scale"]).astype(np.float32)
    return Volume(image, integers(label, f"{where['file'].name}, {case.id}"), tuple(sides.values()), affine)


def describe(case: Case) -> dict[str, Any]:
    """``type``: what the image's numbers are."""
    with _open(case.where["file"]) as content:
        return {"channels": 1, "type": str(content["images"].dtype)}


def guess(folder: Path) -> dict[str, Any] | None:
    """Parameters for a folder of HDF5 files, a split each by their names; one file alone has no split."""
    found = sorted(file for end in ("h5", "hdf5") for file in folder.glob(f"*.{end}"))
    if not found:
        return None
    if len(found) == 1:
        return {"files": {"train": found[0].name}}
    files: dict[str, str] = {}
    for file in found:
        split = next((split for split, word in WORDS.items() if word in file.stem.lower()), None)
        if split is None or split in files:
            names = ", ".join(one.name for one in found)
            raise SegShiftError(
                f"{folder} holds {names}; their names must say which is for what (train, val, test)"
            )
        files[split] = file.name
    return {"files": {split: files[split] for split in SPLITS if split in files}}


@contextmanager
def _open(file: Path) -> Iterator[h5py.File]:
    if not file.is_file():
        raise SegShiftError(f"no such file: {file}")
    try:
        with h5py.File(file, "r") as content:
            yield content
    except OSError as error:
        raise SegShiftError(
            f"{file} cannot be read as HDF5, it is truncated or of another format: {error}"
        ) from error


def _check(content: h5py.File, file: Path) -> list[int]:
    """The number of slices of each volume."""
    for key in REQUIRED:
        if key not in content:
            raise SegShiftError(f"{file} has no key {key!r}; it has: {', '.join(content) or 'none'}")
    images, labels = content["images"].shape, content["labels"].shape
    depths = [int(depth) for depth in np.ravel(content["nz"][()])]
    if images != labels:
        raise SegShiftError(f"{file}: images have shape {images}, labels {labels}")
    if len(images) not in (3, 4):
        raise SegShiftError(
            f"{file}: images have shape {images}, not [slices, H, W] or [volumes, slices, H, W]"
        )
    if min(depths, default=0) < 1:
        raise SegShiftError(
            f"{file}: nz must name at least one volume, with one slice or more each, not {depths}"
        )
    if len(images) == 3 and sum(depths) != images[0]:
        raise SegShiftError(f"{file}: nz sums to {sum(depths)} slices, images hold {images[0]}")
    if len(images) == 4 and (len(depths) != images[0] or max(depths) > images[1]):
        raise SegShiftError(
            f"{file}: nz ({len(depths)} volumes, up to {max(depths)} slices) does not fit images {images}"
        )
    for key in ("px", "py", "pz"):
        if key in content and len(content[key]) != len(depths):
            raise SegShiftError(f"{file}: {key} has {len(content[key])} entries for {len(depths)} volumes")
    return depths


def _patients(content: h5py.File, file: Path, count: int) -> list[str] | None:
    if "patients" not in content:
        return None
    patients = [name.decode() if isinstance(name, bytes) else str(name) for name in content["patients"][()]]
    if len(patients) != count:
        raise SegShiftError(f"{file}: patients has {len(patients)} entries for {count} volumes")
    return patients
