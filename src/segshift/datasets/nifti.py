"""NIfTI files found by pattern, one image and one label a case, such as BraTS.

The file's orientation is undone here: arrays are brought to the closest RAS+ axes, then sliced along
``plane`` and laid out as radiologists look at them:

======== =============================== =================== ====================
plane    slices                          row 0               column 0
======== =============================== =================== ====================
axial    inferior to superior            anterior            the patient's right
coronal  posterior to anterior           superior            the patient's right
sagittal the patient's left to right     superior            anterior
======== =============================== =================== ====================

Nothing is interpolated; the affine maps the indices (z, y, x) of the returned arrays to the file's scanner
space.
"""

import re
import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from scipy.ndimage import affine_transform

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Case, Volume, integers

SPLITS = ("train", "validation", "test")
# axes of an RAS+ array that become slices, rows and columns; rows and columns are reversed
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
TOLERANCE = 1e-3  # mm, between the affines of an image and its label


def cases(
    folder: Path,
    *,
    image_files: str,
    label_files: str,
    patient: str | None = None,
    plane: str = "axial",
    channel: int | None = None,
    split_names: dict[str, str] | None = None,
) -> list[Case]:
    """All images that match the pattern, each with its label, by name.

    Args:
        folder: the patterns are relative to it.
        image_files: path with ``{id}`` for the case and, if folders or names tell it, ``{split}``, such as
            ``{split}/{id}_T1.nii.gz``.
        label_files: the same for labels.
        patient: regular expression, searched in the id; its first group is the patient. Default: the id.
        plane: ``axial``, ``coronal`` or ``sagittal``.
        channel: which channel of 4D images, counted from 0.
        split_names: what ``{split}`` stands for where it is not the split's own name, such as ``{validation:
            val}``.

    Raises:
        SegShiftError: a missing folder or label, nothing found, an unknown plane or split, or an id without
            patient.
    """
    if plane not in PLANES:
        raise unknown("unknown plane", plane, PLANES)
    for split in split_names or {}:
        if split not in SPLITS:
            raise unknown("reader split_names: unknown split", split, SPLITS)
    if "{id}" not in image_files or "{id}" not in label_files:
        raise SegShiftError(f"the patterns {image_files!r} and {label_files!r} must both hold {{id}}")
    if not Path(folder).is_dir():
        raise SegShiftError(f"no such folder: {folder}")
    found = []
    for split in SPLITS if "{split}" in image_files else (None,):
        stands_for = (split_names or {}).get(split, split)
        for name, image, label in _pairs(Path(folder), image_files, label_files, stands_for):
            where = {"image": image, "label": label, "plane": plane, "channel": channel}
            found.append(Case(name, _patient(name, patient), split, where))
    if not found:
        raise SegShiftError(f"{folder} holds no file that matches {image_files!r}")
    return found


def read(case: Case) -> Volume:
    """One volume, laid out as the head of this file says.

    Raises:
        SegShiftError: a missing, truncated or other file; 4D without ``channel``; image and label of
            different shape or affine; a label that holds no class numbers.
    """
    where = case.where
    image, affine = _load(where["image"], where["channel"])
    label, label_affine = _load(where["label"], None)
    names = f"{where['image']} and its label {where['label'].name}"
    if image.shape != label.shape:
        raise SegShiftError(f"{names} differ in shape: {image.shape} and {label.shape}")
    apart = np.abs(affine - label_affine).max()
    if not apart <= TOLERANCE:
        raise SegShiftError(f"{names} lie apart in space: their affines differ by up to {apart:g}")
    volume = _volume(image, affine, where["plane"])
    label = _lay_out(label, PLANES[where["plane"]])
    return volume.with_(label=integers(label, str(where["label"])))


def read_image(file: Path, plane: str, channel: int | None = None) -> Volume:
    """An image without a label, laid out as those of a dataset: for predictions.

    Raises:
        SegShiftError: a missing, truncated or other file, or 4D without ``channel``.
    """
    return _volume(*_load(file, channel), plane)


