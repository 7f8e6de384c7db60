"""Optimizers and learning-rate schedules by name. A schedule is a function of the step: nothing to save."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from segshift.errors import unknown

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
# What is left of the learning rate when a share of 0 to 1 of the steps after the warm-up is done.
DECAYS = {
    "cosine": lambda done, power: (1 + math.cos(math.pi * done)) / 2,
    "polynomial": lambda done, power: (1 - done) ** power,
}


def build(parameters: Iterable[nn.Parameter], training: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer of a cell, by its ``training`` settings: ``optimizer``, ``learning_rate``,
    ``weight_decay`` and ``momentum``.

    Raises:
        SegShiftError: an unknown name.
    """
    name = training.get("optimizer", "adamw")
    if name not in OPTIMIZERS:
        raise unknown("unknown optimizer", name, OPTIMIZERS)
    more = {"momentum": training["momentum"]} if training.get("momentum") else {}
    decay = training.get("weight_decay", 0.0)
    return OPTIMIZERS[name](parameters, lr=training["learning_rate"], weight_decay=decay, **more)


def learning_rate(step: int, total: int, training: dict[str, Any]) -> float:
    """Learning rate of a step, 0-based, of ``total``.

    ``linear`` (thesis, 4.2.3): a line from 0 before the first step to the full rate over the first
    ``warm_up`` of the steps, then a line to 0 after the last; ``cosine`` (Loshchilov & Hutter 2017) and
    ``polynomial`` (with ``power``) fall from the same warm-up to 0; ``constant`` is the full rate throughout;
    ``linear_to_half`` is the thesis's code's, see ``_to_half``.

    Raises:
        SegShiftError: an unknown schedule.
    """
    base, schedule = training["learning_rate"], training.get("schedule", "linear")
    if schedule == "constant":
        return base
    if schedule == "linear_to_half":
        return base * _to_half(step * training["epochs"] // total, training)
    if schedule != "linear" and schedule not in DECAYS:
        raise unknown("unknown schedule", schedule, ["linear", *DECAYS, "constant", "linear_to_half"])
    warm = training.get("warm_up", 0.05) * total
    if step < warm:
        return base * min(1.0, (step + 1) / warm)
    if schedule == "linear":  # written so since the first models; to divide first would change last bits
        return base * (total - step) / (total - warm)
    return base * DECAYS[schedule]((step - warm) / (total - warm), training.get("power", 0.9))


def _to_half(epoch: int, training: dict[str, Any]) -> float:
    """The share of the full rate in an epoch, 0-based: all steps of it have the same.

    A line from one third over the first ``warm_up`` of the epochs (at least one), then a line from all of it
    that would reach one half in the epoch behind the last.
    """
    epochs = training["epochs"]
    warm = max(1, int(training.get("warm_up", 0.05) * epochs))
    if epoch < warm:
        return 1 / 3 + 2 * epoch / (3 * warm)
    return 1 - (epoch - warm) / (2 * (epochs - warm))
