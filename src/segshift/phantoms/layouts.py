"""Phantoms as files, in the layouts in which real datasets come: HDF5, PNG, NIfTI.

Each writer gets the folder of the domain, a split, patients and their scans, and returns the files; bytes
follow from the scans alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import nibabel
import numpy as np
from PIL import Image

Scan = tuple[np.ndarray, np.ndarray, tuple[float, float, float]]  # image, label, spacing (z, y, x)

OBLIQUE = (14.0, -9.0, 6.0)  # degrees by which NIfTI volumes are turned in scanner space, about x, y and z


def hdf5(folder: Path, domain: str, split: str, patients: Sequence[str], scans: Sequence[Scan]) -> None:
    """``data_<split>.hdf5``: slices of all volumes stacked, one entry a volume for the rest, as
    ``datasets/hdf5_stack.py`` reads it."""
    file = folder / f"data_{split}.hdf5"
    part = file.with_name(file.name + ".part")
    images, labels, spacings = zip(*scans, strict=True)
    try:
        with h5py.File(part, "w") as content:
            content["images"], content["labels"] = np.concatenate(images), np.concatenate(labels)
            for key, axis in (("nz", 0), ("ny", 1), ("nx", 2)):
                content[key] = np.array([image.shape[axis] for image in images])
            for key, axis in (("pz", 0), ("py", 1), ("px", 2)):
                content[key] = np.array([spacing[axis] for spacing in spacings])
            content.create_dataset("patients", data=patients, dtype=h5py.string_dtype())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def png(folder: Path, domain: str, split: str, patients: Sequence[str], scans: Sequence[Scan]) -> None:
    """``images/<split>/<patient>_<slice>.png``, 8 bits, and ``labels/…_labelTrainIds.png``, class numbers, as
    ``datasets/png.py`` reads them."""
    for patient, (image, label, _) in zip(patients, scans, strict=True):
        for number, (gray, classes) in enumerate(zip(image, label, strict=True)):
            name = f"{patient}_{number:02d}"
            gray = np.rint(gray * 255).astype(np.uint8)
            _picture(gray, folder / "images" / split / f"{name}.png")
            _picture(classes, folder / "labels" / split / f"{name}_labelTrainIds.png")


def _picture(pixels: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    Image.fromarray(pixels).save(part, format="png")
    part.replace(file)


def nifti(folder: Path, domain: str, split: str, patients: Sequence[str], scans: Sequence[Scan]) -> None:
    """``<split>/<patient>_<CONTRAST>.nii.gz`` and ``…_Label.nii.gz``, with an oblique affine, as
    ``datasets/nifti.py`` reads them. Contrasts of the same patients share a folder, and their label."""
    contrast = domain.rpartition("_")[2].upper()
    (folder / split).mkdir(parents=True, exist_ok=True)
    for patient, (image, label, spacing) in zip(patients, scans, strict=True):
        affine = oblique(spacing, image.shape)
        for array, name in ((np.rint(image * 1000).astype(np.int16), contrast), (label, "Label")):
            # [slice, row from front, column from the left] -> [x to the right, y to the front, z]
            written = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)[:, ::-1]), affine)
            file = folder / split / f"{patient}_{name}.nii.gz"
            part = file.with_name(f".part_{file.name}")  # nibabel goes by the suffix
            nibabel.save(written, part)
            part.replace(file)


def oblique(spacing: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """4 × 4, from voxel indices (x, y, z) to mm (RAS+): turned by ``OBLIQUE``, the middle of the volume at 0.

    Args:
        spacing: of slices, rows and columns, mm.
        shape: slices, rows and columns.
    """
    turned = np.eye(3)
    for axis, degrees in enumerate(OBLIQUE):
        angle, (one, other) = np.deg2rad(degrees), [i for i in range(3) if i != axis]
        turn = np.eye(3)
        turn[[one, one, other, other], [one, other, one, other]] = (
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        )  # fmt: skip
        turned = turn @ turned
    affine = np.eye(4)
    affine[:3, :3] = turned * np.array(spacing[::-1])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


WRITERS: dict[str, Callable[..., None]] = {"brain": hdf5, "prostate": hdf5, "spine": png, "tumor": nifti}
FOLDERS = {"tumor_flair": "tumor", "tumor_t2": "tumor"}  # contrasts of the same patients lie together


def folder(domain: str, anatomy: str) -> str:
    """Name of a domain's folder."""
    return FOLDERS.get(domain) or (domain if domain.startswith(f"{anatomy}_") else f"{anatomy}_{domain}")


def files(domain: str, anatomy: str, splits: dict[str, Sequence[str]], slices: int) -> list[Path]:
    """Files of a domain, below the folder of all, by split and patients."""
    found, root = [], Path(folder(domain, anatomy))
    for split, patients in splits.items():
        if WRITERS[anatomy] is hdf5:
            found.append(root / f"data_{split}.hdf5")
            continue
        for patient in patients:
            if WRITERS[anatomy] is nifti:
                contrast = domain.rpartition("_")[2].upper()
                found += [root / split / f"{patient}_{name}.nii.gz" for name in (contrast, "Label")]
            else:
                names = [f"{patient}_{number:02d}" for number in range(slices)]
                found += [root / "images" / split / f"{name}.png" for name in names]
                found += [root / "labels" / split / f"{name}_labelTrainIds.png" for name in names]
    return found
