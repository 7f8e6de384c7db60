"""The voxels of an input file: as slices for a model, and back, so that a mask has its shape and place.

Scans keep shape, affine and orientation, whatever they are; pictures (PNG, TIFF and others) keep rows,
columns and pages. The format that is written follows from the name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import SpatialImage
from PIL import Image

from segshift.errors import SegShiftError
from segshift.layers import pictures, scans
from segshift.volumes import Volume

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
READ = (*scans.SUFFIXES, *PICTURES)
MASKS = (".nii", ".nii.gz", ".mgz", ".nrrd", ".mha")  # what is written for a scan
PICTURE_MASKS = (".png", ".tif", ".tiff")  # and for a picture; nothing that loses a bit
STEPS = 65535  # of a probability from 0 to 1, as it is stored


def suffix(file: Path, known: tuple[str, ...] = READ) -> str | None:
    """The known ending of a file's name, the longest that fits, in lower case."""
    return max((one for one in known if file.name.lower().endswith(one)), key=len, default=None)


def is_picture(file: Path) -> bool:
    """By its name."""
    return not file.is_dir() and suffix(file) in PICTURES


def mask_suffixes(image: Path) -> tuple[str, ...]:
    """Endings that a mask of this file may have, the usual one first."""
    known = PICTURE_MASKS if is_picture(image) else MASKS
    own = suffix(image)
    usual = own if own in known else {".nhdr": ".nrrd", ".mhd": ".mha"}.get(own, known[0])
    if is_picture(image):
        return tuple(dict.fromkeys([usual if own in known else ".png", *known]))
    return tuple(dict.fromkeys([usual if own in known or own in scans.ITK else ".nii.gz", *known]))


@dataclass(frozen=True)
class Canvas:
    """One input file. ``volume`` has its voxels along the plane that was asked for; ``scan`` is None for a
    picture."""

    file: Path
    volume: Volume
    scan: SpatialImage | None

    def restore(self, array: np.ndarray) -> np.ndarray:
        """[z, y, x, …] of ``volume`` in the order of the file's own voxels: [x, y, z, …] of a scan."""
        order, flips = self._turned()
        return np.ascontiguousarray(array.transpose([*order, *range(3, array.ndim)])[flips])

    def lay_out(self, array: np.ndarray) -> np.ndarray:
        """The inverse of ``restore``."""
        order, flips = self._turned()
        return np.ascontiguousarray(array[flips].transpose([*np.argsort(order), *range(3, array.ndim)]))

    def _turned(self) -> tuple[list[int], tuple[slice, ...]]:
        """Of each axis of the file: the axis of ``volume``, and its direction."""
        if self.scan is None:
            return [0, 1, 2], ()
        indices = np.linalg.inv(self.volume.affine) @ self.scan.affine  # file's -> volume's; only turned
        order = [int(axis) for axis in np.abs(indices[:3, :3]).argmax(0)]
        back = [indices[old, new] < 0 for new, old in enumerate(order)]
        return order, tuple(slice(None, None, -1 if one else 1) for one in back)

    def write(self, labels: np.ndarray, file: Path) -> None:
        """Write labels uint8 [z, y, x] in the format that the name of ``file`` says.

        Raises:
            SegShiftError: this format cannot hold them.
        """
        labels = self.restore(labels)
        ending = suffix(file)
        if ending not in mask_suffixes(self.file):
            raise SegShiftError(_misnamed(file, self.file))
        part = file.with_name(f".{file.name}.part{ending}")  # the writers go by the ending
        try:
            if self.scan is None:
                _write_picture(labels, part)
            elif ending in scans.ITK:
                _write_itk(labels, self.scan.affine, part)
            elif ending == ".mgz":
                nibabel.save(nibabel.MGHImage(labels, self.scan.affine), part)
            else:
                nibabel.save(self._nifti(labels.reshape(self.scan.shape[:3])), part)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def write_shares(self, shares: np.ndarray, file: Path) -> None:
        """Write probabilities [z, y, x, class] as NIfTI [x, y, z, class], in steps of 1/65535.

        A picture's are [column, row, page, class], at places that mean nothing.
        """
        shares = self.restore(shares)
        if self.scan is None:
            shares = shares.transpose(2, 1, 0, 3)
        image = self._nifti(np.rint(shares * STEPS).astype(np.uint16))
        image.header.set_slope_inter(1 / STEPS, 0)  # readers give values from 0 to 1
        part = file.with_name(f".{file.name}.part.nii.gz")
        try:
            nibabel.save(image, part)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def _nifti(self, array: np.ndarray) -> nibabel.Nifti1Image:
        """With the place that the input has, in the words of its own header where that is NIfTI."""
        scan = self.scan
        affine = np.eye(4) if scan is None else scan.affine
        kind = nibabel.Nifti2Image if isinstance(scan, nibabel.Nifti2Pair) else nibabel.Nifti1Image
        written = kind(array, affine, dtype=array.dtype)
        written.header.set_xyzt_units("mm")
        if isinstance(scan, nibabel.Nifti1Pair) and scan.get_filename():
            codes = [int(scan.header[name]) for name in ("qform_code", "sform_code")]
            if any(codes):
                written.set_qform(scan.get_qform() if codes[0] else None, codes[0])
                written.set_sform(scan.get_sform() if codes[1] else None, codes[1])
                return written
        written.set_qform(affine, 1)  # scanner: other formats mean no other space
        written.set_sform(affine, 1)
        return written


