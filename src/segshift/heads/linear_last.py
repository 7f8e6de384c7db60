"""Linear head on one map: the neck's where the backbone has a neck (SAM's family), else the last.

The plainest probe of what a backbone's output holds. The neck counts as the output because it is pretrained
as such: it is what SAM's own decoder sees.
"""

from segshift.contracts import Backbone, Map
from segshift.layers.linear import LinearHead

EXAMPLE = {}
ONE_MAP = True


def taps(backbone: Backbone) -> list[int]:
    """The neck's map, else the last."""
    return [backbone.last if backbone.neck is None else backbone.neck]


def build(maps: list[Map], classes: int, *, dropout: float = 0.1) -> LinearHead:
    """Build the head; 2·D + D·classes + classes parameters on a map of width D.

    Args:
        maps: the one tapped map.
        classes: number of classes, background included.
        dropout: probability with which a channel of a slice is set to 0 in training.
    """
    return LinearHead(maps, classes, dropout)
