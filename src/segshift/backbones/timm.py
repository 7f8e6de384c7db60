"""Any network of the timm library by its name: vision transformers block by block, all others stage by stage.

Plain vision transformers (timm's ``VisionTransformer`` and ``Eva`` classes) give one map a block and take
hooks after each; convolutional and hierarchical networks give one map a stage and take none. A position table
of another input size is resized once, when weights are loaded, by timm's rule (bicubic, with antialias), or
with ``positions: dinov2`` as DINOv2's own code does.

The thesis's code departs from this in ways that entries called ``…_original`` name one by one:
``colours: bgr`` (DINOv2), ``final_norm: none`` (MAE), ``resize: area``.
"""

from abc import abstractmethod
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError, unknown
from segshift.layers import dinov2_positions
from segshift.layers.blocks import drop_hooks_after
from segshift.layers.images import Prepare
from segshift.layers.loading import load_strict
from segshift.layers.timm_options import creator
from segshift.layers.timm_weights import to_layout
from segshift.layers.without_values import without_memory

FINAL_NORMS = ("all", "last", "none")
POSITIONS = ("timm", "dinov2")
EXAMPLE = {
    "image_size": 32,
    "model": "vit_tiny_patch16_224",
    "options": {"depth": 5, "embed_dim": 24, "num_heads": 2},
}
EVA = {"patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 2}
EXAMPLES = [
    EXAMPLE,
    {"image_size": 32, "model": "resnet10t", "options": {"channels": [8, 8, 16, 16]}},
    {"image_size": 32, "model": "eva02_tiny_patch14_224", "final_norm": "none", "options": EVA},
]


class Timm(Backbone):
    """Shared part: the network, its entrance, and how a whole copy of it is made to compare weights with."""

    def __init__(self, create: "partial[nn.Module]", prepare: Prepare) -> None:
        super().__init__()
        self.create = create
        self.net = create()
        self.image_size = prepare.grid[0]
        self.prepare = prepare

    @abstractmethod
    def _prune(self, net: nn.Module, last: int) -> None:
        """Drop all that the maps up to ``last`` do not need."""

    def load(self, state: dict[str, Any]) -> None:
        """Load weights, see ``load`` of this module."""
        with without_memory():
            whole, needed = self.create(), self.create()
        self._prune(needed, len(self.maps) - 1)
        found = to_layout(state, whole, keep=set(needed.state_dict()))
        load_strict(self.net, needed.state_dict(), found, f"timm ({self.net.pretrained_cfg['architecture']})")


class Transformer(Timm):
    """A plain vision transformer; one map a block."""

    def __init__(
        self, create: "partial[nn.Module]", prepare: Prepare, final_norm: str, positions: str
    ) -> None:
        super().__init__(create, prepare)
        image_size = self.image_size
        self.final_norm = final_norm
        self.positions = positions
        self.interpolation = dinov2_positions.of_release(self.net)
        side = image_size // self.net.feature_info[0]["reduction"]
        self.maps = [
            Map(info["num_chs"], int(info["reduction"]), (side, side))
            for info in self.net.feature_info[: len(self.net.blocks)]
        ]
        self.early, self.last = 0, len(self.maps) - 1
        self.hooks = [one.channels for one in self.maps]
        if image_size % self.maps[0].stride:
            raise SegShiftError(
                f"backbone timm: image_size {image_size} is not divisible by its patch, {self.maps[0].stride}"
            )
        if final_norm != "none" and isinstance(self.net.norm, nn.Identity):
            raise SegShiftError(
                f"backbone timm: {self.net.pretrained_cfg['architecture']} has no final norm of its tokens; "
                "write final_norm: none"
            )
        self._prune(self.net, self.last)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.net.blocks

    def _prune(self, net: nn.Module, last: int) -> None:
        unused_norm = self.final_norm == "none" or (self.final_norm == "last" and last < self.last)
        net.prune_intermediate_layers([last], prune_norm=unused_norm)

    def use(self, taps: Sequence[int]) -> None:
        """Drop the blocks behind the last tap, and what hangs there."""
        self._prune(self.net, max(taps))
        drop_hooks_after(self, max(taps))

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, D, h, w) per tap, class and register tokens left out."""
        tokens, rotations = self._embed(self.prepare(images))
        prefix = self.net.num_prefix_tokens
        maps = {}
        for index, block in enumerate(self.net.blocks[: max(taps) + 1]):
            tokens = block(tokens) if rotations is None else block(tokens, rope=rotations[index])
            if str(index) in self.after:
                patches = self.after[str(index)](tokens[:, prefix:])  # (B, N, D)
                tokens = torch.cat([tokens[:, :prefix], patches], dim=1)
            if index in taps:
                maps[index] = self._to_map(tokens, index)
        return [maps[index] for index in taps]

    def _embed(self, images: Tensor) -> tuple[Tensor, Sequence[Tensor] | None]:
        """Tokens (B, prefix + N, D), and for rotary position embeddings one table a block."""
        patches = self.net.patch_embed(images)
        if self.positions == "dinov2":
            return self.net.norm_pre(dinov2_positions.embed(self.net, patches, self.interpolation)), None
        embedded = self.net._pos_embed(patches)
        tokens, rotation = embedded if isinstance(embedded, tuple) else (embedded, None)
        if rotation is not None and not getattr(self.net, "rope_mixed", False):
            rotation = [rotation] * len(self.net.blocks)
        return self.net.norm_pre(tokens), rotation

    def _to_map(self, tokens: Tensor, index: int) -> Tensor:
        if self.final_norm == "all" or (self.final_norm == "last" and index == self.last):
            tokens = self.net.norm(tokens)
        patches = tokens[:, self.net.num_prefix_tokens :]
        return patches.transpose(1, 2).unflatten(2, self.maps[index].grid)


class Stages(Timm):
    """A convolutional or hierarchical network; one map a stage."""

    def __init__(self, create: "partial[nn.Module]", prepare: Prepare) -> None:
        super().__init__(create, prepare)
        self.maps = self._measure()
        self.early, self.last = 0, len(self.maps) - 1
        self._prune(self.net, self.last)

    def _measure(self) -> list[Map]:
        # Rounding at odd sizes differs from network to network, so a copy without memory is asked.
        with without_memory():
            copy = self.create().eval()
            maps = copy.forward_intermediates(
                torch.empty(1, 3, self.image_size, self.image_size),
                output_fmt="NCHW",
                intermediates_only=True,
            )
        infos = self.net.feature_info
        return [
            Map(one.shape[1], int(info["reduction"]), tuple(one.shape[-2:]))
            for one, info in zip(maps, infos, strict=True)
        ]

    def _prune(self, net: nn.Module, last: int) -> None:
        net.prune_intermediate_layers(list(range(last + 1)), prune_norm=True)

    def use(self, taps: Sequence[int]) -> None:
        """Drop the stages behind the last tap."""
        self._prune(self.net, max(taps))

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h_i, w_i) per tap."""
        order = sorted(set(taps))
        maps = self.net.forward_intermediates(
            self.prepare(images), indices=order, output_fmt="NCHW", intermediates_only=True
        )
        return [maps[order.index(tap)] for tap in taps]


