"""True positives, false positives and false negatives of one volume, counted slice by slice."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segshift import metrics
from segshift.measures import smoothed


class SliceDice(NamedTuple):
    """Mean Dice in percent over slices, by the three rules for slices that do not show a class."""

    skip: float | None
    truth_only: float | None
    one: float


class Tally:
    """Counts of a volume's slices, as they come: memory of some numbers a slice and class.

    Args:
        classes: how many there are, with background.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.parts: list[np.ndarray] = []

    def add(self, prediction: Tensor, labels: Tensor) -> None:
        """Count further slices: class indices (n, H, W), on one device."""
        n, classes = len(labels), self.classes
        pairs = labels.long() * classes + prediction
        pairs += (torch.arange(n, device=labels.device) * classes**2).reshape(n, 1, 1)
        matrix = torch.bincount(pairs.reshape(-1), minlength=n * classes**2)
        matrix = matrix.reshape(n, classes, classes).cpu().numpy()  # truth, prediction
        hits = matrix.diagonal(axis1=1, axis2=2)
        self.parts.append(np.stack([hits, matrix.sum(1) - hits, matrix.sum(2) - hits], axis=2))

    @property
    def slices(self) -> np.ndarray:
        """int64 (slices, classes, 3): true positives, false positives, false negatives."""
        return np.concatenate(self.parts)

    @property
    def volume(self) -> np.ndarray:
        """The same of the whole volume, int64 (classes, 3)."""
        return sum(part.sum(0) for part in self.parts)

    def slice_dice(self) -> list[SliceDice]:
        """Of every foreground class, in the order of the classes."""
        return [self._slice_dice(counts) for counts in self.slices.transpose(1, 0, 2)[1:]]

    @staticmethod
    def _slice_dice(counts: np.ndarray) -> SliceDice:
        table = [tuple(map(int, row)) for row in counts]
        shown = [metrics.dice(*row) for row in table]  # None: in neither
        true = [value for value, (tp, _, fn) in zip(shown, table, strict=True) if tp + fn]
        ones = metrics.mean(smoothed("dice", *row) for row in table)
        return SliceDice(metrics.mean(shown), metrics.mean(true), ones)
