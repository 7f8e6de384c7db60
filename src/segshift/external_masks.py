"""Masks that other tools made, laid on the grids that scores are made on, and scored.

A mask may lie on the raw grid (the image's, in any orientation) or on the prepared one. From the raw grid it
comes to the prepared one by the steps that took the true labels there; from the prepared grid to the raw one
as our own predictions do, see ``raw_grid.py``. Pictures hold no place in space: they lie on the raw grid,
pixel for pixel. Which files they are is said in ``mask_files.py``.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from segshift import raw_labels
from segshift.errors import SegShiftError
from segshift.evaluation import Asked
from segshift.layers import canvas, pictures, scans
from segshift.mask_files import settings_of
from segshift.preparation import cases, steps
from segshift.prepared import Prepared, VolumeInfo
from segshift.raw_grid import RawGrid
from segshift.scores import Row
from segshift.volume_scores import counted, measured
from segshift.volumes import Volume, integers

APART = 0.05  # voxels between two grids that are one: NIfTI stores an affine as float32
INTENSITY = ("min_max", "n4", "percentile", "skull_strip", "z")  # steps that move no voxel and no label


class Mask(NamedTuple):
    """A mask on the grids that are asked for: class indices uint8 [z, y, x]."""

    prepared: np.ndarray
    native: np.ndarray | None


# ---- from a file to the grids ------------------------------------------------------------------------------


def read(
    files: Sequence[Path], volume: VolumeInfo, settings: Mapping[str, Any], native: bool, raw: bool
) -> Mask:
    """A mask on the prepared grid and, if asked, on the raw one.

    Args:
        files: a NIfTI, MGZ, NRRD or MetaImage, whose axes may run in any order and direction, or pictures:
            one of all slices, or one a file of the volume's images, in their order.
        volume: which it is of.
        settings: of the prepared dataset.
        native: the raw grid is asked for too.
        raw: its numbers are those of the raw label files, not class indices.

    Raises:
        SegShiftError: it cannot be read, lies on another grid, or holds a number that is no class.
    """
    label, affine = _load(files, volume, settings, raw)
    file = files[0]
    shape = (volume.slices, *volume.shape)
    on_prepared = laid_on(label, affine, volume.affine, shape)
    on_raw = laid_on(label, affine, volume.raw_affine, volume.raw_shape)
    if on_prepared is None and on_raw is None:
        raise SegShiftError(
            f"{file}: it does not lie on its image's voxels: it has {_size(label.shape)}, the raw image "
            f"{_size(volume.raw_shape)} and the prepared one {_size(shape)} (slices, rows, columns), or "
            "it is turned or moved against both"
        )
    try:
        prepared = _forward(on_raw, volume, settings) if on_prepared is None else on_prepared
        if native and on_raw is None:
            on_raw = _backward(on_prepared, volume, len(settings["classes"]))
    except SegShiftError as error:
        raise SegShiftError(f"{file}: {error}") from None
    return Mask(prepared, on_raw if native else None)


def _load(
    files: Sequence[Path], volume: VolumeInfo, settings: Mapping[str, Any], raw: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Class indices of three axes, and the affine from their indices to mm."""
    labels = []
    for file in files:
        if canvas.is_picture(file):
            array, affine = pictures.pages(file, colour=False), volume.raw_affine
        else:
            array, affine = scans.load(file, None)
        label = integers(array, str(file))
        try:
            labels.append(
                cases.map_labels(label, dict(settings)) if raw else _classes(label, settings["classes"])
            )
        except SegShiftError as error:
            raise SegShiftError(f"{file}: {error}") from None
    label = np.concatenate(labels) if len(labels) > 1 else labels[0]
    if canvas.is_picture(files[0]) and label.shape != volume.raw_shape:
        raise SegShiftError(
            f"{files[0]}: a mask that is a picture has the pixels of its raw image, "
            f"{_size(volume.raw_shape)} (slices, rows, columns), and this one has {_size(label.shape)}"
        )
    return label, affine


