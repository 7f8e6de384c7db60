"""Strict loading of weights into a backbone whose unused parts may have been dropped already."""

from torch import Tensor, nn

from segshift.contracts import check_keys
from segshift.errors import SegShiftError


def load_strict(
    part: nn.Module, expected: dict[str, Tensor], found: dict[str, Tensor], backbone: str
) -> None:
    """Load weights after comparing them with the whole network.

    Args:
        part: what is filled; it may lack blocks that no tap needs, but has no key that ``expected`` lacks.
        expected: state dict of the whole network (the meta device is enough).
        found: the weights.
        backbone: name of the backbone module, for the error.

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    # Networks saved before PyTorch 0.4.1 have no such counters, and nothing here reads them.
    expected = {
        name: tensor
        for name, tensor in expected.items()
        if name in found or not name.endswith("num_batches_tracked")
    }
    try:
        check_keys(expected, found)
    except ValueError as error:
        raise SegShiftError(f"backbone {backbone}: the weights do not fit; {error}") from error
    own = part.state_dict()
    part.load_state_dict({name: found.get(name, own[name]) for name in own})
