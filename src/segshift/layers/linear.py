"""The linear decode head: one 1 × 1 convolution over one or several maps."""

import torch
from torch import Tensor, nn

from segshift.contracts import Head, Map
from segshift.layers.images import resize


class LinearHead(Head):
    """Concatenate the maps, batch norm, drop whole channels, classify each pixel.

    Maps of different grids are brought to the finest one among them.

    Args:
        maps: what will come in.
        classes: number of classes, background included.
        dropout: probability with which a channel of a slice is set to 0 in training.
    """

    def __init__(self, maps: list[Map], classes: int, dropout: float) -> None:
        super().__init__()
        channels = sum(one.channels for one in maps)
        self.grid = max((one.grid for one in maps), key=lambda grid: grid[0] * grid[1])
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, classes, kernel_size=1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)] -> [(B, classes, h, w)] at the finest grid of the maps."""
        features = torch.cat([resize(one, self.grid) for one in maps], dim=1)
        return [self.classify(self.dropout(self.norm(features)))]
