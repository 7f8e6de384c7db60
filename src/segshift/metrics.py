"""Counts per volume and class, and what follows from them. A Dice is a percentage from here on.

Counts are streamed slice by slice as one confusion matrix a volume, so nothing is ever stacked.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def prediction(logits: Tensor) -> Tensor:
    """The class of most weight, the first of equal ones: (B, classes, H, W) to (B, H, W) int64.

    What ``argmax`` says, also of NaN. On a CPU a running maximum, class by class and slice by slice, takes a
    twentieth of its time: each step goes along a plane of memory.
    """
    if logits.device.type != "cpu" or logits.shape[1] > 256:  # of a byte
        return logits.argmax(1)
    return torch.stack([_first_most(slice_) for slice_ in logits]).long()


def _first_most(planes: Tensor) -> Tensor:
    most, more = planes[0].clone(), torch.empty(planes.shape[1:], dtype=torch.bool)
    which = torch.zeros(planes.shape[1:], dtype=torch.uint8)
    for number, plane in enumerate(planes[1:], 1):
        torch.gt(plane, most, out=more)
        torch.maximum(most, plane, out=most)
        # numbers rise, so the largest that was more than all before it is the place of the most
        torch.maximum(which, more.view(torch.uint8).mul_(number), out=which)
    return planes.argmax(0).to(torch.uint8) if most.isnan().any() else which


def confusion(prediction: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Confusion matrix of class indices of any shape: (classes, classes) int64, rows truth, columns
    prediction."""
    pairs = labels.reshape(-1).long() * classes + prediction.reshape(-1).long()
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def counts(matrix: Tensor) -> np.ndarray:
    """True positives, false positives, false negatives of each class: int64 (classes, 3)."""
    matrix = matrix.cpu().numpy()
    hits = np.diagonal(matrix)
    return np.stack([hits, matrix.sum(0) - hits, matrix.sum(1) - hits], axis=1)


def dice(true_positives: int, false_positives: int, false_negatives: int) -> float | None:
    """Dice in percent; None where the class is absent from truth and prediction (``absent: skip``)."""
    size = 2 * true_positives + false_positives + false_negatives
    return 100 * 2 * true_positives / size if size else None


def iou(true_positives: int, false_positives: int, false_negatives: int) -> float | None:
    """Intersection over union in percent; None where the class is absent from both."""
    union = true_positives + false_positives + false_negatives
    return 100 * true_positives / union if union else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what is there, exactly rounded; None if nothing is."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def volume_dice(table: np.ndarray) -> float | None:
    """Dice of a volume in percent: mean over foreground classes. ``table`` is that of ``counts``."""
    return mean(dice(*(int(n) for n in row)) for row in table[1:])
