"""Full: every parameter of the backbone learns, except those that are fixed by its design.

MAE's sine-cosine position embedding asks for no gradient when it is built (He et al., Masked Autoencoders,
2022); it stays so.
"""

from segshift.contracts import Backbone
from segshift.layers.naming import refuse_side

EXAMPLE = {}


def build(backbone: Backbone, *, side: Backbone | None = None) -> Backbone:
    """Leave the backbone as it was built.

    Raises:
        SegShiftError: a side network was given.
    """
    refuse_side("full", side)
    return backbone