def _classes(label: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    for value in (label.min(), label.max()):
        if not 0 <= value < len(classes):
            listed = ", ".join(f"{index} {name}" for index, name in enumerate(classes))
            raise SegShiftError(f"the mask holds the value {value}, which is no class; known: {listed}")
    return label.astype(np.uint8)


def _size(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def laid_on(
    label: np.ndarray, affine: np.ndarray, grid: np.ndarray, shape: Sequence[int]
) -> np.ndarray | None:
    """An array in the order and directions of a grid's axes; None where its voxels are not that grid's.

    Args:
        label: of three axes.
        affine: from its indices to mm.
        grid: from the grid's indices to mm.
        shape: the grid's.
    """
    try:
        matrix = np.linalg.inv(affine) @ grid  # the grid's indices -> the array's
    except np.linalg.LinAlgError:
        return None
    turned = np.rint(matrix[:3, :3])
    order = np.abs(turned).argmax(0)  # the array's axis along each of the grid's
    if sorted(order) != [0, 1, 2] or np.abs(turned).sum() != 3:
        return None
    if tuple(label.shape[axis] for axis in order) != tuple(shape):
        return None
    back = [turned[axis, own] < 0 for own, axis in enumerate(order)]
    exact = np.zeros((3, 4))
    exact[:, :3] = turned
    for axis, is_back in zip(order, back, strict=True):
        exact[axis, 3] = label.shape[axis] - 1 if is_back else 0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(4, -1)
    if not np.abs((matrix[:3] - exact) @ corners).max() <= APART:
        return None
    flips = tuple(slice(None, None, -1) if is_back else slice(None) for is_back in back)
    return np.ascontiguousarray(label.transpose(order)[flips])


def _forward(label: np.ndarray, volume: VolumeInfo, settings: Mapping[str, Any]) -> np.ndarray:
    """From the raw to the prepared grid, by the steps that the true labels went through."""
    size = label.size
    image = (np.arange(size, dtype=np.float32) / max(size - 1, 1)).reshape(label.shape)  # any that varies
    spacing = tuple(np.linalg.norm(volume.raw_affine[:3, :3], axis=0).tolist())
    made = Volume(image, label, spacing, volume.raw_affine)
    for step in settings.get("preprocess") or []:
        if steps.parse(step)[0] not in INTENSITY:
            made = steps.apply_one(made, step)
    same = made.label.shape == (volume.slices, *volume.shape)
    if not same or not np.allclose(made.affine, volume.affine, rtol=1e-9, atol=1e-6):
        raise SegShiftError(
            "a step of its dataset moves voxels by what the image shows, so that a raw mask cannot follow; "
            "make masks on the prepared grid: segshift export-dataset"
        )
    return made.label.astype(np.uint8)


def _backward(label: np.ndarray, volume: VolumeInfo, classes: int) -> np.ndarray:
    """From the prepared to the raw grid."""
    grid = RawGrid(volume.affine, label.shape, volume.raw_affine, volume.raw_shape)
    sure = 1e4 * torch.eye(classes)  # a softmax of these is 0 or 1
    for one in label:
        grid.add(sure[torch.from_numpy(one).long()].permute(2, 0, 1)[None])
    return grid.labels()


# ---- scores ------------------------------------------------------------------------------------------------


def score(
    found: Mapping[str, Sequence[Path]],
    prepared: Prepared,
    target: str,
    split: str,
    asked: Asked,
    raw: bool = False,
) -> list[Row]:
    """Rows of a split, as ``evaluate`` writes them; without losses, for a mask has none.

    Args:
        found: the files of each volume's mask, by its id, see ``mask_files.find``.
        prepared: the target.
        target: its name.
        split: whose volumes they are.
        asked: what is computed.
        raw: the masks' numbers are those of the raw label files.

    Raises:
        SegShiftError: a mask does not fit, see ``read``; or raw labels were not kept.
    """
    settings, native = settings_of(prepared), "native" in asked.spaces
    made, total = [], hashlib.sha256()
    for volume in prepared.volumes(split):
        mask = read(found[volume.id], volume, settings, native, raw)
        total.update(f"{volume.id} {mask.prepared.shape}\n".encode() + mask.prepared.tobytes())
        made += _rows(mask, volume, prepared, (target, split, "model", volume.id, volume.patient), asked)
    digest = total.hexdigest()[:16]
    return [Row(*common, model=digest, **cells) for common, cells in made]


def _rows(
    mask: Mask, volume: VolumeInfo, prepared: Prepared, common: tuple[str, ...], asked: Asked
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """The first six cells of each row, and the others but the digest of the masks."""
    names, split = prepared.classes[1:], common[1]
    truth, spacing = prepared.volume(split, volume.id)[1], volume.spacing
    spaces = {"prepared": (truth, mask.prepared, spacing, prepared.sha256)}
    if mask.native is not None:
        truth = raw_labels.read(prepared, split, volume.id)
        spacing = np.linalg.norm(volume.raw_affine[:3, :3], axis=0).tolist()
        spaces["native"] = (truth, mask.native, spacing, raw_labels.digest(prepared))
    for space, (truth, label, spacing, data) in spaces.items():
        cells = measured(counted(truth, label, len(prepared.classes)), asked, truth, label, spacing)
        for name, one in zip(names, cells, strict=True):
            yield (*common, name), {**one, "loss": None, "data": data[:16], "space": space}
