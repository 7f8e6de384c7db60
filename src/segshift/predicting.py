"""Scans through finished models: each prepared as the model's own data were, and back to its voxels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segshift import inference
from segshift.errors import SegShiftError
from segshift.layers import canvas as canvases
from segshift.layers.canvas import Canvas
from segshift.model import Segmenter
from segshift.paths import locate
from segshift.preparation import steps
from segshift.raw_grid import RawGrid
from segshift.settings import read_settings


@dataclass(frozen=True)
class Alike:
    """Models that get the same slices of a scan. ``data`` is the entry of the dataset they learned from
    last."""

    data: dict[str, Any]
    models: list[Segmenter]


@dataclass(frozen=True)
class Prediction:
    """Of one input: ``labels`` uint8 [z, y, x] on the voxels of ``canvas.volume``, and, where they were asked
    for, ``shares`` float32 [z, y, x, class]."""

    canvas: Canvas
    labels: np.ndarray
    shares: np.ndarray | None


SCALES = ("min_max", "percentile")  # steps that bring values to [0, 1]


class Predictor:
    """One model, or several whose class probabilities are averaged.

    Args:
        cells: folders or paths of models.
        root: the results folder, where a cell is a path.
        device: where they run.
        channel: which channel of 4D scans; default: the one that the reader of the model's data takes.
        scale: a step of ``SCALES`` that brings values to [0, 1], for models whose data have none.

    Raises:
        SegShiftError: a cell without a model, one named twice, models of different classes, or ``scale`` for
            a model whose data have such a step.
    """

    def __init__(
        self,
        cells: Sequence[str],
        root: str,
        device: torch.device,
        channel: int | None = None,
        scale: str | None = None,
    ) -> None:
        self.device, self.channel, self.scale = device, channel, scale
        self.alike: list[Alike] = []
        #: digest of the weights by path
        self.digests: dict[str, str] = {}
        self.classes: list[str] = []
        for cell in cells:
            self._add(cell, root)

    def _add(self, cell: str, root: str) -> None:
        results, path = locate(cell, root)
        if path in self.digests:
            raise SegShiftError(f"the cell {path} is named twice")
        folder = results.run(path)
        settings = read_settings(folder)
        if self.classes and settings["classes"] != self.classes:
            raise SegShiftError(
                f"{path} has the classes {', '.join(settings['classes'])}, {next(iter(self.digests))} has "
                f"{', '.join(self.classes)}; an ensemble needs the same ones"
            )
        self.classes = settings["classes"]
        (checkpoint,) = inference.load(folder, settings, results, self.device, ["model"])
        self.digests[path] = checkpoint.digest
        data, model = settings.get("target", settings["source"]), checkpoint.model
        own = [name for name, _ in map(steps.parse, data["preprocess"]) if name in SCALES]
        if self.scale and own:
            raise SegShiftError(
                f"--scale: {data['dataset']}, from which {path} learned, has {own[0]} of its own"
            )
        for one in self.alike:
            if self._way(one.data) == self._way(data) and one.models[0].crop == model.crop:
                one.models.append(model)
                return
        self.alike.append(Alike(data, [model]))

    def _way(self, data: dict[str, Any]) -> tuple[Any, ...]:
        """All that decides what becomes of a scan."""
        reader = data["reader"]
        pictures = (
            [reader.get(key) for key in ("scale", "pixel", "thickness")]
            if reader["module"] == "png"
            else None
        )
        return data["plane"], data["preprocess"], self.channel_of(data), pictures

    def channel_of(self, data: dict[str, Any]) -> int | str | None:
        """Which channel these data are: as it was asked for, else the reader's own."""
        if self.channel is None and data["reader"]["module"] in ("nifti", "nnunet"):
            return data["reader"].get("channel")
        return self.channel

    def predict(
        self,
        file: Path,
        mask: Path | None = None,
        shares: bool = False,
        told: Callable[[float], None] | None = None,
    ) -> Prediction:
        """Segment one scan, folder of DICOM slices, or picture.

        Args:
            file: of any geometry.
            mask: of the brain, for models whose data have a step that wants one.
            shares: whether probabilities are asked for.
            told: called with the share of the work that is done.

        Raises:
            SegShiftError: a missing, broken or empty file, NaN, other channels, or a mask that does not fit.
        """
        total: np.ndarray | None = None
        several = len(self.alike) > 1
        for number, one in enumerate(self.alike):
            canvas, grid = self._one(
                one,
                file,
                mask,
                shares or several,
                lambda s, n=number: told and told((n + s) / len(self.alike)),
            )
            if not several:
                return Prediction(canvas, grid.labels(), grid.shares() if shares else None)
            # Each has its own plane: they meet on the file's voxels.
            found = canvas.restore(grid.shares()) * (len(one.models) / len(self.digests))
            total = found if total is None else np.add(total, found, out=total)
        first = canvases.read(file, self.alike[0].data["plane"], *self._options(self.alike[0].data, mask))
        total = first.lay_out(total)
        return Prediction(first, total.argmax(-1).astype(np.uint8), total if shares else None)

    def _options(self, data: dict[str, Any], mask: Path | None) -> tuple[Any, ...]:
        channel = self.channel_of(data)
        return channel if isinstance(channel, int) else None, mask, data["reader"]

    def _one(
        self, alike: Alike, file: Path, mask: Path | None, keep: bool, told: Callable[[float], Any]
    ) -> tuple[Canvas, RawGrid]:
        data = alike.data
        canvas = canvases.read(file, data["plane"], *self._options(data, mask))
        slices, affine = _prepared(canvas, data, self.scale)
        _check_colours(canvas, data)
        shape = (len(slices), *slices.shape[-2:])
        raw = canvas.volume
        try:
            grid = RawGrid(affine, shape, raw.affine, raw.image.shape[:3], alike.models[0].crop, keep)
            inference.segment(alike.models, slices, self.device, grid, lambda done: told(done / shape[0]))
        except SegShiftError as error:
            raise SegShiftError(f"{file}: {error}") from None
        return canvas, grid


