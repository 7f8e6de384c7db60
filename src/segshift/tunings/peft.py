"""LoRA and its family in the linear layers of a frozen backbone, through the ``peft`` library.

``method``: ``lora`` (Hu et al. 2022), ``rslora`` (Kalajdzievski 2023), ``dora`` (Liu et al. 2024), ``loha``
(Hyeon-Woo et al. 2022), ``lokr`` (Yeh et al. 2024), ``oft`` (Qiu et al. 2023), ``ia3`` (Liu et al. 2022).
All start as the pretrained backbone. Where the backbone names its blocks, only layers in them are adapted.
"""

from typing import Any

import peft
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from segshift.contracts import Backbone, freeze
from segshift.errors import SegShiftError, unknown
from segshift.layers.naming import module_name, refuse_side
from segshift.layers.probe import inputs_of

TARGETS = ("attention", "all")
EXAMPLE = {"method": "dora", "rank": 2}


def _settings(method: str, names: list[str], rank: int, scale: float) -> peft.PeftConfig:
    """The library's settings of a method; ``scale`` is alpha / rank (for ``rslora``, alpha / √rank)."""
    methods: dict[str, Any] = {
        "lora": lambda: peft.LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names),
        "rslora": lambda: peft.LoraConfig(
            r=rank, lora_alpha=scale * rank**0.5, target_modules=names, use_rslora=True
        ),
        "dora": lambda: peft.LoraConfig(r=rank, lora_alpha=scale * rank, target_modules=names, use_dora=True),
        "loha": lambda: peft.LoHaConfig(r=rank, alpha=scale * rank, target_modules=names),
        "lokr": lambda: peft.LoKrConfig(r=rank, alpha=scale * rank, target_modules=names),
        "oft": lambda: peft.OFTConfig(r=0, oft_block_size=rank, target_modules=names),
        "ia3": lambda: peft.IA3Config(target_modules=names, feedforward_modules=[]),
    }
    if method not in methods:
        raise unknown("tuning peft: unknown method", method, methods)
    return methods[method]()


def build(
    backbone: Backbone,
    *,
    side: Backbone | None = None,
    method: str = "lora",
    rank: int = 8,
    scale: float = 1.0,
    targets: str | list[str] = "attention",
) -> Backbone:
    """Freeze the backbone and hang adapters into its linear layers.

    LoRA has ``rank``·(inputs + outputs) trainable parameters a layer, DoRA another one an output.

    Args:
        backbone: one with linear layers.
        side: must be None.
        method: see this module's head.
        rank: rank of the update; for ``oft`` the side of a block, which must divide the inputs; ``ia3`` has
            none.
        scale: factor of the update (alpha / rank).
        targets: ``attention`` (the linear layers of attention modules), ``all`` linear layers, or names of
            layers such as ``[qkv]``.

    Raises:
        SegShiftError: unknown method or targets, a layer that the backbone never calls, or no layer at all.
    """
    refuse_side("peft", side)
    layers = _layers(backbone, targets)
    if not layers:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in _linear(backbone)}))
        raise SegShiftError(
            f"tuning peft finds no linear layer for targets {targets} in backbone {module_name(backbone)}; "
            f"it has: {known or 'none'}"
        )
    unseen = sorted(set(layers) - set(inputs_of(backbone, layers)))
    if unseen:
        raise SegShiftError(
            f"tuning peft: backbone {module_name(backbone)} computes {unseen[0]} without calling the layer, "
            "so that an adapter in it would do nothing; name other targets"
        )
    settings = _settings(method, list(layers), rank, scale)
    fixed = {id(one) for one in backbone.parameters()}
    freeze(backbone)
    try:
        peft.inject_adapter_in_model(settings, backbone)
    except ValueError as error:
        raise SegShiftError(
            f"tuning peft: {method} of rank {rank} does not fit backbone {module_name(backbone)}: {error}"
        ) from error
    _mark(backbone, fixed)
    return backbone


def _linear(backbone: Backbone) -> dict[str, nn.Linear]:
    """Linear layers by their name in the backbone, those in blocks only where it names its blocks."""
    inside = {id(part) for block in backbone.blocks for part in block.modules()}
    return {
        name: part
        for name, part in backbone.named_modules()
        if isinstance(part, nn.Linear) and (id(part) in inside or not inside)
    }


def _layers(backbone: Backbone, targets: str | list[str]) -> dict[str, nn.Linear]:
    if isinstance(targets, str) and targets not in TARGETS:
        raise unknown("tuning peft: unknown targets", targets, TARGETS)

    def wanted(name: str) -> bool:
        *path, last = name.split(".")
        if targets == "attention":
            return any("attn" in part or "attention" in part for part in path)
        return targets == "all" or last in targets

    return {name: part for name, part in _linear(backbone).items() if wanted(name)}


def _mark(backbone: Backbone, fixed: set[int]) -> None:
    """Adapters learn, whatever the library left; nothing that was there before does."""
    heads = {
        id(one) for part in backbone.modules() if getattr(part, "of_head", False) for one in part.parameters()
    }
    for one in backbone.parameters():
        one.requires_grad_(id(one) not in fixed or id(one) in heads)
    for part in backbone.modules():
        if isinstance(part, BaseTunerLayer):
            for name, child in part.named_children():
                if name != "base_layer":
                    child.learns = True
