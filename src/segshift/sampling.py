"""All randomness is a function of (seed, purpose, epoch or step, position): no generator outlives a draw."""

import hashlib
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from segshift.errors import SegShiftError


def key(*parts: object) -> int:
    """A 63-bit number from anything that has a ``repr``; the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little") & (2**63 - 1)


def generator(*parts: object) -> np.random.Generator:
    """A fresh counter-based generator for a purpose, such as ``generator(seed, "augment", epoch,
    position)``."""
    return np.random.Generator(np.random.Philox(_Key(key(*parts))))


class _Key(ISeedSequence):
    """A key that is taken as it is.

    ``Philox(key=...)`` gives the same numbers, but asks the system for entropy before, which takes as long as
    all else."""

    def __init__(self, value: int) -> None:
        self.value = value

    def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
        return np.array([self.value] + [0] * (n_words - 1), dtype)


def uniform(slices: int, draws: int, seed: int, epoch: int) -> np.ndarray:
    """Indices of an epoch: each slice once in random order, and again in another order if there are more
    draws."""
    rounds = -(-draws // slices)
    order = [generator(seed, "order", epoch, number).permutation(slices) for number in range(rounds)]
    return np.concatenate(order)[:draws]


def class_probabilities(counts: np.ndarray, temperature: float = 0.1, minimum: int = 4) -> np.ndarray:
    """Probability of drawing each class: P(c) ∝ exp((1 − f_c) / T), f_c the class's mean pixel fraction.

    Source: Hoyer et al. 2022 (DAFormer), section 3.3, eq. 6–7. A class that no slice shows is never drawn.

    Args:
        counts: pixels of each class in each slice, (slices, classes).
        temperature: T.
        minimum: pixels of a class from which a slice shows it.
    """
    known = counts[counts.sum(1) > 0]  # of a slice without labels nothing may be counted
    fraction = (known / known.sum(1, keepdims=True)).mean(0)
    weight = np.exp((1 - fraction) / temperature) * (_shows(counts, minimum).any(0))
    return weight / weight.sum()


def _shows(counts: np.ndarray, minimum: int) -> np.ndarray:
    """Which slice shows which class: with at least ``minimum`` pixels."""
    return counts >= minimum


def rare_class(
    counts: np.ndarray, draws: int, seed: int, epoch: int, temperature: float = 0.1, minimum: int = 4
) -> np.ndarray:
    """Indices of an epoch: draw a class, then uniformly a slice that shows it (DAFormer, section 3.3)."""
    shows = _shows(counts, minimum)
    having = [np.flatnonzero(shows[:, c]) for c in range(counts.shape[1])]
    random = generator(seed, "order", epoch)
    classes = random.choice(len(having), size=draws, p=class_probabilities(counts, temperature, minimum))
    return np.array([having[c][random.integers(len(having[c]))] for c in classes])


def class_count(counts: np.ndarray, draws: int, seed: int, epoch: int, minimum: int = 4) -> np.ndarray:
    """Indices of an epoch: each draw takes a slice with a chance proportional to its number of classes, of
    which it shows more than ``minimum`` pixels. The thesis's code does so where it means ``rare_class``."""
    shown = (counts > minimum).sum(1)
    if not shown.any():
        raise SegShiftError(
            f"sampling: class_count: no slice shows a class with more than {minimum} pixels; lower "
            "sampling_pixels"
        )
    return generator(seed, "order", epoch).choice(len(counts), size=draws, p=shown / shown.sum())


def order(sampling: str, counts: np.ndarray, draws: int, seed: int, epoch: int, **rare: Any) -> np.ndarray:
    """Indices of an epoch by the sampling that ``training.yaml`` names; ``rare``: as ``rare_class`` takes."""
    if sampling == "rare_class":
        return rare_class(counts, draws, seed, epoch, **rare)
    if sampling == "class_count":
        own = {name: value for name, value in rare.items() if name == "minimum"}
        return class_count(counts, draws, seed, epoch, **own)
    return uniform(len(counts), draws, seed, epoch)
