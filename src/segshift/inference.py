"""Finished models at work: build from a folder, predict volumes. Neither Lightning nor MLflow is loaded."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segshift import devices
from segshift import model as models
from segshift.contracts import is_frozen
from segshift.errors import SegShiftError
from segshift.model import Segmenter
from segshift.paths import Results
from segshift.raw_grid import RawGrid
from segshift.slices import CHUNK, channels, crop

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


def load(
    folder: Path,
    settings: dict[str, Any],
    results: Results,
    device: torch.device,
    names: Sequence[str] = CHECKPOINTS,
) -> list[Checkpoint]:
    """The checkpoints in a model's folder, sharing the backbone where it is frozen; ``names``: which of them.

    Raises:
        SegShiftError: model.ckpt is missing, of another cell, or does not fit.
    """
    (found,) = load_row([(folder, settings)], results, device, names)
    return found


def load_row(
    todo: Sequence[tuple[Path, dict[str, Any]]],
    results: Results,
    device: torch.device,
    names: Sequence[str] = CHECKPOINTS,
) -> list[list[Checkpoint]]:
    """As ``load``, of several models that can be trained in a row: they share the frozen backbone.

    Raises:
        SegShiftError: as ``load``; or of several one has a backbone of its own in its checkpoint.
    """
    devices.set_up(todo[0][1]["training"])
    built = models.build([settings for _, settings in todo], results)
    found = [_load(model, *one, results, device, names) for model, one in zip(built, todo, strict=True)]
    for model, (_, settings) in zip(built, todo, strict=True) if len(todo) > 1 else ():
        if any(name.startswith("backbone.") for name in models.kept(model, settings)):
            raise SegShiftError(
                f"{settings['cell']}: its checkpoint holds its backbone, which none can share"
            )
    return found


def _load(
    built: Segmenter,
    folder: Path,
    settings: dict[str, Any],
    results: Results,
    device: torch.device,
    names: Sequence[str],
) -> list[Checkpoint]:
    """The checkpoints in a folder, the first of them into the model that was built."""
    found: list[Checkpoint] = []
    for name in names:
        file = folder / f"{name}.ckpt"
        if name != "model" and not file.exists():
            continue
        content = models.read_checkpoint(file, settings)
        models.check_files(content, settings, results)
        model = built if not found else _sibling(built, settings, content["weights"])
        models.load_state(model, content["weights"], settings, file)
        digest = models.weights_digest(content.pop("weights"))
        found.append(Checkpoint(name, digest, model.to(device).eval(), content))
    return found


def _sibling(model: Segmenter, settings: dict[str, Any], weights: dict[str, Tensor]) -> Segmenter:
    """A second model, of these weights: with the same backbone if nothing in it was trained, else a copy.

    A random twin's backbone stands in every checkpoint; trained or not, the tensors tell.
    """
    share = is_frozen(model.backbone) and all(
        torch.equal(own.cpu(), weights[name])
        for name, own in models.kept(model, settings).items()
        if name.startswith("backbone.") and name in weights
    )
    memo = {id(model.backbone): model.backbone} if share else {}
    return copy.deepcopy(model, memo)


@torch.inference_mode()
def outputs(checkpoints: list[Checkpoint], images: Tensor) -> Iterator[list[Tensor]]:
    """Each checkpoint's outputs (B, classes, H, W) for slices (B, 1, H, W); a shared backbone is passed
    once, for all maps that any of its heads takes."""
    taps: dict[int, set[int]] = {}
    for checkpoint in checkpoints:
        taps.setdefault(id(checkpoint.model.backbone), set()).update(checkpoint.model.taps)
    maps: dict[int, dict[int, Tensor]] = {}
    for checkpoint in checkpoints:
        model, own = checkpoint.model, id(checkpoint.model.backbone)
        if own not in maps:
            needed = sorted(taps[own])
            found = model.backbone(images.expand(-1, 3, -1, -1), needed)
            maps[own] = dict(zip(needed, found, strict=True))
        yield model.decode([maps[own][tap] for tap in model.taps], images.shape[-2:])


@torch.inference_mode()
def segment(
    models: Sequence[Segmenter],
    image: Tensor,
    device: torch.device,
    grid: RawGrid,
    told: Callable[[int], None] | None = None,
) -> None:
    """Fill a raw grid with what models say of a prepared volume.

    Args:
        models: with the same ``crop``; of several, the mean of the class probabilities counts.
        image: float32 [z, H, W], or [z, 3, H, W] in colour, in [0, 1].
        device: where the models are.
        grid: that of the models' ``crop``.
        told: called with the number of slices that are done.
    """
    for start in range(0, len(image), CHUNK):
        images = channels(crop(image[start : start + CHUNK], models[0].crop)).to(device)
        logits = [model.predict(model(images)) for model in models]
        if len(logits) > 1:  # the grid takes logits: of probabilities, those are the logarithms
            shares = torch.stack([one.float().log_softmax(1) for one in logits])
            logits = [shares.logsumexp(0) - math.log(len(models))]
        grid.add(logits[0])
        if told:
            told(min(start + CHUNK, len(image)))
