"""Swin-UNet up to its last feature map (Cao et al., Swin-Unet, 2021); head ``own`` ends it.

A U-Net of Swin blocks (those of timm): patch merging on the way down, patch expanding on the way up, maps
joined by concatenation and a linear layer. Its last 1 × 1 convolution has no bias. The authors start from
Swin-T's weights; the thesis, and this module, from random ones, with tuning ``full``.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError
from segshift.layers.images import Prepare
from segshift.layers.swin_unet import Decoder, Encoder, PatchEmbedding, PatchExpand

EXAMPLE = {
    "image_size": 16, "patch": 2, "width": 4, "window": 2, "depths": [1, 2], "attention_heads": [1, 2],
}  # fmt: skip


class SwinUNet(Backbone):
    """See ``build``."""

    def __init__(
        self, image_size: int, patch: int, width: int, window: int, depths: list[int], heads: list[int],
        drop_path: float, normalize: str, method: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_size = image_size
        self.maps = [Map(width, 1, (image_size, image_size), bias=False)]
        self.early = self.last = 0
        self.prepare = Prepare(image_size, normalize, "swin_unet", method)
        rates = [drop_path * index / max(1, sum(depths) - 1) for index in range(sum(depths))]
        parts = (image_size // patch, width, window, depths, heads, rates)
        self.patch_embed = PatchEmbedding(patch, width)
        self.encoder, self.decoder = Encoder(*parts), Decoder(*parts)
        self.up = PatchExpand(width, width, patch)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The Swin blocks, encoder first."""
        stages = (*self.encoder.stages, *self.decoder.stages)
        return [block for stage in stages for block in stage.blocks]

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, width, image_size, image_size) per tap."""
        maps, skips = self.encoder(self.patch_embed(self.prepare(images)))
        features = self.up(self.decoder(maps, skips)).permute(0, 3, 1, 2)
        return [features for _ in taps]


def build(
    *,
    image_size: int,
    patch: int = 4,
    width: int = 96,
    window: int = 7,
    depths: Sequence[int] = (2, 2, 2, 2),
    attention_heads: Sequence[int] = (3, 6, 12, 24),
    drop_path: float = 0.1,
    normalize: str = "none",
    resize: str = "bilinear",
) -> SwinUNet:
    """Build a Swin-UNet with random weights; 27,169,476 parameters by default with 15 classes.

    Args:
        image_size: side of its input in pixels, divisible by ``patch`` · 2**(stages − 1).
        patch: side of a token in pixels.
        width: channels of the first stage, doubled at each of the next.
        window: side of an attention window in tokens.
        depths: blocks of each stage of the encoder; the decoder mirrors all but the last.
        attention_heads: of each stage.
        drop_path: rate of stochastic depth of the encoder's last block, rising linearly from 0.
        normalize: ``none`` (images stay in [0, 1]), ``unit`` or ``imagenet``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area`` as in the thesis's code.

    Raises:
        SegShiftError: ``depths`` and ``attention_heads`` differ in length, an ``image_size`` that does not
            halve, or heads that do not divide their width.
    """
    depths, heads = list(depths), list(attention_heads)
    if len(depths) != len(heads):
        raise SegShiftError(
            f"backbone swin_unet: {len(depths)} depths but {len(heads)} attention_heads; a stage needs both"
        )
    if image_size % (step := patch * 2 ** (len(depths) - 1)):
        raise SegShiftError(f"backbone swin_unet: image_size {image_size} is not divisible by {step}")
    for stage, one in enumerate(heads):
        if width * 2**stage % one:
            raise SegShiftError(
                f"backbone swin_unet: {one} attention_heads do not divide the width {width * 2**stage} "
                f"of stage {stage}"
            )
    return SwinUNet(image_size, patch, width, window, depths, heads, drop_path, normalize, resize)
