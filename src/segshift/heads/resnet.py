"""ResNet head on the last four maps: reduce, four residual up-blocks, classify (thesis, section 3.2).

The printed count holds one convolution over all four maps together, 4·D -> 1536, where the text gives each
map one of its own to 384 channels: ``reduce: joint`` (default) and ``each``. Maps of different grids are
brought to the last one's first.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map
from segshift.errors import SegShiftError, unknown
from segshift.layers.blocks import last_maps
from segshift.layers.grids import resize_by_area, start_grid
from segshift.layers.residual import Up

LEVELS = 4
REDUCTIONS = ("joint", "each")
EXAMPLE = {"width": 32, "reduce": "each"}
ANY_NUMBER = True  # an entry's `blocks` may be as many as one likes


class ResNetHead(Head):
    """Reduce, grow sixteenfold, classify.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        width: channels after the reduction, halved by each of the four up-blocks.
        each: reduce every map by itself, not all together.
        dropout: probability with which a channel of a slice is set to 0 in training, before the last layer.
    """

    def __init__(self, maps: list[Map], classes: int, width: int, each: bool, dropout: float) -> None:
        super().__init__()
        self.grid = start_grid(maps[0])
        channels = [one.channels for one in maps]
        # Where four do not divide the width (fewer maps), the first ones take the remainder.
        shares = [width // len(maps) + (index < width % len(maps)) for index in range(len(maps))]
        pairs = list(zip(channels, shares, strict=True)) if each else [(sum(channels), width)]
        self.reduce = nn.ModuleList(nn.Conv2d(before, after, kernel_size=1) for before, after in pairs)
        self.grow = nn.Sequential(*(Up(width // 2**level) for level in range(LEVELS)))
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width // 2**LEVELS, classes, kernel_size=1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)] -> [(B, classes, 16·h, 16·w)]."""
        maps = [resize_by_area(one, self.grid) for one in maps]
        if len(self.reduce) == 1:
            maps = [torch.cat(maps, dim=1)]
        reduced = torch.cat([reduce(one) for reduce, one in zip(self.reduce, maps, strict=True)], dim=1)
        return [self.classify(self.dropout(self.grow(reduced)))]


def taps(backbone: Backbone) -> list[int]:
    """The last four maps (fewer where there are fewer; a neck's map does not count), the last one first."""
    return list(last_maps(backbone, 4))


def build(
    maps: list[Map], classes: int, *, width: int = 1536, reduce: str = "joint", dropout: float = 0.1
) -> ResNetHead:
    """Build the head; 1536·(4·D + 1) + 34,486,560 + 97·classes parameters on four maps of width D.

    With ``reduce: each`` the first term is 1536·(D + 1).

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        width: channels after the reduction, divisible by 16.
        reduce: ``joint``, one convolution over all maps; ``each``, one a map.
        dropout: probability with which a channel of a slice is set to 0 in training.

    Raises:
        SegShiftError: unknown ``reduce``, or a width that 16 does not divide.
    """
    if reduce not in REDUCTIONS:
        raise unknown("head resnet: unknown reduce", reduce, REDUCTIONS)
    if width % 2**LEVELS:
        raise SegShiftError(f"head resnet: width {width} is not divisible by {2**LEVELS}")
    return ResNetHead(maps, classes, width, reduce == "each", dropout)
