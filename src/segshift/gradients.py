"""How many parameters really receive a gradient: head and tuning run, forward and back, on random maps.

A parameter may be trainable and yet influence nothing. What is frozen costs too much to run and decides
nothing here, so that random maps and tokens stand in for it: for a frozen backbone (also the one in a
ladder), and for the frozen blocks between a tuning's layers. The rest gets random weights, since what starts
at zero would hide gradients behind it.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from segshift.combinations import Combination
from segshift.contracts import Backbone, is_frozen, set_mode
from segshift.counts import assemble
from segshift.layers.without_values import NoValues
from segshift.model import Segmenter


class RandomMaps(Backbone):
    """Random maps with the shapes of a backbone's."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.image_size, self.maps, self.neck = backbone.image_size, backbone.maps, backbone.neck
        self.early, self.last = backbone.early, backbone.last

    def forward(self, images: Tensor, taps: list[int]) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C_i, h_i, w_i) per tap."""
        maps = [self.maps[tap] for tap in taps]
        return [torch.randn(len(images), one.channels, *one.grid, device=images.device) for one in maps]


class Passed(nn.Module):
    """In place of a frozen block: tokens go on as they came."""

    def forward(self, tokens: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """Any shape -> the same."""
        return tokens


def received(combination: Combination, device: torch.device, seed: int = 0) -> int:
    """The number of parameters in tensors that get a gradient which is not zero everywhere.

    A tensor whose gradient is nothing but rounding (the bias of an attention's keys) counts, as in the
    thesis's numbers.

    Args:
        combination: what to run.
        device: where.
        seed: of weights, maps and the weights of the sum over all logits that is differentiated.

    Raises:
        SegShiftError: parts that do not fit.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = _build(combination)
        model.backbone = _stand_in(model.backbone)
        _fill(model, device)
        _sum(model, device).backward()
    reached = [one for one in model.parameters() if one.grad is not None and one.grad.count_nonzero() > 0]
    return sum(one.numel() for one in reached)


def _sum(model: Segmenter, device: torch.device) -> Tensor:
    """A random-weighted sum of all logits that the head's loss looks at, with nothing dropped at random."""
    set_mode(model, False)
    side = model.backbone.image_size
    outputs = model.head(model.backbone(torch.rand(1, 3, side, side, device=device), model.taps))
    used = [pair for pair in zip(model.head.loss_weights, outputs, strict=True) if pair[0]]
    return sum(weight * (one * torch.randn_like(one)).sum() for weight, one in used)


def _stand_in(backbone: Backbone) -> Backbone:
    if is_frozen(backbone):
        return RandomMaps(backbone)
    for name, child in backbone.named_children():
        if isinstance(child, Backbone):
            setattr(backbone, name, _stand_in(child))
    if backbone.hooks is not None:  # tokens in, tokens of the same shape out
        for index, block in enumerate(backbone.blocks):
            if not any(one.requires_grad for one in block.parameters()):
                backbone.blocks[index] = Passed()
    return backbone


def _build(combination: Combination) -> Segmenter:
    """A model whose parameters have no memory yet, where its buffers can do without them."""
    with _parameters_without_memory(), NoValues():
        model, _ = assemble(combination)
    if any(one.is_meta for one in model.buffers()):  # tables made on the device of a parameter (Swin's)
        model, _ = assemble(combination)
    return model


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Parameters of modules made inside have shapes alone; buffers are real, for some are tables."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None and not parameter.is_meta:
            bare = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
            module._parameters[name] = bare

    nn.Module.register_parameter = on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register


@torch.no_grad()
def _fill(model: nn.Module, device: torch.device) -> None:
    """Random weights of a size with which signals survive the depth; nothing is zero."""
    for module in model.modules():
        norm = "norm" in type(module).__name__.lower()
        for name, one in module._parameters.items():
            if one is None:
                continue
            values = torch.randn(one.shape, device=device)
            if one.ndim < 2:
                values = 0.1 * values + (1.0 if norm and name == "weight" else 0.0)
            elif not isinstance(module, nn.Embedding):
                values /= math.sqrt(one[0].numel())
            module._parameters[name] = nn.Parameter(values, requires_grad=one.requires_grad)
    model.to(device)
