"""Losses by name. All take logits (B, classes, H, W) and labels (B, H, W) and return a scalar."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -1  # a pixel with this label teaches nothing


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over all pixels, background included (thesis, 4.2.3); pixels with label ``IGNORED`` are left
    out."""
    return F.cross_entropy(logits, labels, ignore_index=IGNORED)


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice loss over the batch, mean over all classes, background included (Milletari et al. 2016,
    V-Net).

    Intersections and sizes are summed over the whole batch, so that a class absent from one slice is no
    outlier.
    """
    keep = (labels != IGNORED).unsqueeze(1)
    probabilities = logits.softmax(1) * keep
    truth = F.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(-1, 1) * keep
    together = (probabilities * truth).sum((0, 2, 3))
    sizes = probabilities.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * together + 1) / (sizes + 1)).mean()


def dice_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum of both."""
    return cross_entropy(logits, labels) + dice(logits, labels)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the prediction over all pixels, in nats (thesis, eq. 3.1). Needs no labels."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "dice_cross_entropy": dice_cross_entropy,
}


def weighted(outputs: Sequence[Tensor], weights: Sequence[float], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """A head's loss: over its outputs, weighted; outputs of weight 0 are not computed."""
    terms = [weight * loss(output) for output, weight in zip(outputs, weights, strict=True) if weight]
    return torch.stack(terms).sum()
