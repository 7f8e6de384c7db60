"""One pass of images through the frozen backbone that several heads stand on, and the features that are kept.

Each head gets the maps of its own taps; where the backbone learns, there is nothing to share.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from segshift import features
from segshift.contracts import is_frozen
from segshift.features import FeatureCache
from segshift.model import Segmenter
from segshift.slices import CHUNK


class SharedPass:
    """The backbone of some models, if it is frozen.

    Args:
        models: with one backbone in common.
        settings: of the first of them; batch size, precision and cache are one for all.
        autocast: makes the context of a pass, see ``segshift.model.autocast``.
    """

    def __init__(
        self,
        models: list[Segmenter],
        settings: dict[str, Any],
        autocast: Callable[[], AbstractContextManager],
    ) -> None:
        backbone = models[0].backbone
        self.backbone = backbone if is_frozen(backbone) else None
        self.taps = sorted({tap for model in models for tap in model.taps})
        self.tapped = [backbone.maps[tap] for tap in self.taps]
        self.settings, self.autocast = settings, autocast
        self.caches: dict[str, FeatureCache] = {}

    def compute(self, images: Tensor) -> list[Tensor]:
        """All maps that any head needs, of (B, 1, H, W); a large batch goes through in parts."""
        size = max(self.settings["training"]["batch_size"], CHUNK)
        with torch.no_grad(), self.autocast():
            parts = [self.backbone(part.expand(-1, 3, -1, -1), self.taps) for part in images.split(size)]
        return parts[0] if len(parts) == 1 else [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def maps(self, split: str, images: Tensor, indices: list[int] | slice) -> list[Tensor] | None:
        """All maps of some slices of a split, kept or fresh; None where the backbone learns."""
        if self.backbone is None:
            return None
        if split in self.caches:
            return self.caches[split].take(indices, images.device)
        return self.compute(images)

    def own(self, model: Segmenter, maps: list[Tensor] | None) -> list[Tensor] | None:
        """Those of the maps that one head takes."""
        return None if maps is None else [maps[self.taps.index(tap)] for tap in model.taps]

    def fill(self, splits: dict[str, tuple[Iterable[tuple[int, Tensor]], int]], device: torch.device) -> None:
        """Compute all features once, and keep them.

        Args:
            splits: by name (index of the first slice, images) in chunks, and how many slices there are.
            device: where they are computed.

        Raises:
            SegShiftError: they cannot be kept, see ``features.check``.
        """
        kind = self.settings["training"]["cache_features"]
        total = sum(slices for _, slices in splits.values())
        features.check(self.settings, self.backbone is not None, self.tapped, total)
        started = time.monotonic()
        for split, (chunks, slices) in splits.items():
            self.caches[split] = cache = FeatureCache(kind, self.tapped, slices)
            cache.fill(((first, images.to(device)) for first, images in chunks), self.compute)
        print(f"computed in {time.monotonic() - started:.1f} s", flush=True)
