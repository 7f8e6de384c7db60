"""Linear head on the last four maps: concatenation, batch norm, channel dropout, 1 × 1 convolution.

Source: the thesis's linear head, after DINOv2's probe on four blocks (Oquab et al., 2023, section 7.4). On a
backbone whose maps differ in stride every map is brought to the finest of the four.
"""

from segshift.contracts import Backbone, Map
from segshift.layers.blocks import last_maps
from segshift.layers.linear import LinearHead

EXAMPLE = {}
ANY_NUMBER = True  # an entry's `blocks` may be as many as one likes


def taps(backbone: Backbone) -> list[int]:
    """The last four maps (fewer where there are fewer; a neck's map does not count), the last one first."""
    return list(last_maps(backbone, 4))


def build(maps: list[Map], classes: int, *, dropout: float = 0.1) -> LinearHead:
    """Build the head; 4·2·D + 4·D·classes + classes parameters on four maps of width D.

    Args:
        maps: the tapped maps.
        classes: number of classes, background included.
        dropout: probability with which a channel of a slice is set to 0 in training.
    """
    return LinearHead(maps, classes, dropout)
