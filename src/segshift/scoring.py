"""Score files' rows: predict a split volume by volume, count, and measure what was asked for.

Chunks of slices are counted as they come. Only where surfaces are asked for are the labels of one volume
kept, one byte a voxel; one-hot volumes never are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segshift import losses, metrics, raw_labels, surfaces
from segshift.errors import SegShiftError
from segshift.evaluation import DEFAULT, Asked
from segshift.inference import Checkpoint, outputs
from segshift.prepared import Prepared, VolumeInfo
from segshift.raw_grid import RawGrid
from segshift.scores import WHOLE, Row
from segshift.slices import Chunk, VolumeChunks
from segshift.tally import Tally


def score(
    checkpoints: list[Checkpoint],
    prepared: Prepared,
    target: str,
    split: str,
    device: torch.device,
    asked: Asked = DEFAULT,
) -> list[Row]:
    """Rows of a split: of each checkpoint, volume, foreground class and space, and a loss per volume.

    Raises:
        SegShiftError: native scores are asked for, and raw labels were not kept or lie turned against what
            was prepared.
    """
    rows: list[list[Row]] = [[] for _ in checkpoints]
    multiple = checkpoints[0].model.crop
    for volume, chunks in _volumes(VolumeChunks(prepared, split, multiple)):
        works = [_Work(volume, len(prepared.classes), asked, multiple) for _ in checkpoints]
        labels = []
        for chunk in chunks:
            truth = chunk.labels.to(device)
            found = outputs(checkpoints, chunk.images.to(device))
            for checkpoint, work, logits in zip(checkpoints, works, found, strict=True):
                work.add(checkpoint.model.predict(logits), truth)
            labels.append(chunk.labels.to(torch.uint8))
        grids = _truths(labels, prepared, split, volume, asked)
        for number, (checkpoint, work) in enumerate(zip(checkpoints, works, strict=True)):
            common = (target, split, checkpoint.name, volume.id, volume.patient)
            rows[number] += work.rows(common, prepared, checkpoint.digest, grids)
    return [row for of_checkpoint in rows for row in of_checkpoint]


def _volumes(chunks: VolumeChunks) -> Iterator[tuple[VolumeInfo, Iterator[Chunk]]]:
    """Volumes, each with its chunks; a chunk is read when it is asked for."""
    for number, volume in enumerate(chunks.volumes):
        places = [place for place, (owner, *_) in enumerate(chunks.chunks) if owner == number]
        yield volume, (chunks[place] for place in places)


def _truths(
    labels: list[Tensor], prepared: Prepared, split: str, volume: VolumeInfo, asked: Asked
) -> dict[str, np.ndarray]:
    """The true labels [z, y, x] of each space whose whole volume is looked at."""
    found = {}
    if asked.surfaces:
        found["prepared"] = torch.cat(labels).numpy()
    if "native" in asked.spaces:
        found["native"] = raw_labels.read(prepared, split, volume.id)
    return found


class _Work:
    """What is gathered of one volume and one checkpoint."""

    def __init__(self, volume: VolumeInfo, classes: int, asked: Asked, multiple: int) -> None:
        self.volume, self.classes, self.asked = volume, classes, asked
        self.tally, self.loss = Tally(classes), []
        self.masks: list[Tensor] = []
        self.raw = _raw_grid(volume, multiple) if "native" in asked.spaces else None

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """The next slices: logits (n, classes, H, W) and labels (n, H, W)."""
        prediction = logits.argmax(1)
        self.tally.add(prediction, labels)
        # per slice, so that the mean over a volume does not depend on how it was cut into chunks
        self.loss += [
            float(losses.cross_entropy(one[None], label[None]))
            for one, label in zip(logits, labels, strict=True)
        ]
        if self.asked.surfaces:
            self.masks.append(prediction.to(torch.uint8).cpu())
        if self.raw:
            self.raw.add(logits)

    def rows(
        self, common: tuple[str, ...], prepared: Prepared, model: str, truths: dict[str, np.ndarray]
    ) -> Iterator[Row]:
        """All rows of the volume; ``common`` are the first five cells."""
        names, digests = prepared.classes[1:], (model, prepared.sha256[:16])
        mask = torch.cat(self.masks).numpy() if self.masks else None
        for name, cells in zip(
            names, self._measured(self.tally, truths.get("prepared"), mask, self.volume.spacing), strict=True
        ):
            yield Row(*common, name, loss=None, model=digests[0], data=digests[1], **cells)
        nothing = dict.fromkeys(("tp", "fp", "fn", "dice", "iou"))
        loss = metrics.mean(self.loss)
        yield Row(*common, WHOLE, **nothing, loss=loss, model=digests[0], data=digests[1])
        if self.raw:
            truth, mask, tally = truths["native"], self.raw.labels(), Tally(self.classes)
            for one, label in zip(mask, truth, strict=True):
                tally.add(torch.from_numpy(one)[None], torch.from_numpy(label)[None])
            spacing = np.linalg.norm(self.volume.raw_affine[:3, :3], axis=0).tolist()
            data = raw_labels.digest(prepared)[:16]
            for name, cells in zip(names, self._measured(tally, truth, mask, spacing), strict=True):
                yield Row(*common, name, loss=None, model=model, data=data, space="native", **cells)

    def _measured(
        self, tally: Tally, truth: np.ndarray | None, mask: np.ndarray | None, spacing: Sequence[float]
    ) -> list[dict[str, Any]]:
        """What rows say of each foreground class in one space."""
        found = []
        for counts in tally.volume[1:].tolist():
            one = dict(zip(("tp", "fp", "fn"), counts, strict=True))
            found.append(one | {"dice": metrics.dice(*counts), "iou": metrics.iou(*counts)})
        if self.asked.slices:
            for one, dice in zip(found, tally.slice_dice(), strict=True):
                names = ("slice_dice", "slice_dice_truth_only", "slice_dice_one")
                one |= dict(zip(names, dice, strict=True))
        if self.asked.surfaces:
            tolerance, worst = self.asked.tolerance, surfaces.missed(mask.shape, spacing)
            of_classes = surfaces.surfaces(truth, mask, self.classes, spacing, tolerance)
            for one, surface in zip(found, of_classes, strict=True):
                one |= surface._asdict() | {"tolerance": tolerance, "missed": worst}
        return found


def _raw_grid(volume: VolumeInfo, multiple: int) -> RawGrid:
    shape = (volume.slices, *volume.shape)
    try:
        return RawGrid(volume.affine, shape, volume.raw_affine, volume.raw_shape, multiple)
    except SegShiftError as error:
        raise SegShiftError(f"volume {volume.id}: no native scores: {error}") from None
