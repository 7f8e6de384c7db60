"""Losses by name. All take logits (B, classes, H, W) and labels (B, H, W) and return a scalar.

``criterion`` makes the one that a cell's training settings name. MONAI's losses serve where they are the same
function; MONAI is imported by those who name such a loss only, since it costs a process three seconds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segshift.errors import unknown

IGNORED = -1  # a pixel with this label teaches nothing

Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Mean over all pixels, background included (thesis, 4.2.3); pixels with label ``IGNORED`` are left out.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W).
        weights: (classes,), of each pixel by its label; the mean is a weighted one.
        smoothing: share of the label that goes to all classes alike (Szegedy et al. 2016, section 7).
    """
    weights = None if weights is None else weights.to(logits)
    return F.cross_entropy(logits, labels, weights, ignore_index=IGNORED, label_smoothing=smoothing)


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Soft Dice loss over the batch, mean over all classes, background included (Milletari et al. 2016,
    V-Net).

    Intersections and sizes are summed over the whole batch, so that a class absent from one slice is no
    outlier. MONAI's ``DiceLoss(batch=True)`` with both smoothing terms 1 is the same function, which a test
    holds; these lines spare every small job its import.
    """
    keep = (labels != IGNORED).unsqueeze(1)
    probabilities = logits.softmax(1) * keep
    truth = F.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(-1, 1) * keep
    together = (probabilities * truth).sum((0, 2, 3))
    sizes = probabilities.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return 1 - ((2 * together + 1) / (sizes + 1)).mean()


def dice_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """The sum of both; weights and smoothing are the cross-entropy's."""
    return cross_entropy(logits, labels, weights, smoothing) + dice(logits, labels)


def focal(logits: Tensor, labels: Tensor, weights: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """Focal loss with softmax (Lin et al. 2017, eq. 4): the mean over pixels of −(1 − p)^γ · log p.

    Args:
        logits: (B, classes, H, W).
        labels: (B, H, W); ``IGNORED`` pixels are left out.
        weights: (classes,), of each pixel by its label; the mean is a weighted one.
        gamma: γ; with 0 it is the cross-entropy.
    """
    from monai.losses import FocalLoss

    loss = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=gamma, reduction="none")
    keep = labels != IGNORED
    known = labels.clamp_min(0)
    # MONAI has a term for each class, of which all but the label's are 0.
    terms = loss(logits, known.unsqueeze(1)).sum(1)
    share = keep.to(terms) if weights is None else weights.to(terms)[known] * keep
    return (terms * share).sum() / share.sum()


def focal_dice(logits: Tensor, labels: Tensor, weights: Tensor | None = None, gamma: float = 2.0) -> Tensor:
    """The sum of both; weights are the focal loss's."""
    return focal(logits, labels, weights, gamma) + dice(logits, labels)


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy of the prediction over all pixels, in nats (thesis, eq. 3.1). Needs no labels."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()


CRITERIA: dict[str, Criterion] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "dice_cross_entropy": dice_cross_entropy,
    "focal": focal,
    "focal_dice": focal_dice,
}


def criterion(training: dict[str, Any], classes: Sequence[str]) -> Criterion:
    """The loss of a cell.

    Args:
        training: its ``training`` settings: ``loss``, ``class_weights``, ``label_smoothing``,
            ``focal_gamma``.
        classes: its class names; those that ``class_weights`` does not name weigh 1.

    Raises:
        SegShiftError: an unknown loss, or a weight of a class that there is not.
    """
    name = training.get("loss", "cross_entropy")
    if name not in CRITERIA:
        raise unknown("unknown loss", name, CRITERIA)
    more: dict[str, Any] = {}
    if given := training.get("class_weights"):
        for one in given:
            if one not in classes:
                raise unknown("class_weights: unknown class", one, classes)
        more["weights"] = torch.tensor([float(given.get(one, 1.0)) for one in classes])
    if smoothing := training.get("label_smoothing"):
        more["smoothing"] = smoothing
    if "focal" in name and "focal_gamma" in training:
        more["gamma"] = training["focal_gamma"]
    return partial(CRITERIA[name], **more) if more else CRITERIA[name]


def class_sums(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the pixels of each class by their labels: (classes,) float64."""
    each = F.cross_entropy(logits.float(), labels, reduction="none")
    return torch.bincount(labels.reshape(-1), each.double().reshape(-1), minlength=logits.shape[1])


def weighted(outputs: Sequence[Tensor], weights: Sequence[float], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """A head's loss: over its outputs, weighted; outputs of weight 0 are not computed."""
    terms = [weight * loss(output) for output, weight in zip(outputs, weights, strict=True) if weight]
    return torch.stack(terms).sum()