def write_label(label: np.ndarray, affine: np.ndarray, like: Path, file: Path) -> None:
    """Bring a label map to the voxels of an image file, nearest, and write it with that file's shape and
    affine.

    Args:
        label: class indices uint8 [z, y, x].
        affine: from its indices to scanner space in mm.
        like: the image file; voxels that ``label`` does not cover become 0.
        file: where to.
    """
    image = nibabel.load(like)
    back = np.linalg.inv(affine) @ image.affine  # the file's voxel indices -> indices of `label`
    mask = affine_transform(label, back, output_shape=image.shape[:3], order=0, mode="grid-constant")
    written = nibabel.Nifti1Image(mask, image.affine)
    # code 1: scanner, as good a claim as the image's own
    written.set_qform(image.affine, int(image.header["qform_code"]) or 1)
    written.set_sform(image.affine, int(image.header["sform_code"]) or 1)
    part = file.with_name(f".{file.name}.part{''.join(file.suffixes)}")  # nibabel goes by the suffix
    try:
        nibabel.save(written, part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _volume(image: np.ndarray, affine: np.ndarray, plane: str) -> Volume:
    affine = affine @ _indices(image.shape, PLANES[plane])
    spacing = tuple(float(side) for side in np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(_lay_out(image, PLANES[plane]).astype(np.float32), None, spacing, affine)


def _pairs(folder: Path, images: str, labels: str, split: str | None) -> list[tuple[str, Path, Path]]:
    def fill(pattern: str, name: str) -> str:
        return pattern.replace("{split}", split or "").replace("{id}", name)

    first, *rest = (re.escape(part) for part in fill(images, "\0").split("\0"))
    matches = re.compile(first + "(?P<id>[^/]+)" + rest[0] + "".join("(?P=id)" + part for part in rest[1:]))
    found = []
    for image in sorted(folder.glob(fill(images, "*"))):
        match = matches.fullmatch(image.relative_to(folder).as_posix())
        if match:
            found.append((match["id"], image, folder / fill(labels, match["id"])))
    # a pattern such as {id}.nii.gz also matches the labels of {id}_seg.nii.gz
    all_labels = {label for _, _, label in found}
    found = [each for each in found if each[1] not in all_labels]
    for _, image, label in found:
        if not label.is_file():
            raise SegShiftError(f"no such file: {label}, the label of {image.name}")
    return found


def _patient(name: str, pattern: str | None) -> str:
    if pattern is None:
        return name
    match = re.search(pattern, name)
    if not match or not match.groups():
        raise SegShiftError(f"patient: {pattern!r} finds no group in the id {name!r}")
    return match[1]


def _load(file: Path, channel: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The 3D array of a file, in its closest RAS+ orientation, and its affine."""
    if not file.is_file():
        raise SegShiftError(f"no such file: {file}")
    try:
        image = nibabel.load(file)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise SegShiftError(f"{file} is no NIfTI file but {type(image).__name__}")
        image = nibabel.as_closest_canonical(_three_dimensions(image, file, channel))
        return np.asanyarray(image.dataobj), image.affine
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise SegShiftError(
            f"{file} cannot be read as NIfTI, it is truncated or of another format: {error}"
        ) from error


def _three_dimensions(image: nibabel.Nifti1Pair, file: Path, channel: int | None) -> nibabel.Nifti1Pair:
    if image.ndim == 4:
        if channel is None and image.shape[3] > 1:
            raise SegShiftError(
                f"{file} has {image.shape[3]} channels; say which with `channel`, or --channel in predict"
            )
        if not 0 <= (channel or 0) < image.shape[3]:
            raise SegShiftError(f"{file} has channels 0 to {image.shape[3] - 1}, not {channel}")
        return image.slicer[..., channel or 0]
    if image.ndim != 3:
        raise SegShiftError(f"{file} has shape {image.shape}, not three dimensions")
    return image


def _lay_out(array: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(axes)[:, ::-1, ::-1])


def _indices(shape: tuple[int, ...], axes: tuple[int, int, int]) -> np.ndarray:
    """From indices (slice, row, column) of ``_lay_out``'s array to those of the RAS+ array."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, old in enumerate(axes):
        matrix[old, new] = 1 if new == 0 else -1
        matrix[old, 3] = 0 if new == 0 else shape[old] - 1
    return matrix
