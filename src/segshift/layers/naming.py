"""Names of plug-in modules, for error sentences."""

from torch import nn

from segshift.errors import SegShiftError


def module_name(part: nn.Module) -> str:
    """The plug-in module that defines a backbone or head, such as ``lite_medsam``; of two backbones side by
    side, the big one's."""
    part = getattr(part, "big", part)
    return type(part).__module__.rpartition(".")[2]


def refuse_side(tuning: str, side: object) -> None:
    """For tunings without a side network.

    Raises:
        SegShiftError: a side network was given.
    """
    if side is not None:
        raise SegShiftError(f"tuning {tuning} takes no side network; remove `side` from its entry")
