"""`segshift predict CELL image.nii.gz -o mask.nii.gz`: segment a scan; the mask has the scan's shape and
affine.

The scan goes through the pre-processing of the dataset that the model learned from last, and the prediction
goes back as native scores do, see ``raw_grid.py``. Values of the mask are class indices in the order of the
model's classes, which are printed.
"""

from pathlib import Path

import numpy as np
import torch

from segshift import inference, plugins
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.paths import locate
from segshift.preparation import steps
from segshift.raw_grid import RawGrid
from segshift.settings import read_settings

SUFFIXES = (".nii", ".nii.gz")


def run(
    cell: str,
    image: Path,
    output: Path,
    root: str = "results",
    device: str = "auto",
    channel: int | None = None,
    mask: Path | None = None,
) -> None:
    """Segment one volume.

    Args:
        cell: a model's folder or path.
        image: the scan: NIfTI, MGZ, NRRD, MetaImage, or a folder of DICOM slices.
        output: the mask, NIfTI.
        root: the results folder, where ``cell`` is a path.
        device: ``auto``, ``cpu`` or ``cuda``.
        channel: which channel of a 4D scan, counted from 0; default: the one that the dataset's reader takes.
        mask: of the brain, for a model whose dataset has a step that wants one.

    Raises:
        SegShiftError: no such cell or image, an image of no known format, constant or with NaN, a mask that
            is missing or does not fit it, or an output whose name does not end in .nii or .nii.gz.
    """
    if not output.name.endswith(SUFFIXES):
        raise SegShiftError(f"the mask {output} must be named .nii or .nii.gz")
    results, path = locate(cell, root)
    folder = results.run(path)
    settings = read_settings(folder)
    data = settings.get("target", settings["source"])
    nifti = plugins.load("datasets", "nifti")
    if channel is None and data["reader"]["module"] == "nifti":
        channel = data["reader"].get("channel")
    volume = nifti.read_image(image, data["plane"], channel, mask)
    if not np.isfinite(volume.image).all():
        raise SegShiftError(f"{image} has voxels that are NaN or infinite")
    try:
        prepared = steps.apply(volume, data["preprocess"])
    except SegShiftError as error:
        raise SegShiftError(f"{image}: {error}") from None
    if prepared.image.min() < 0 or prepared.image.max() > 1:
        raise SegShiftError(
            f"{image}: values lie outside [0, 1], and {data['dataset']} has no step that brings them there; "
            "scale the image as that dataset's files are"
        )
    device = find_device(device)
    (model, *_) = inference.load(folder, settings, results, device)
    # float16 as in the prepared format, so that a scan gives what evaluation gave
    slices = torch.from_numpy(prepared.image.astype(np.float16).astype(np.float32))
    try:
        grid = RawGrid(prepared.affine, slices.shape, volume.affine, volume.image.shape, model.model.crop)
    except SegShiftError as error:
        raise SegShiftError(f"{image}: {error}") from None
    labels = inference.segment(model.model, slices, device, grid)
    output.parent.mkdir(parents=True, exist_ok=True)
    nifti.write_label(labels, volume.affine, image, output)
    print("; ".join(f"{index} {name}" for index, name in enumerate(settings["classes"])))
