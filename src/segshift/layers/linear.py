"""The linear decode head: one 1 × 1 convolution over one or several maps."""

import torch
from torch import Tensor, nn
from torch.nn import functional

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
        if len({one.shape[-2:] for one in maps}) == 1:
            return [self.classify(self.dropout(self.norm(torch.cat(maps, dim=1))))]
        return [self._by_map(maps)]

    def _by_map(self, maps: list[Tensor]) -> Tensor:
        """The same without ever holding all channels at the finest grid: a tenth of the time and memory.

        Everything here works channel by channel or is linear, so each map is normalized and classified on its
        own grid, and classes are resized and summed instead of channels. Only batch statistics differ: they
        are those of the map itself, not of its enlarged copy.
        """
        norm, first = self.norm, 0
        if norm.training:
            norm.num_batches_tracked += 1
        total = self.classify.bias.reshape(1, -1, 1, 1)
        for one in maps:
            part = slice(first, first := first + one.shape[1])
            one = functional.batch_norm(
                one, norm.running_mean[part], norm.running_var[part], norm.weight[part], norm.bias[part],
                norm.training, norm.momentum, norm.eps,
            )  # fmt: skip
            logits = functional.conv2d(self.dropout(one), self.classify.weight[:, part])
            total = total + resize(logits, self.grid)
        return total
