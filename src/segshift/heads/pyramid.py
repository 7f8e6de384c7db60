"""A light U-Net decoder over maps of falling stride: the fair head for CNNs and hierarchical encoders.

After Ronneberger et al., U-Net, 2015. It differs in that every map is first projected to one small width,
upsampling is bilinear, and each step has one 3 × 3 convolution. On a plain vision transformer, whose maps
share one stride, it fuses the last four blocks' maps without upsampling.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map
from segshift.layers.blocks import last_maps
from segshift.layers.convolutions import convolution_block
from segshift.layers.images import resize

EXAMPLE = {"width": 8}
ANY_NUMBER = True  # an entry's `blocks` may be as many as one likes


class Pyramid(Head):
    """From the deepest map to the shallowest: bring to the next grid, concatenate, convolve.

    Args:
        maps: the tapped maps, shallow to deep.
        classes: number of classes, background included.
        width: channels of every step.
        dropout: probability with which a channel of a slice is set to 0 in training, before the last layer.
    """

    def __init__(self, maps: list[Map], classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.ModuleList(convolution_block(one.channels, width, kernel=1) for one in maps)
        self.fuse = nn.ModuleList(convolution_block(2 * width, width, kernel=3) for _ in maps[1:])
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C_i, h_i, w_i)], shallow to deep -> [(B, classes, h_0, w_0)]."""
        *shallower, features = [project(one) for project, one in zip(self.project, maps, strict=True)]
        for skip, fuse in zip(reversed(shallower), reversed(self.fuse), strict=True):
            features = fuse(torch.cat([skip, resize(features, skip.shape[-2:])], dim=1))
        return [self.classify(self.dropout(features))]


def taps(backbone: Backbone) -> list[int]:
    """All maps of a hierarchical backbone, its neck's too; the last four of a plain one. Shallow to deep."""
    strides = {backbone.maps[index].stride for index in range(backbone.last + 1)}
    return list(range(len(backbone.maps))) if len(strides) > 1 else sorted(last_maps(backbone, 4))


def build(maps: list[Map], classes: int, *, width: int = 32, dropout: float = 0.1) -> Pyramid:
    """Build the head.

    Args:
        maps: the tapped maps, shallow to deep.
        classes: number of classes, background included.
        width: channels of every step.
        dropout: probability with which a channel of a slice is set to 0 in training.
    """
    return Pyramid(maps, classes, width, dropout)
