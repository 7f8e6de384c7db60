"""Files of one scan in any of the usual formats, brought to the axes of the prepared data.

NIfTI and FreeSurfer's MGZ through nibabel; NRRD, MetaImage and folders of DICOM slices through SimpleITK.
Their orientation is undone: arrays are sliced along ``plane`` and laid out as ``layers/orientation.py`` says.
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
from segshift.layers import orientation
from segshift.volumes import Volume, integers

TOLERANCE = 1e-3  # mm, between the affines of an image and its label
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
NIBABEL = (".nii", ".nii.gz", ".hdr", ".img", ".mgz", ".mgh")
SUFFIXES = (*NIBABEL, *ITK)
BROKEN = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)


def read(
    image: Path, label: Path, plane: str, channel: int | None = None, mask: Path | None = None
) -> Volume:
    """A scan, its label and, if there is one, its mask, laid out along ``plane``.

    Raises:
        SegShiftError: a missing, truncated or other file; 4D without ``channel``; image and label of
            different shape or affine; a label that holds no class numbers.
    """
    array, affine = load(image, channel)
    label_array = integers(_beside(label, "label", image, array, affine), str(label))
    inside = None if mask is None else _beside(mask, "mask", image, array, affine) != 0
    return _volume(array, affine, plane, image, label_array, inside)


def read_image(file: Path, plane: str, channel: int | None = None, mask: Path | None = None) -> Volume:
    """A scan without label, laid out the same way.

    Raises:
        SegShiftError: a missing, truncated or other file, 4D without ``channel``, or a mask of another shape
            or affine.
    """
    array, affine = load(file, channel)
    inside = None if mask is None else _beside(mask, "mask", file, array, affine) != 0
    return _volume(array, affine, plane, file, mask=inside)


def _volume(
    array: np.ndarray,
    affine: np.ndarray,
    plane: str,
    file: Path,
    label: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> Volume:
    spacing = tuple(float(side) for side in np.linalg.norm(affine[:3, :3], axis=0))
    try:
        return orientation.turn(Volume(array.astype(np.float32), label, spacing, affine, mask), plane)
    except SegShiftError as error:
        raise SegShiftError(f"{file}: {error}") from None


def _beside(file: Path, what: str, image: Path, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The array of a label or mask, after comparing its geometry with the image's."""
    values, own = load(file, None)
    names = f"{image} and its {what} {file.name}"
    if array.shape != values.shape:
        raise SegShiftError(f"{names} differ in shape: {array.shape} and {values.shape}")
    apart = np.abs(affine - own).max()
    if not apart <= TOLERANCE:
        raise SegShiftError(f"{names} lie apart in space: their affines differ by up to {apart:g}")
    return values


def load(file: Path, channel: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The 3D array of a file as it is stored, and its affine.

    Raises:
        SegShiftError: a missing, truncated, empty or other file, colours, or 4D without ``channel``.
    """
    scan = open_scan(file)
    try:
        scan = _three_dimensions(scan, file, channel)
        array = np.asanyarray(scan.dataobj)
    except BROKEN as error:
        raise _unreadable(file, error) from error
    if array.dtype.names or np.iscomplexobj(array):
        kind = f"colours ({', '.join(array.dtype.names)})" if array.dtype.names else "complex numbers"
        raise SegShiftError(f"{file} holds {kind}, not one number a voxel")
    if 0 in array.shape:
        raise SegShiftError(f"{file} is empty: its shape is {array.shape}")
    return (array if array.ndim == 3 else array[..., None]), scan.affine


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
    affine, axes = np.eye(4), len(matrix)
    affine[:axes, :axes], affine[:axes, 3] = matrix, image.GetOrigin()[:3]
    array = SimpleITK.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel() > 1
    array = np.moveaxis(array.T, 0, -1) if components else array.T  # [x, y, z] or [x, y, z, channel]
    return nibabel.Nifti1Image(
        array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, dtype=array.dtype
    )  # LPS to RAS


def is_series(folder: Path) -> bool:
    """True if a folder holds DICOM slices."""
    with_preamble = (file for file in folder.iterdir() if file.is_file() and _is_dicom(file))
    return next(with_preamble, None) is not None


def _is_dicom(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(132)[128:] == b"DICM"


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
    if scan.ndim not in (2, 3):
        raise SegShiftError(f"{file} has shape {scan.shape}, not three dimensions")
    return scan  # 2D: a single slice
