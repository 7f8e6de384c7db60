"""Which pixels of a prediction are believed: the threshold of pseudo-labels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from segshift.errors import SegShiftError
from segshift.losses import IGNORED

PER_CLASS = "per_class"


@dataclass(frozen=True)
class Threshold:
    """A pixel is kept where the softmax probability of its class reaches a limit (thesis, 3.4.2).

    ``per_class``: the limit of a class is lower than ``value`` where fewer than ``portion`` of the pixels
    predicted as it would be kept; then just that portion is, so that hard classes are not forgotten. That is
    the class-balanced rule of Zou et al. 2018 (CBST, section 4.2), over the slices at hand instead of the
    whole target, since pseudo-labels here are renewed while the model learns.
    """

    value: float = 0.9
    per_class: bool = False
    portion: float = 0.5

    @classmethod
    def of(cls, threshold: float | str, portion: float = 0.5) -> "Threshold":
        """What an entry says: a probability, or ``per_class``.

        Raises:
            SegShiftError: it is neither, or the portion is not in (0, 1].
        """
        if not 0 < portion <= 1:
            raise SegShiftError(f"adaptations.yaml: portion is {portion}; it is above 0 and at most 1")
        if threshold == PER_CLASS:
            return cls(per_class=True, portion=portion)
        if isinstance(threshold, str) or not 0 <= threshold <= 1:
            raise SegShiftError(
                f"adaptations.yaml: threshold is {threshold!r}; known: a probability from 0 to 1, {PER_CLASS}"
            )
        return cls(float(threshold))

    def __call__(self, logits: Tensor, among: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, classes, H, W) -> pseudo-labels (B, H, W) with ``IGNORED`` where not kept, and predictions.

        Args:
            logits: at the slices' size.
            among: (B,) bool, the slices over which limits of classes are taken; default: all.
        """
        probability, label = logits.softmax(1).max(1)
        limit: float | Tensor = self.value
        if self.per_class:
            chosen = slice(None) if among is None else among
            limit = self.limits(probability[chosen], label[chosen], logits.shape[1])[label]
        return torch.where(probability >= limit, label, IGNORED), label

    def limits(self, probability: Tensor, label: Tensor, classes: int) -> Tensor:
        """The limit of each class (classes,), from probabilities and predictions of any one shape."""
        limits = probability.new_full((classes,), self.value)
        for one in range(classes):
            values = probability[label == one]
            if len(values):
                enough = values.sort(descending=True).values[math.ceil(self.portion * len(values)) - 1]
                limits[one] = enough.clamp(max=self.value)
        return limits


def per_class(labels: Tensor, classes: int) -> Tensor:
    """Pixels of each class (classes,) int64; ``IGNORED`` ones count nowhere."""
    return torch.bincount(labels[labels != IGNORED].reshape(-1), minlength=classes)