def _prepared(
    canvas: Canvas, data: dict[str, Any], scale: str | None = None
) -> tuple[torch.Tensor, np.ndarray]:
    """Slices [z, H, W], or [z, 3, H, W] in colour, as the model's data were prepared, and their affine."""
    file, image = canvas.file, canvas.volume.image
    if wrong := int(image.size - np.isfinite(image).sum()):
        raise SegShiftError(f"{file} has {wrong} voxels that are NaN or infinite")
    if image.min() == image.max():
        raise SegShiftError(f"{file} is empty: every voxel has the same value, {image.flat[0]:g}")
    try:
        prepared = steps.apply(canvas.volume, [*([scale] if scale else []), *data["preprocess"]])
    except SegShiftError as error:
        raise SegShiftError(f"{file}: {error}") from None
    if prepared.image.min() < 0 or prepared.image.max() > 1:
        raise SegShiftError(
            f"{file}: values lie outside [0, 1], and {data['dataset']} has no step that brings them there; "
            f"scale the image as that dataset's files are, or choose how: --scale {' or '.join(SCALES)}"
        )
    # float16 as in the prepared format, so that a scan gives what evaluation gave
    slices = torch.from_numpy(prepared.image.astype(np.float16).astype(np.float32))
    return (slices if slices.ndim == 3 else slices.movedim(-1, 1)), prepared.affine


def _check_colours(canvas: Canvas, data: dict[str, Any]) -> None:
    """Only readers of pictures give colours; what they gave is not in the settings."""
    if canvas.volume.image.ndim == 4 and data["reader"]["module"] != "png":
        raise SegShiftError(f"{canvas.file} has 3 channels (it is in colour); {data['dataset']} is gray")
