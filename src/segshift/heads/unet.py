"""U-Net head on the last ten maps in pairs (thesis, section 3.2, after Ronneberger et al., U-Net, 2015).

A plain vision transformer has no falling strides, so the skips are made: the deepest pair starts the main
path, each of the four others is grown by residual up-blocks until it fits the level where it joins. ``width``
is 576 in the thesis's U-Net head and 240 in its small one, which therefore takes at most 15 classes. On fewer
than ten maps each of the last five is a group of its own; on fewer than five, the last levels get no skip.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map
from segshift.errors import SegShiftError
from segshift.layers.blocks import last_maps
from segshift.layers.grids import resize_by_area, start_grid
from segshift.layers.residual import Residual, UpMerge

LEVELS = 4
GROUPS = LEVELS + 1
PAIRED = 2 * GROUPS
EXAMPLE = {"width": 48}


class UNetHead(Head):
    """Main path with four levels, a skip at each.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        width: channels to which every group of maps is reduced, halved at each level.
        dropout: probability with which a channel of a slice is set to 0 in training, before the last layer.
    """

    def __init__(self, maps: list[Map], classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.grid = start_grid(maps[0])
        self.size = 2 if len(maps) == PAIRED else 1  # maps in a group
        groups = [maps[first : first + self.size] for first in range(0, len(maps), self.size)]
        self.reduce = nn.ModuleList(
            nn.Conv2d(sum(one.channels for one in group), width, kernel_size=1) for group in groups
        )
        self.start = Residual(width)
        self.levels = nn.ModuleList(
            UpMerge(width // 2**level, width, level + 1 if level + 1 < len(groups) else 0)
            for level in range(LEVELS)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width // 2**LEVELS, classes, kernel_size=1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)] -> [(B, classes, 16·h, 16·w)]."""
        maps = [resize_by_area(one, self.grid) for one in maps]
        groups = [torch.cat(maps[first : first + self.size], 1) for first in range(0, len(maps), self.size)]
        deepest, *skips = [reduce(group) for reduce, group in zip(self.reduce, groups, strict=True)]
        features = self.start(deepest)
        for level, skip in zip(self.levels, [*skips, *[None] * LEVELS], strict=False):
            features = level(features, skip)
        return [self.classify(self.dropout(features))]


def taps(backbone: Backbone) -> list[int]:
    """The last ten maps, the last one first; of a backbone with fewer, the last five (or all)."""
    maps = last_maps(backbone, PAIRED)
    return list(maps if len(maps) == PAIRED else maps[:GROUPS])


def build(maps: list[Map], classes: int, *, width: int = 576, dropout: float = 0.1) -> UNetHead:
    """Build the head.

    On ten maps of width D it has 5·576·(2·D + 1) + 34,674,732 + 37·classes parameters with width 576, and
    5·240·(2·D + 1) + 6,028,485 + 16·classes with 240.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included; at most ``width`` / 16.
        width: channels to which every group of maps is reduced, divisible by 16.
        dropout: probability with which a channel of a slice is set to 0 in training.

    Raises:
        SegShiftError: a width that 16 does not divide, or more classes than channels before the last layer.
    """
    if width % 2**LEVELS:
        raise SegShiftError(f"head unet: width {width} is not divisible by {2**LEVELS}")
    if classes > (channels := width // 2**LEVELS):
        raise SegShiftError(
            f"head unet with width {width} ends in {channels} channels and cannot tell {classes} classes "
            f"apart; choose a width of at least {2**LEVELS * classes}"
        )
    return UNetHead(maps, classes, width, dropout)
