"""Networks without values: drawing first values takes most of the time of making a large network."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter, init
from torch.overrides import TorchFunctionMode

# What fills a tensor in place, and changes no shape.
FILLING = frozenset(
    f"{name}_"
    for name in ("add", "clamp", "copy", "div", "erfinv", "fill", "mul", "normal", "uniform", "zero")
)


class NoValues(TorchFunctionMode):
    """Inside, new modules on the meta device leave out what would fill their tensors.

    Args:
        everywhere: on other devices parameters hold whatever was in memory, for somebody who fills them all.
    """

    def __init__(self, everywhere: bool = False) -> None:
        super().__init__()
        self.everywhere = everywhere

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        fills = getattr(func, "__module__", None) == init.__name__ or getattr(func, "__name__", "") in FILLING
        if fills:
            first = args[0] if args else (kwargs or {}).get("tensor")
            if isinstance(first, Parameter) and self.everywhere:
                return first
            if isinstance(first, Tensor) and first.is_meta:
                return first
        return func(*args, **(kwargs or {}))


@contextmanager
def without_memory() -> Iterator[None]:
    """Inside, new tensors are on the meta device: they have shapes alone, and nothing is drawn."""
    with torch.device("meta"), NoValues():
        yield
