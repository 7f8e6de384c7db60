"""The worst, the median and the best test volume of a target, as a picture beside its scores."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from segshift import pictures, scores
from segshift.inference import Checkpoint, outputs
from segshift.prepared import Prepared
from segshift.scores import Row
from segshift.slices import channels, crop


def chosen(rows: Iterable[Row], target: str) -> dict[str, tuple[str, float]]:
    """``worst``, ``median`` and ``best`` -> id and Dice of a test volume; of few volumes one may be several.

    A volume's Dice is that of ``scores.dice``: the mean over its classes that count. The median of an even
    number is the lower one.
    """
    found: dict[str, list[float]] = {}
    for row in scores.select(rows, target, "test"):
        if row.dice is not None and row.space == "prepared":
            found.setdefault(row.volume, []).append(row.dice)
    ranked = sorted((scores.mean(values), volume) for volume, values in found.items())
    if not ranked:
        return {}
    places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
    return {name: (ranked[at][1], ranked[at][0]) for name, at in places.items()}


def write(
    file: Path, rows: Iterable[Row], checkpoint: Checkpoint, prepared: Prepared, device: torch.device
) -> None:
    """A picture of these volumes, each by the slice that shows most foreground."""
    target = prepared.folder.name
    classes = len(prepared.classes)
    counts = {
        volume.id: one for volume, one in zip(prepared.volumes("test"), prepared.counts("test"), strict=True)
    }
    shown = []
    for name, (volume, dice) in chosen(rows, target).items():
        z = int(np.argmax(counts[volume][:, 1:].sum(1)))
        image, truth = (torch.from_numpy(one) for one in prepared.slice("test", volume, z))
        image, truth = (crop(one, checkpoint.model.crop) for one in (image, truth))
        (logits,) = outputs([checkpoint], channels(image[None]).to(device))
        prediction = checkpoint.model.predict(logits).argmax(1)[0].cpu().numpy()
        caption = f"{name}: {volume}, Dice {dice:.2f}; slice {z}"
        shown.append((caption, pictures.compared(image.numpy(), truth.numpy(), prediction, classes)))
    if shown:
        title = f"{checkpoint.content['cell']} on {target}"
        pictures.save(pictures.sheet(title, shown, pictures.COMPARED), file)
