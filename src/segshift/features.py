"""Feature maps of a frozen backbone, computed once and kept in memory.

Only where they never change: the backbone is frozen and nothing is augmented. Always in the same chunks, so
that bits do not depend on where a training was interrupted.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from segshift.contracts import Map
from segshift.errors import SegShiftError

KINDS = {"float32": torch.float32, "float16": torch.float16}


class FeatureCache:
    """Maps of all slices of a split, by index.

    Args:
        kind: ``float32`` or ``float16``: how they are kept.
        maps: the maps that are kept.
        slices: how many slices there are.
    """

    def __init__(self, kind: str, maps: list[Map], slices: int) -> None:
        self.maps = [torch.empty(slices, one.channels, *one.grid, dtype=KINDS[kind]) for one in maps]

    @torch.no_grad()
    def fill(self, chunks: Iterable[tuple[int, Tensor]], features: Callable[[Tensor], list[Tensor]]) -> None:
        """Compute the maps of (index of the first slice, images) for all chunks."""
        for first, images in chunks:
            for kept, fresh in zip(self.maps, features(images), strict=True):
                kept[first : first + len(images)] = fresh.cpu()

    def take(self, indices: list[int] | slice, device: torch.device) -> list[Tensor]:
        """Maps of some slices, as float32 on a device."""
        return [kept[indices].to(device).float() for kept in self.maps]


def gigabytes(kind: str, maps: list[Map], slices: int) -> float:
    """What a cache will hold, in 10⁹ bytes."""
    values = sum(one.channels * one.grid[0] * one.grid[1] for one in maps)
    return values * slices * KINDS[kind].itemsize / 1e9


def check(settings: dict, frozen: bool, maps: list[Map], slices: int) -> None:
    """Can the features of this cell be cached?

    Raises:
        SegShiftError: the backbone learns, slices are augmented, or the maps are larger than the limit.
    """
    cell, training = settings["cell"], settings["training"]
    kind = training["cache_features"]
    if not frozen:
        raise SegShiftError(f"{cell}: cache_features: {kind} needs a frozen backbone, and this one learns")
    if training.get("augment"):
        raise SegShiftError(
            f"{cell}: cache_features: {kind} needs slices that are not augmented (augment: {{}})"
        )
    size, limit = gigabytes(kind, maps, slices), training.get("cache_limit", 4.0)
    if size > limit:
        raise SegShiftError(
            f"{cell}: the feature maps of {slices} slices take {size:.2f} GB as {kind}, more than "
            f"cache_limit ({limit:g} GB); raise it, use float16, or set cache_features: none"
        )
    print(f"feature maps of {slices} slices: {size:.3f} GB as {kind}", flush=True)
