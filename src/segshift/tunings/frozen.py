"""Frozen: the backbone stays as it was pretrained, its batch-norm statistics too; only the head learns."""

from segshift.contracts import Backbone, freeze
from segshift.layers.naming import refuse_side

EXAMPLE = {}


def build(backbone: Backbone, *, side: Backbone | None = None) -> Backbone:
    """Freeze the backbone.

    Raises:
        SegShiftError: a side network was given.
    """
    refuse_side("frozen", side)
    return freeze(backbone)
