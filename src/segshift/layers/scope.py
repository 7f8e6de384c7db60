"""What learns while a model is adapted."""

from torch import nn

from segshift.contracts import freeze
from segshift.errors import SegShiftError, unknown
from segshift.layers.naming import module_name

SCOPES = ("head", "all", "norms")


def learn(model: nn.Module, scope: str = "head", by_name: bool = False) -> None:
    """Let only a part of a segmenter learn; the rest is frozen and in evaluation mode.

    A network of its own (``head: own``) learns whole, as in Tables 4.8 and 4.9 of the thesis.

    Args:
        model: a ``Segmenter``; what was frozen in it stays frozen.
        scope: ``head``; ``all``: whatever the source training trained, the tuning too; or ``norms``: the
            head's normalization layers only (Wang et al. 2021, Tent).
        by_name: of ``norms`` only those that are called so, and of a network of its own all parameters, as
            the thesis's code did: it misses the norms that only have a number in a chain of layers.

    Raises:
        SegShiftError: an unknown scope, or nothing would learn.
    """
    if scope not in SCOPES:
        raise unknown("adaptations.yaml: unknown scope", scope, SCOPES)
    if scope != "all" and not model.head.whole_network:
        for part in model.backbone.modules():
            part.learns = False
        freeze(model.backbone)
    if scope == "norms" and by_name:
        for name, parameter in model.named_parameters() if not model.head.whole_network else ():
            called = name.startswith("head.") and "norm" in name
            parameter.requires_grad_(parameter.requires_grad and called)
    elif scope == "norms":
        kept = {
            id(p)
            for part in model.modules()
            if "norm" in type(part).__name__.lower()  # other packages' LayerNorm2d too
            for p in part.parameters(recurse=False)
        }
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in kept)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise SegShiftError(f"scope {scope}: head {module_name(model.head)} has nothing that would learn")
