"""Files of one scan in any of the usual formats, brought to the axes of the prepared data.

NIfTI and FreeSurfer's MGZ through nibabel; NRRD, MetaImage and folders of DICOM slices through SimpleITK.
Their orientation is undone here: arrays are brought to the closest RAS+ axes, then sliced along ``plane`` and
laid out as radiologists look at them:

======== =============================== =================== ====================
plane    slices                          row 0               column 0
======== =============================== =================== ====================
axial    inferior to superior            anterior            the patient's right
coronal  posterior to anterior           superior            the patient's right
sagittal the patient's left to right     superior            anterior
======== =============================== =================== ====================

Nothing is interpolated; affines map the indices (z, y, x) of the returned arrays to the file's scanner space.
"""

import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from segshift.errors import SegShiftError
from segshift.volumes import Volume, integers

# axes of an RAS+ array that become slices, rows and columns; rows and columns are reversed
PLANES = {"axial": (2, 1, 0), "coronal": (1, 2, 0), "sagittal": (0, 2, 1)}
TOLERANCE = 1e-3  # mm, between the affines of an image and its label
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
NIBABEL = (".nii", ".nii.gz", ".hdr", ".img", ".mgz", ".mgh")
SUFFIXES = (*NIBABEL, *ITK)
BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)


def read(image: Path, label: Path, plane: str, channel: int | None = None) -> Volume:
    """A scan and its label, laid out as the head of this file says.

    Raises:
        SegShiftError: a missing, truncated or other file; 4D without ``channel``; image and label of
            different shape or affine; a label that holds no class numbers.
    """
    array, affine = load(image, channel)
    values, label_affine = load(label, None)
    names = f"{image} and its label {label.name}"
    if array.shape != values.shape:
        raise SegShiftError(f"{names} differ in shape: {array.shape} and {values.shape}")
    apart = np.abs(affine - label_affine).max()
    if not apart <= TOLERANCE:
        raise SegShiftError(f"{names} lie apart in space: their affines differ by up to {apart:g}")
    values = lay_out(values, PLANES[plane])
    return volume(array, affine, plane).with_(label=integers(values, str(label)))


def volume(array: np.ndarray, affine: np.ndarray, plane: str) -> Volume:
    """An RAS+ array [x, y, z] with its affine as a volume without label."""
    affine = affine @ _indices(array.shape, PLANES[plane])
    spacing = tuple(float(side) for side in np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(lay_out(array, PLANES[plane]).astype(np.float32), None, spacing, affine)


def load(file: Path, channel: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The 3D array of a file, in its closest RAS+ orientation, and its affine.

    Raises:
        SegShiftError: a missing, truncated or other file, or 4D without ``channel``.
    """
    scan = open_scan(file)
    try:
        scan = nibabel.as_closest_canonical(_three_dimensions(scan, file, channel))
        return np.asanyarray(scan.dataobj), scan.affine
    except BROKEN as error:
        raise _unreadable(file, error) from error


def open_scan(file: Path) -> SpatialImage:
    """A scan as nibabel has it: NIfTI and MGZ without their voxels, the others with them.

    Raises:
        SegShiftError: there is no such file, or it is of no known format.
    """
    if not file.exists():
        raise SegShiftError(f"no such file: {file}")
    if file.is_dir() or file.name.lower().endswith(ITK):
        return _through_itk(file)
    try:
        scan = nibabel.load(file)
    except BROKEN as error:
        raise _unreadable(file, error) from error
    if not isinstance(scan, nibabel.Nifti1Pair | nibabel.MGHImage):
        raise SegShiftError(f"{file} is no NIfTI or MGZ file but {type(scan).__name__}")
    return scan


def describe(file: Path) -> dict[str, Any]:
    """What the header says: ``orientation``, such as LPS (where the file's axes run to), and ``channels``."""
    scan = open_scan(file)
    return {
        "orientation": "".join(code or "?" for code in nibabel.aff2axcodes(scan.affine)),
        "channels": scan.shape[3] if scan.ndim > 3 else 1,
    }


def _through_itk(file: Path) -> SpatialImage:
    import SimpleITK  # here, since to load it takes a moment that NIfTI does not need

    name = "DICOM" if file.is_dir() else file.suffix[1:].upper()
    try:
        if file.is_dir():
            image = SimpleITK.ReadImage(_series(file, SimpleITK.ImageSeriesReader))
        else:
            image = SimpleITK.ReadImage(str(file))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise SegShiftError(
            f"{file} cannot be read as {name}, it is truncated or of another format: {reason}"
        ) from None
    matrix = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3] * image.GetSpacing()[:3]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, image.GetOrigin()[:3]
    array = SimpleITK.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel() > 1
    array = np.moveaxis(array.T, 0, -1) if components else array.T  # [x, y, z] or [x, y, z, channel]
    return nibabel.Nifti1Image(
        array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, dtype=array.dtype
    )  # LPS to RAS


def _series(folder: Path, reader: Any) -> list[str]:
    """The files of the one series in a folder, in the order of their places."""
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} series" if series else "no DICOM file"
        raise SegShiftError(f"{folder} holds {found}; a folder of DICOM slices holds one series")
    return list(reader.GetGDCMSeriesFileNames(str(folder), series[0]))


def _unreadable(file: Path, error: Exception) -> SegShiftError:
    name = "MGZ" if file.name.lower().endswith((".mgz", ".mgh")) else "NIfTI"
    return SegShiftError(f"{file} cannot be read as {name}, it is truncated or of another format: {error}")


def _three_dimensions(scan: SpatialImage, file: Path, channel: int | None) -> SpatialImage:
    if scan.ndim == 4:
        if channel is None and scan.shape[3] > 1:
            raise SegShiftError(
                f"{file} has {scan.shape[3]} channels; say which with `channel`, or --channel in predict"
            )
        if not 0 <= (channel or 0) < scan.shape[3]:
            raise SegShiftError(f"{file} has channels 0 to {scan.shape[3] - 1}, not {channel}")
        return scan.slicer[..., channel or 0]
    if scan.ndim != 3:
        raise SegShiftError(f"{file} has shape {scan.shape}, not three dimensions")
    return scan


def lay_out(array: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    """An RAS+ array [x, y, z] as [slice, row, column]."""
    return np.ascontiguousarray(array.transpose(axes)[:, ::-1, ::-1])


def _indices(shape: tuple[int, ...], axes: tuple[int, int, int]) -> np.ndarray:
    """From indices (slice, row, column) of ``lay_out``'s array to those of the RAS+ array."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, old in enumerate(axes):
        matrix[old, new] = 1 if new == 0 else -1
        matrix[old, 3] = 0 if new == 0 else shape[old] - 1
    return matrix
