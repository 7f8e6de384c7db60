"""Ladder: a small trained backbone beside the frozen one, joined map by map through learned gates.

Source: Chai et al., Ladder Fine-tuning approach for SAM integrating complementary network (SAM-LST), 2023,
and the thesis, section 3.3. Each map becomes σ(α)·big + (1 − σ(α))·side, with one α a map, 0 at start. Maps
are matched from the end, and the early one with the early one. The side's map passes a 1 × 1 convolution and
batch norm where channels differ, and is then brought to the big map's grid.

Over a backbone with a neck (SAM's family) the frozen neck stays on the big branch, in place of its last map.
``original: true`` resizes as the thesis's code did: means over areas unless both sides grow.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Map, freeze
from segshift.errors import SegShiftError
from segshift.layers.grids import resize_by_area
from segshift.layers.images import resize

EXAMPLE = {
    "side": {
        "module": "timm", "image_size": 32, "model": "vit_tiny_patch16_224",
        "options": {"depth": 3, "embed_dim": 12, "num_heads": 2},
    },
}  # fmt: skip


class Rung(nn.Module):
    """Joins one map of both branches.

    Args:
        big: the big branch's map.
        side: the side's map.
        by_area: shrink by means over areas, not bilinearly.
    """

    def __init__(self, big: Map, side: Map, by_area: bool) -> None:
        super().__init__()
        self.grid = big.grid
        self.resize = resize_by_area if by_area else resize
        self.project = nn.Identity()
        if big.channels != side.channels:
            convolution = nn.Conv2d(side.channels, big.channels, kernel_size=1)
            self.project = nn.Sequential(convolution, nn.BatchNorm2d(big.channels))
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, big: Tensor, side: Tensor) -> Tensor:
        """(B, C, h, w), (B, C', h', w') -> (B, C, h, w)."""
        weight = self.gate.sigmoid()
        return weight * big + (1 - weight) * self.resize(self.project(side), self.grid)


class Ladder(Backbone):
    """Both branches and the rungs between them; rungs exist once ``use`` has named the taps.

    Args:
        big: the backbone, frozen here.
        side: the small one, trained whole.
        by_area: see ``Rung``.
    """

    def __init__(self, big: Backbone, side: Backbone, by_area: bool) -> None:
        super().__init__()
        self.big, self.side, self.by_area = freeze(big), side, by_area
        self.image_size = big.image_size
        self.early, self.last = big.early, big.last
        self.maps = list(big.maps)
        if big.neck is not None:
            self.maps = [*big.maps[: big.last], big.maps[big.neck]]
            self.neck = big.last
        self.rungs = nn.ModuleDict()
        # Rungs are drawn later than all else, and must not depend on what was drawn in between.
        self.seed = torch.initial_seed()

    def on_big(self, tap: int) -> int:
        """The big branch's map behind one of ours."""
        return self.big.neck if self.big.neck is not None and tap == self.last else tap

    def on_side(self, tap: int) -> int:
        """The side's map that joins ours: as far from the end, early with early; its first where it has no
        more."""
        if tap == self.early and tap != self.last:
            return self.side.early
        return max(0, self.side.last - (self.last - tap))

    def use(self, taps: Sequence[int]) -> None:
        """Make the rungs of these taps; both branches keep only what they need."""
        with torch.random.fork_rng(devices=[]):
            for tap in sorted(set(taps)):
                torch.manual_seed(self.seed + 1 + tap)
                side = self.side.maps[self.on_side(tap)]
                self.rungs[str(tap)] = Rung(self.maps[tap], side, self.by_area)
        self.big.use(sorted({self.on_big(tap) for tap in taps}))
        self.side.use(sorted({self.on_side(tap) for tap in taps}))

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h_i, w_i) per tap."""
        big = self.big(images, [self.on_big(tap) for tap in taps])
        side = self.side(images, [self.on_side(tap) for tap in taps])
        return [self.rungs[str(tap)](*pair) for tap, *pair in zip(taps, big, side, strict=True)]


def build(backbone: Backbone, *, side: Backbone | None = None, original: bool = False) -> Ladder:
    """Freeze the backbone and set a trained one beside it.

    Trainable parameters: the side's, and for each tap (C' + 3)·C + 1 where the side's map has C' channels and
    the big one's C, or 1 where they are equal.

    Args:
        backbone: the big branch.
        side: the small branch; each branch resizes and normalizes images by itself.
        original: resize as the thesis's code did.

    Raises:
        SegShiftError: no side network was given.
    """
    if side is None:
        raise SegShiftError("tuning ladder needs a side network; give its entry `side: <a backbone>`")
    return Ladder(backbone, side, original)
