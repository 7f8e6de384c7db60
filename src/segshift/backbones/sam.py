"""SAM's and MedSAM's image encoder: a plain vision transformer with windows, and its neck.

Source: Kirillov et al., Segment Anything, ICCV 2023, appendix A; Ma et al., Segment Anything in Medical
Images, Nature Communications 2024 (the same encoder, its images in [0, 1]). The layers are the
segment-anything package's. One map a block (D channels at stride 16), and the neck's (256 at 16) as the last.
The early map is the first block with global attention.

Pretrained at 1,024 px; here any multiple of 16 px. The position table and the relative positions of global
blocks are resized bilinearly, once, when weights are loaded; windowed blocks keep theirs.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn
from torch.nn import functional

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError, unknown
from segshift.layers import images
from segshift.layers.blocks import drop_hooks_after
from segshift.layers.loading import load_strict
from segshift.layers.without_values import without_memory

PATCH, WINDOW, NECK_CHANNELS = 16, 14, 256


class Size(NamedTuple):
    """Of an encoder: width and number of its blocks, attention heads, indices of blocks without windows."""

    width: int
    depth: int
    attention_heads: int
    global_blocks: Sequence[int]


SIZES = {
    "base": Size(768, 12, 12, (2, 5, 8, 11)),
    "large": Size(1024, 24, 16, (5, 11, 17, 23)),
    "huge": Size(1280, 32, 16, (7, 15, 23, 31)),
}
EXAMPLE = {
    "image_size": 32,
    "size": {"width": 24, "depth": 3, "attention_heads": 2, "global_blocks": [1]},
}


class SAM(Backbone):
    """The encoder as a backbone, random until ``load``.

    Args:
        image_size: side of its input in pixels, a multiple of 16.
        size: of the encoder.
        normalize, method: see ``segshift.layers.images.Prepare``.

    Raises:
        SegShiftError: ``image_size`` is no multiple of 16.
    """

    def __init__(self, image_size: int, size: Size, normalize: str, method: str) -> None:
        super().__init__()
        if image_size % PATCH:
            raise SegShiftError(
                f"backbone sam: image_size {image_size} is not divisible by its patch, {PATCH}"
            )
        self.image_size = image_size
        self.size = size
        self.prepare = images.Prepare(image_size, normalize, "sam", method)
        self.net = self._create()
        grid = (image_size // PATCH, image_size // PATCH)
        self.maps = [Map(size.width, PATCH, grid)] * size.depth + [Map(NECK_CHANNELS, PATCH, grid)]
        self.early, self.last, self.neck = min(size.global_blocks), size.depth - 1, size.depth
        self.hooks = [size.width] * size.depth

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.net.blocks

    def _create(self) -> ImageEncoderViT:
        return ImageEncoderViT(
            img_size=self.image_size,
            patch_size=PATCH,
            embed_dim=self.size.width,
            depth=self.size.depth,
            num_heads=self.size.attention_heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            out_chans=NECK_CHANNELS,
            use_rel_pos=True,
            window_size=WINDOW,
            global_attn_indexes=self.size.global_blocks,
        )

    def use(self, taps: Sequence[int]) -> None:
        """Drop the neck if no tap needs it, then the blocks behind the last tap and what hangs there."""
        if self.neck in taps:
            return
        self.net.neck = None
        self.net.blocks = self.net.blocks[: max(taps) + 1]
        drop_hooks_after(self, max(taps))

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h, w) per tap."""
        tokens = self.net.patch_embed(self.prepare(images)) + self.net.pos_embed  # (B, h, w, D)
        maps = {}
        for index, block in enumerate(self.net.blocks[: max(taps) + 1]):
            tokens = block(tokens)
            if str(index) in self.after:
                patches = self.after[str(index)](tokens.flatten(1, 2))  # (B, N, D)
                tokens = patches.unflatten(1, tokens.shape[1:3])
            maps[index] = tokens.permute(0, 3, 1, 2) if index in taps else None
        if self.neck in taps:
            maps[self.neck] = self.net.neck(tokens.permute(0, 3, 1, 2))
        return [maps[tap] for tap in taps]


def build(
    *,
    image_size: int,
    size: str | dict[str, Any] = "base",
    normalize: str = "imagenet",
    resize: str = "bilinear",
) -> SAM:
    """Build an encoder with random weights.

    Args:
        image_size: side of its input in pixels, a multiple of 16.
        size: ``base``, ``large``, ``huge``, or the numbers of another one: ``width``, ``depth``,
            ``attention_heads`` and ``global_blocks``.
        normalize: ``imagenet`` (SAM), ``unit`` (MedSAM: each slice to [0, 1]) or ``none``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area`` as in the thesis's code.

    Raises:
        SegShiftError: an unknown name, or an ``image_size`` that is no multiple of 16.
    """
    if isinstance(size, str):
        if size not in SIZES:
            raise unknown("backbone sam: unknown size", size, SIZES)
        return SAM(image_size, SIZES[size], normalize, resize)
    if wrong := set(size) ^ set(Size._fields):
        raise unknown("backbone sam: missing or unknown key of size", min(wrong), Size._fields)
    return SAM(image_size, Size(**size), normalize, resize)


def load(backbone: SAM, state: dict[str, Tensor]) -> None:
    """Load the encoder's part of a SAM or MedSAM file (keys ``image_encoder.*``), strictly.

    Args:
        backbone: what ``build`` gave; parts that ``use`` has dropped are compared too.
        state: the whole file; its prompt encoder and mask decoder are left aside.

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    found = {
        name.removeprefix("image_encoder."): tensor
        for name, tensor in state.items()
        if not name.startswith(("prompt_encoder.", "mask_decoder."))
    }
    with without_memory():
        whole = backbone._create().state_dict()
    tables = {"pos_embed": _resize_table} | {
        f"blocks.{index}.attn.rel_pos_{axis}": _resize_relative
        for index in backbone.size.global_blocks
        for axis in "hw"
    }
    for name, change in tables.items():
        if name in found and found[name].ndim == whole[name].ndim:
            found[name] = change(found[name], whole[name].shape)
    load_strict(backbone.net, whole, found, "sam")


def _resize_table(table: Tensor, shape: torch.Size) -> Tensor:
    """(1, n, n, D) -> (1, h, w, D)."""
    return images.resize(table.permute(0, 3, 1, 2), tuple(shape[1:3])).permute(0, 2, 3, 1)


def _resize_relative(table: Tensor, shape: torch.Size) -> Tensor:
    """(2n - 1, c) -> (2h - 1, c): linear, that is bilinear along one axis."""
    if len(table) == shape[0]:
        return table
    return functional.interpolate(table.T[None], size=shape[0], mode="linear", align_corners=False)[0].T
