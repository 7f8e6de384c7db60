"""Where a model runs."""

import torch

from segshift.errors import SegShiftError, unknown

KNOWN = ("auto", "cpu", "cuda")


def device(name: str = "auto") -> torch.device:
    """``auto`` is the GPU where there is one.

    Raises:
        SegShiftError: an unknown name, or no GPU where one was asked for.
    """
    if name not in KNOWN:
        raise unknown("unknown device", name, KNOWN)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SegShiftError("there is no GPU that PyTorch can use here; known devices: cpu")
    return torch.device(name)
