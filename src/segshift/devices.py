"""Where a model runs, and what its process does with threads and memory there."""

import ctypes
from typing import Any

import torch

from segshift.errors import SegShiftError, unknown

KNOWN = ("auto", "cpu", "cuda")
KEPT = 1 << 30  # bytes, see ``_keep_memory``
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names of what is set


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


def set_up(training: dict[str, Any]) -> None:
    """Threads and memory of a process that runs a model.

    Args:
        training: ``training`` of its settings.
    """
    torch.set_num_threads(training.get("cpu_threads", 1))
    _keep_memory()


def _keep_memory() -> None:
    """Have what tensors on a CPU free, up to 1 GiB each and all, stay with the process for the next ones.

    By default glibc gives larger ones back to the system at once, and each next one is zeroed anew, page by
    page: of a step of a U-Net that was two fifths.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        for threshold in (MMAP_THRESHOLD, TRIM_THRESHOLD):
            mallopt(threshold, KEPT)
