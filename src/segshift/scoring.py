"""Score files' rows: predict a split volume by volume, count, and measure what was asked for.

Chunks of slices are counted as they come. Only where surfaces are asked for are the labels of one volume
kept, one byte a voxel; one-hot volumes never are.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from segshift import losses, metrics, raw_labels
from segshift.errors import SegShiftError
from segshift.evaluation import DEFAULT, Asked
from segshift.inference import Checkpoint, outputs
from segshift.prepared import Prepared, VolumeInfo
from segshift.raw_grid import RawGrid
from segshift.scores import WHOLE, Row
from segshift.slices import Chunk, VolumeChunks
from segshift.tally import Tally
from segshift.volume_scores import counted, measured


def score(
    checkpoints: list[Checkpoint],
    prepared: Prepared,
    target: str,
    split: str,
    device: torch.device,
    asked: Asked = DEFAULT,
) -> list[list[Row]]:
    """Rows of a split, by checkpoint: of each volume, foreground class and space, and a loss per volume.

    Args:
        checkpoints: of one model, or of several on one backbone.
        prepared: the data.
        target: its name.
        split: of the data.
        device: where the models are.
        asked: what is computed.

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
    return rows


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
        prediction = metrics.prediction(logits)
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
        found = measured(self.tally, self.asked, truths.get("prepared"), mask, self.volume.spacing)
        for name, cells in zip(names, found, strict=True):
            yield Row(*common, name, loss=None, model=digests[0], data=digests[1], **cells)
        nothing = dict.fromkeys(("tp", "fp", "fn", "dice", "iou"))
        loss = metrics.mean(self.loss)
        yield Row(*common, WHOLE, **nothing, loss=loss, model=digests[0], data=digests[1])
        if self.raw:
            truth, mask = truths["native"], self.raw.labels()
            spacing = np.linalg.norm(self.volume.raw_affine[:3, :3], axis=0).tolist()
            data = raw_labels.digest(prepared)[:16]
            found = measured(counted(truth, mask, self.classes), self.asked, truth, mask, spacing)
            for name, cells in zip(names, found, strict=True):
                yield Row(*common, name, loss=None, model=model, data=data, space="native", **cells)


def _raw_grid(volume: VolumeInfo, multiple: int) -> RawGrid:
    shape = (volume.slices, *volume.shape)
    try:
        return RawGrid(volume.affine, shape, volume.raw_affine, volume.raw_shape, multiple)
    except SegShiftError as error:
        raise SegShiftError(f"volume {volume.id}: no native scores: {error}") from None