def build(
    *,
    image_size: int,
    model: str,
    normalize: str = "imagenet",
    resize: str = "bilinear",
    colours: str = "rgb",
    final_norm: str = "all",
    fixed_position: bool = False,
    positions: str = "timm",
    interpolate_offset: float | None = None,
    antialias: bool | None = None,
    options: dict[str, Any] | None = None,
) -> Timm:
    """Build a network of timm with random weights; nothing is ever downloaded.

    Args:
        image_size: side of its input in pixels.
        model: timm's name, such as ``vit_base_patch14_dinov2`` or ``resnet50``.
        normalize: ``imagenet``, ``half``, ``clip``, ``unit`` (each slice to [0, 1]) or ``none``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area`` as in the thesis's code.
        colours: ``rgb``, or ``bgr``: red and blue change places once they are normalized.
        final_norm: plain vision transformers only: which maps get the final layer norm, ``all``, ``last`` or
            ``none``.
        fixed_position: the position table never learns, as MAE's sine-cosine table.
        positions: how a position table meets another input size: ``timm``, or ``dinov2`` for DINOv2's models.
        interpolate_offset, antialias: of ``positions: dinov2``, where not those of the released model.
        options: keywords of timm's own model, such as ``depth``.

    Raises:
        SegShiftError: unknown name, value or option, or timm cannot build the network at this size.
    """
    if not timm.is_model(model):
        near = ", ".join(get_close_matches(model, timm.list_models(), n=5, cutoff=0.3))
        raise SegShiftError(f"backbone timm: unknown model {model!r}; the nearest of timm's names: {near}")
    if final_norm not in FINAL_NORMS:
        raise unknown("backbone timm: unknown final_norm", final_norm, FINAL_NORMS)
    if positions not in POSITIONS:
        raise unknown("backbone timm: unknown positions", positions, POSITIONS)
    prepare = Prepare(image_size, normalize, "timm", resize, colours)
    sizes = {"img_size": image_size} if timm.get_pretrained_cfg(model).fixed_input_size else {}
    if positions == "dinov2":
        if "dinov2" not in model:
            raise SegShiftError(f"backbone timm: positions dinov2 is for DINOv2's models, not for {model}")
        sizes = {"dynamic_img_size": True}  # the table keeps the size of the pretraining
    elif interpolate_offset is not None or antialias is not None:
        raise SegShiftError("backbone timm: interpolate_offset and antialias are of positions dinov2 alone")
    create, kind = creator("timm", model, options or {}, image_size, **sizes)
    try:
        backbone = (
            Transformer(create, prepare, final_norm, positions)
            if issubclass(kind, VisionTransformer | Eva)
            else Stages(create, prepare)
        )
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise SegShiftError(f"backbone timm: {model} gives no maps at {image_size} px: {error}") from error
    if positions == "dinov2":
        backbone.interpolation = backbone.interpolation.but(interpolate_offset, antialias)
    if fixed_position:
        _fix_position(backbone)
    return backbone


def load(backbone: Timm, state: dict[str, Any]) -> None:
    """Load official or timm weights, strictly: every key of the network, no other but those of a classifier.

    Layouts that timm knows are converted by its own filter (DINOv2's flat file, MAE's ``model`` key, position
    tables of another input size).

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    backbone.load(state)


def _fix_position(backbone: Timm) -> None:
    table = getattr(backbone.net, "pos_embed", None)
    if table is None:
        raise SegShiftError(
            f"backbone timm: fixed_position needs a position table; "
            f"{backbone.net.pretrained_cfg['architecture']} has none"
        )
    table.requires_grad_(False)