def read(file: Path, plane: str, channel: int | None, mask: Path | None, reader: dict[str, Any]) -> Canvas:
    """An input as a model's data are laid out.

    Args:
        file: a scan, a folder of DICOM slices, or a picture.
        plane: of the model's data.
        channel: of a 4D scan.
        mask: of the brain; for scans.
        reader: of the model's data; pixel sizes and ``scale`` of pictures are taken from it.

    Raises:
        SegShiftError: a missing, truncated or other file; channels; a mask that does not fit.
    """
    if not is_picture(file):
        scan = scans.open_scan(file)
        return Canvas(file, scans.read_image(file, plane, channel, mask), scan)
    if mask:
        raise SegShiftError(f"{file} is a picture; a mask of the brain goes with scans")
    image = pictures.pages(file, colour=True)
    if image.ndim == 4 and (image == image[..., :1]).all():
        image = image[..., 0]  # gray, saved as colours
    of_pictures = reader if reader["module"] == "png" else {}
    largest = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    values = (image / (of_pictures.get("scale") or largest)).astype(np.float32)
    spacing = tuple(float(of_pictures.get(key) or 1) for key in ("thickness", "pixel", "pixel"))
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*spacing, 1]
    return Canvas(file, Volume(values, None, spacing, affine), None)


def check_name(image: Path, output: Path) -> None:
    """Raise SegShiftError where a mask of this input cannot have this name."""
    if suffix(output) not in mask_suffixes(image):
        raise SegShiftError(_misnamed(output, image))


def _misnamed(output: Path, image: Path) -> str:
    kind = "picture" if is_picture(image) else "scan"
    return f"the mask {output} of a {kind} must be named {', '.join(mask_suffixes(image))}"


def _write_picture(labels: np.ndarray, file: Path) -> None:
    pages = [Image.fromarray(page) for page in labels]
    if len(pages) > 1 and suffix(file) == ".png":
        raise SegShiftError(f"{len(pages)} pages do not fit into a PNG; name the mask .tif")
    more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    pages[0].save(file, **more)


def _write_itk(labels: np.ndarray, affine: np.ndarray, file: Path) -> None:
    import SimpleITK  # here, since to load it takes a moment that NIfTI does not need

    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(labels.T))  # [z, y, x]
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    try:
        image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
        SimpleITK.WriteImage(image, str(file), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise SegShiftError(f"{file.suffix} cannot hold this scan's place, write .nii.gz: {reason}") from None
