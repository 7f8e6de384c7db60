"""Finished models at work: build from a folder, predict volumes, count. Neither Lightning nor MLflow is
loaded."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segshift import losses, metrics
from segshift import model as models
from segshift.contracts import is_frozen
from segshift.model import Segmenter
from segshift.paths import Results
from segshift.prepared import Prepared
from segshift.scores import Row
from segshift.slices import VolumeChunks

CHECKPOINTS = ("model", "lowest_loss", "last")


@dataclass
class Checkpoint:
    """One checkpoint of a model, ready to predict.

    ``digest`` identifies its weights (16 hex digits); ``content`` is what else the file says.
    """

    name: str
    digest: str
    model: Segmenter
    content: dict[str, Any]


def load(folder: Path, settings: dict[str, Any], results: Results, device: torch.device) -> list[Checkpoint]:
    """All checkpoints in a model's folder, sharing the backbone where it is frozen.

    Raises:
        SegShiftError: model.ckpt is missing, of another cell, or does not fit.
    """
    torch.set_num_threads(settings["training"].get("cpu_threads", 1))
    (built,) = models.build([settings], results)
    found = []
    for name in CHECKPOINTS:
        file = folder / f"{name}.ckpt"
        if name != "model" and not file.exists():
            continue
        content = models.read_checkpoint(file, settings)
        model = built if not found else _sibling(built, settings)
        models.load_state(model, content["weights"], settings, file)
        digest = models.weights_digest(content.pop("weights"))
        found.append(Checkpoint(name, digest, model.to(device).eval(), content))
    return found


def _sibling(model: Segmenter, settings: dict[str, Any]) -> Segmenter:
    """A second model: with the same backbone if nothing in it was trained, else with a copy."""
    share = is_frozen(model.backbone) and not models.keeps_everything(settings)
    memo = {id(model.backbone): model.backbone} if share else {}
    return copy.deepcopy(model, memo)


@torch.inference_mode()
def outputs(checkpoints: list[Checkpoint], images: Tensor) -> Iterator[list[Tensor]]:
    """Each checkpoint's outputs (B, classes, H, W) for slices (B, 1, H, W); a shared backbone is passed
    once."""
    maps: dict[int, list[Tensor]] = {}
    for checkpoint in checkpoints:
        model = checkpoint.model
        if id(model.backbone) not in maps:
            maps[id(model.backbone)] = model.features(images)
        yield model.decode(maps[id(model.backbone)], images.shape[-2:])


def score(
    checkpoints: list[Checkpoint], prepared: Prepared, target: str, split: str, device: torch.device
) -> list[Row]:
    """Score files' rows of a split: of each checkpoint, volume and foreground class, and a loss per
    volume."""
    chunks = VolumeChunks(prepared, split)
    classes = prepared.classes
    matrices = torch.zeros(
        len(checkpoints), len(chunks.volumes), len(classes), len(classes), dtype=torch.int64
    )
    loss: list[list[list[float]]] = [[[] for _ in chunks.volumes] for _ in checkpoints]
    for index in range(len(chunks)):
        chunk = chunks[index]
        labels = chunk.labels.to(device)
        for number, (checkpoint, logits) in enumerate(
            zip(checkpoints, outputs(checkpoints, chunk.images.to(device)), strict=True)
        ):
            final = checkpoint.model.predict(logits)
            matrices[number, chunk.volume] += metrics.confusion(final.argmax(1), labels, len(classes)).cpu()
            # per slice, so that the mean over a volume does not depend on how it was cut into chunks
            loss[number][chunk.volume] += [
                float(losses.cross_entropy(one[None], label[None]))
                for one, label in zip(final, labels, strict=True)
            ]
    rows = []
    for number, checkpoint in enumerate(checkpoints):
        for place, volume in enumerate(chunks.volumes):
            common = (target, split, checkpoint.name, volume.id, volume.patient)
            rows += _rows(common, classes, metrics.counts(matrices[number, place]), loss[number][place],
                          checkpoint.digest, prepared.sha256[:16])  # fmt: skip
    return rows


def _rows(common, classes, table, loss, model_digest, data_digest) -> Iterator[Row]:
    for name, counts in zip(classes[1:], table[1:], strict=True):
        counts = [int(count) for count in counts]
        dice, iou = metrics.dice(*counts), metrics.iou(*counts)
        yield Row(*common, name, *counts, dice, iou, None, model_digest, data_digest)
    yield Row(*common, "all", None, None, None, None, None, metrics.mean(loss), model_digest, data_digest)


@torch.inference_mode()
def segment(model: Segmenter, image: Tensor, device: torch.device, chunk: int = 8) -> Tensor:
    """Class indices uint8 [z, H, W] of a prepared volume, float32 [z, H, W] in [0, 1]."""
    parts = []
    for start in range(0, len(image), chunk):
        logits = model(image[start : start + chunk].unsqueeze(1).to(device))
        parts.append(model.predict(logits).argmax(1).to(torch.uint8).cpu())
    return torch.cat(parts)
