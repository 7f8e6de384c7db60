"""The end of a network of its own: the 1 × 1 convolution that follows a U-Net's or Swin-UNet's last map.

Such a network is one thing from images to logits, so adapting this head adapts the whole network.
"""

from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map
from segshift.errors import SegShiftError
from segshift.layers.naming import module_name

EXAMPLE = {}


class Own(Head):
    """A 1 × 1 convolution on the single map."""

    whole_network = True

    def __init__(self, channels: int, classes: int, bias: bool) -> None:
        super().__init__()
        self.classify = nn.Conv2d(channels, classes, kernel_size=1, bias=bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C, h, w)] -> [(B, classes, h, w)]."""
        return [self.classify(maps[0])]


def taps(backbone: Backbone) -> list[int]:
    """The only map.

    Raises:
        SegShiftError: the backbone has several maps, so it is an encoder without a decoder of its own.
    """
    if len(backbone.maps) != 1:
        raise SegShiftError(
            f"head own ends a network that has its own decoder (one map); backbone {module_name(backbone)} "
            f"is an encoder with {len(backbone.maps)} maps: choose another head"
        )
    return [0]


def build(maps: list[Map], classes: int) -> Own:
    """Build the head; C·classes + classes parameters on a map of C channels (Swin-UNet's has no bias).

    Args:
        maps: the one tapped map.
        classes: number of classes, background included.

    Raises:
        SegShiftError: more than one map.
    """
    if len(maps) != 1:
        raise SegShiftError(f"head own takes one map, not {len(maps)}")
    return Own(maps[0].channels, classes, maps[0].bias)
