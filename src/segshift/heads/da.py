"""Dual attention head on the last four maps (Fu et al., Dual Attention Network, CVPR 2019, section 3).

The maps are concatenated at one grid, of at least stride 8 as in the paper. One branch lets every position
attend to all positions, the other every channel to all channels; both are summed and classified. ``channels``
is 384 in the thesis's DA head and 120 in its small one, inside the attention too.

The paper's two auxiliary classifiers are counted by the thesis but never reach a mask: they are frozen here,
and so is the bias of the keys, which the softmax over positions cancels. ``original: true`` leaves
classifiers and bias trainable, though no gradient but rounding ever reaches them.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map, freeze
from segshift.layers.blocks import last_maps
from segshift.layers.convolutions import convolution_block, kaiming
from segshift.layers.grids import attention_grid, resize_by_area

EXAMPLE = {"channels": 2}
ANY_NUMBER = True  # an entry's `blocks` may be as many as one likes


class PositionAttention(nn.Module):
    """Every position attends to all positions: x + γ · softmax(Q Kᵀ) V, γ = 0 at start (section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, channels, kernel_size=1)
        self.key = nn.Conv2d(channels, channels, kernel_size=1)
        self.value = nn.Conv2d(channels, channels, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        query, key, value = (part(maps).flatten(2) for part in (self.query, self.key, self.value))
        attention = (query.transpose(1, 2) @ key).softmax(dim=-1)  # (B, N, N), each row over all positions
        return maps + self.gamma * (value @ attention.transpose(1, 2)).unflatten(2, maps.shape[-2:])


class ChannelAttention(nn.Module):
    """Every channel attends to those least like it: x + γ · softmax(max − X Xᵀ) X, γ = 0 at start (section
    3.3; the maximum is taken from each row as in the authors' code)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        flat = maps.flatten(2)
        likeness = flat @ flat.transpose(1, 2)  # (B, C, C)
        attention = (likeness.amax(dim=-1, keepdim=True) - likeness).softmax(dim=-1)
        return maps + self.gamma * (attention @ flat).unflatten(2, maps.shape[-2:])


class DualAttention(Head):
    """Two branches of convolution, attention, convolution; their sum is classified.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        channels: width of both branches.
        dropout: probability with which a channel of a slice is set to 0 in training, before a classifier.
    """

    def __init__(self, maps: list[Map], classes: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.grid = attention_grid(maps)
        total = sum(one.channels for one in maps)
        attentions = {"position": PositionAttention(channels), "channel": ChannelAttention()}
        self.enter = nn.ModuleDict({name: convolution_block(total, channels, 3) for name in attentions})
        self.attend = nn.ModuleDict(attentions)
        self.leave = nn.ModuleDict({name: convolution_block(channels, channels, 3) for name in attentions})
        self.auxiliary = nn.ModuleDict({name: nn.Conv2d(channels, classes, 1) for name in attentions})
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, classes, kernel_size=1)
        kaiming(self.enter, self.leave)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)] -> [(B, classes, h, w)] at the common grid."""
        branches = self.branches(maps)
        return [self.classify(self.dropout(branches["position"] + branches["channel"]))]

    def branches(self, maps: list[Tensor]) -> dict[str, Tensor]:
        """Both branches' maps (B, channels, h, w), by name."""
        joined = torch.cat([resize_by_area(one, self.grid) for one in maps], dim=1)
        return {name: self.leave[name](self.attend[name](self.enter[name](joined))) for name in self.attend}


def taps(backbone: Backbone) -> list[int]:
    """The last four maps (fewer where there are fewer; a neck's map does not count), the last one first."""
    return list(last_maps(backbone, 4))


def build(
    maps: list[Map], classes: int, *, channels: int = 384, dropout: float = 0.1, original: bool = False
) -> DualAttention:
    """Build the head.

    On four maps of width D it has 2·(36·D·c + 2·c) + 2·(9·c² + 2·c) + 3·(c² + c) + 2 + 3·(c·classes +
    classes) parameters with c channels; 2·(c·classes + classes) + c of them are frozen.

    Args:
        maps: the tapped maps, the last one first.
        classes: number of classes, background included.
        channels: width of both branches.
        dropout: probability with which a channel of a slice is set to 0 in training.
        original: leave parameters that influence nothing trainable, as the thesis counts them.
    """
    head = DualAttention(maps, classes, channels, dropout)
    if not original:
        freeze(head.auxiliary)
        head.attend["position"].key.bias.requires_grad_(False)
    return head
