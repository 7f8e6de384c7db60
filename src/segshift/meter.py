"""What a forward pass costs, measured on the meta device: no weights, no memory, milliseconds.

FLOPs follow PyTorch's own formulas (``torch.utils.flop_counter``: a multiplication and an addition are two).
What it does not count (norms, activations, interpolation) is not counted here. An operation on tensors of the
same shapes as before is not worked out again, which makes a deep network as cheap as its first block.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

ATEN = torch.ops.aten
# Without memory PyTorch would take attention apart and keep N × N weights, as no device with memory does.
FUSED = ATEN._scaled_dot_product_flash_attention_for_cpu
FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    FUSED: flop_registry[ATEN._scaled_dot_product_flash_attention],
}


class FusedAttention(TorchFunctionMode):
    """Attention in one operation, whatever the device."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if enable_gqa:  # groups of queries share a key and a value: the products are those of repeated ones
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    return FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]


class Meter(TorchDispatchMode):
    """Inside, ``flops`` grows with every operation on the meta device; results are remembered for good."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.known: dict[Any, tuple[int, bool, list[Any]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        schema = func._schema
        if schema.is_mutable or any(one.alias_info is not None for one in schema.returns):
            return func(*args, **kwargs)  # a view shares its storage, and costs nothing
        key = (func, _shape(args), tuple((name, _shape(one)) for name, one in kwargs.items()))
        if key not in self.known:
            found = func(*args, **kwargs)
            formula = FORMULAS.get(func._overloadpacket)
            several = isinstance(found, tuple | list)
            shapes = [_shape(one) for one in (found if several else (found,))]
            if not all(isinstance(one, tuple) and one[-1] == "meta" for one in shapes):
                return found  # of another device, or no tensor
            flops = formula(*args, **kwargs, out_val=found) if formula else 0
            self.known[key] = flops, several, shapes
            self.flops += flops
            return found
        flops, several, shapes = self.known[key]
        self.flops += flops
        fresh = [
            torch.empty_strided(size, stride, dtype=dtype, device="meta")
            for size, stride, _, dtype, _ in shapes
        ]
        return tuple(fresh) if several else fresh[0]


def _shape(value: Any) -> Any:
    """Something that is equal for arguments with which an operation does the same on the meta device."""
    if isinstance(value, Tensor):
        where = value.device.type
        return tuple(value.shape), value.stride(), value.storage_offset(), value.dtype, where
    if isinstance(value, tuple | list):
        return tuple(_shape(one) for one in value)
    return value


class Kept:
    """The memory that a forward pass keeps for its backward pass: each storage once, weights left out."""

    def __init__(self, weights: Iterable[Tensor] = ()) -> None:
        self.tensors: dict[int, Tensor] = {}  # held, so that no address is used twice
        self._weights = {_storage(one) for one in weights}

    def run(self, network: Callable[..., Any], *inputs: Any) -> Any:
        """Call a network and note what autograd keeps."""

        def note(tensor: Tensor) -> Tensor:
            if _storage(tensor) not in self._weights:
                self.tensors[_storage(tensor)] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            return network(*inputs)

    def __contains__(self, tensor: Tensor) -> bool:
        return _storage(tensor) in self.tensors

    @property
    def bytes(self) -> int:
        return sum(one.untyped_storage().nbytes() for one in self.tensors.values())


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
