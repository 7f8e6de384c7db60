"""What a score file says of a volume on one grid, from counts and, where surfaces are asked for, its labels.

The same for masks that a model of this project predicts and for those that another tool made.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segshift import metrics, surfaces
from segshift.evaluation import Asked
from segshift.tally import Tally


def counted(truth: np.ndarray, mask: np.ndarray, classes: int) -> Tally:
    """Counts of two label arrays [z, y, x], slice by slice."""
    tally = Tally(classes)
    for one, label in zip(mask, truth, strict=True):
        tally.add(torch.from_numpy(one)[None], torch.from_numpy(label)[None])
    return tally


def measured(
    tally: Tally, asked: Asked, truth: np.ndarray | None, mask: np.ndarray | None, spacing: Sequence[float]
) -> list[dict[str, Any]]:
    """What rows say of each foreground class.

    Args:
        tally: counts of the volume.
        asked: what is computed.
        truth: labels [z, y, x]; needed for surfaces alone, as is ``mask``.
        mask: the same of the prediction.
        spacing: of the voxels, mm.
    """
    found = []
    for counts in tally.volume[1:].tolist():
        one = dict(zip(("tp", "fp", "fn"), counts, strict=True))
        found.append(one | {"dice": metrics.dice(*counts), "iou": metrics.iou(*counts)})
    if asked.slices:
        for one, dice in zip(found, tally.slice_dice(), strict=True):
            names = ("slice_dice", "slice_dice_truth_only", "slice_dice_one")
            one |= dict(zip(names, dice, strict=True))
    if asked.surfaces:
        tolerance, worst = asked.tolerance, surfaces.missed(mask.shape, spacing)
        of_classes = surfaces.surfaces(truth, mask, tally.classes, spacing, tolerance)
        for one, surface in zip(found, of_classes, strict=True):
            one |= surface._asdict() | {"tolerance": tolerance, "missed": worst}
    return found
