"""BitFit: only the bias terms of the frozen backbone learn (Ben Zaken et al., BitFit, ACL 2022).

All of them learn, those of norms too. Batch-norm statistics stay; what was fixed when the backbone was built
stays fixed.
"""

from segshift.contracts import Backbone, freeze
from segshift.errors import SegShiftError
from segshift.layers.naming import module_name, refuse_side

EXAMPLE = {}


def build(backbone: Backbone, *, side: Backbone | None = None) -> Backbone:
    """Freeze all but the biases.

    Raises:
        SegShiftError: a side network was given, or the backbone has no bias that may learn.
    """
    refuse_side("bitfit", side)
    biases = [one for name, one in backbone.named_parameters() if name.endswith("bias") and one.requires_grad]
    if not biases:
        raise SegShiftError(f"tuning bitfit finds no bias in backbone {module_name(backbone)} that may learn")
    freeze(backbone)
    for one in biases:
        one.requires_grad_(True)
    return backbone
