"""SegFormer's all-MLP head on the last four maps (Xie et al., SegFormer, NeurIPS 2021, section 3.2).

Every map is projected by a 1 × 1 convolution, all are brought to the finest grid, concatenated, fused by
another 1 × 1 convolution and classified. As in the thesis, batch norm and ReLU follow both convolutions and
the head is as wide as the last map.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map
from segshift.layers.blocks import last_maps
from segshift.layers.convolutions import convolution_block, kaiming
from segshift.layers.images import resize

EXAMPLE = {"width": 8}
ANY_NUMBER = True  # an entry's `blocks` may be as many as one likes


class SegFormer(Head):
    """Project, resize, concatenate, fuse, classify.

    Args:
        maps: the tapped maps.
        classes: number of classes, background included.
        width: channels after both convolutions.
        dropout: probability with which a channel of a slice is set to 0 in training, before the last layer.
    """

    def __init__(self, maps: list[Map], classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.grid = max((one.grid for one in maps), key=lambda grid: grid[0] * grid[1])
        self.project = nn.ModuleList(convolution_block(one.channels, width, kernel=1) for one in maps)
        self.fuse = convolution_block(len(maps) * width, width, kernel=1)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, classes, kernel_size=1)
        kaiming(self.project, self.fuse)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)] -> [(B, classes, h, w)] at the finest grid of the maps."""
        projected = [resize(project(one), self.grid) for project, one in zip(self.project, maps, strict=True)]
        return [self.classify(self.dropout(self.fuse(torch.cat(projected, dim=1))))]


def taps(backbone: Backbone) -> list[int]:
    """The last four maps (fewer where there are fewer; a neck's map does not count), the last one first."""
    return list(last_maps(backbone, 4))


def build(maps: list[Map], classes: int, *, width: int | None = None, dropout: float = 0.1) -> SegFormer:
    """Build the head; 4·(D² + 2·D) + 4·D² + 2·D + D·classes + classes parameters on four maps of width D.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        width: channels inside the head; None for those of the last map.
        dropout: probability with which a channel of a slice is set to 0 in training.
    """
    return SegFormer(maps, classes, width or maps[0].channels, dropout)
