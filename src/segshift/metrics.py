"""Counts per volume and class, and what follows from them. A Dice is a percentage from here on.

Counts are streamed slice by slice as one confusion matrix a volume, so nothing is ever stacked.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


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
