"""Parts of Swin-UNet around timm's Swin blocks (Cao et al., Swin-Unet, 2021, section 3).

All work on maps with channels last, (B, h, w, C). Attribute names are the key names of the authors' weights.
"""

import torch
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn


class PatchExpand(nn.Module):
    """A larger side, fewer channels: linear layer, pixels taken out of the channels, layer norm.

    (B, h, w, channels) -> (B, factor·h, factor·w, width).
    """

    def __init__(self, channels: int, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(channels, factor**2 * width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, channels) -> (B, factor·h, factor·w, width)."""
        pixels = self.expand(maps).unflatten(-1, (self.factor, self.factor, -1))
        return self.norm(pixels.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2))


class Stage(nn.Module):
    """Swin blocks of one width, every second with shifted windows; where a window fits, it is not shifted.

    Args:
        width: channels.
        side: of the map, in tokens.
        heads: attention heads.
        window: side of a window, in tokens.
        drop_path: rate of stochastic depth of each block.
    """

    def __init__(self, width: int, side: int, heads: int, window: int, drop_path: list[float]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                width, (side, side), heads, window_size=window, shift_size=index % 2 * (window // 2),
                drop_path=rate,
            )
            for index, rate in enumerate(drop_path)
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        """(B, h, w, C) -> the same shape."""
        for block in self.blocks:
            maps = block(maps)
        return maps


class PatchEmbedding(nn.Module):
    """A convolution that makes one token a patch, and a layer norm: (B, 3, H, W) -> (B, h, w, width)."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, h, w, width)."""
        return self.norm(self.proj(images).permute(0, 2, 3, 1))


class Encoder(nn.Module):
    """Stages of falling side; ``forward`` also gives the map before each stage, for the skips."""

    def __init__(
        self, side: int, width: int, window: int, depths: list[int], heads: list[int], rates: list[float]
    ) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(len(depths))]
        self.stages = nn.ModuleList(
            Stage(widths[stage], side // 2**stage, heads[stage], window, _of_stage(rates, depths, stage))
            for stage in range(len(depths))
        )
        self.merges = nn.ModuleList(PatchMerging(one) for one in widths[:-1])
        self.norm = nn.LayerNorm(widths[-1])

    def forward(self, maps: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, h, w, C) -> the normed last map (B, h', w', C'), and the map before each stage."""
        skips = []
        for stage, merge in zip(self.stages, [*self.merges, nn.Identity()], strict=True):
            skips.append(maps)
            maps = merge(stage(maps))
        return self.norm(maps), skips


class Decoder(nn.Module):
    """The mirror image: expand, join the encoder's map of that side, Swin blocks.

    Its blocks have the rates of stochastic depth of the encoder's stage of the same side.
    """

    def __init__(
        self, side: int, width: int, window: int, depths: list[int], heads: list[int], rates: list[float]
    ) -> None:
        super().__init__()
        order = range(len(depths) - 2, -1, -1)
        widths = [width * 2**stage for stage in order]
        self.grow = nn.ModuleList(PatchExpand(2 * one, one, 2) for one in widths)
        self.join = nn.ModuleList(nn.Linear(2 * one, one) for one in widths)
        self.stages = nn.ModuleList(
            Stage(one, side // 2**stage, heads[stage], window, _of_stage(rates, depths, stage))
            for one, stage in zip(widths, order, strict=True)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor, skips: list[Tensor]) -> Tensor:
        """(B, h', w', C'), maps before the encoder's stages -> (B, h, w, C)."""
        for grow, join, stage, skip in zip(self.grow, self.join, self.stages, skips[-2::-1], strict=True):
            maps = stage(join(torch.cat([grow(maps), skip], dim=-1)))
        return self.norm(maps)


def _of_stage(rates: list[float], depths: list[int], stage: int) -> list[float]:
    first = sum(depths[:stage])
    return rates[first : first + depths[stage]]
