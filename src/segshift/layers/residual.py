"""Residual and recurrent convolution blocks of the ResNet and U-Net heads (thesis, section 3.2).

After the recurrent residual blocks of R2U-Net (Alom et al., 2018) with two differences that the thesis's
counts fix: batch norm follows the ReLU, and the recurrent convolution sees the block's input once.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Plain(nn.Module):
    """3 × 3 convolution, ReLU, batch norm: (B, channels, h, w) -> (B, width, h, w)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, width, h, w)."""
        return self.norm(functional.relu(self.convolution(maps)))


class Recurrent(nn.Module):
    """Two steps of one shared 3 × 3 convolution; the second also hears a recurrent one of the block's input.

    Each step has a batch norm of its own. (B, width, h, w) -> the same shape.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.recurrent = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        heard = self.recurrent(maps)
        first = self.norms[0](functional.relu(self.convolution(maps)))
        return self.norms[1](functional.relu(self.convolution(first) + heard))


class Residual(nn.Module):
    """Two recurrent blocks with one residual around both: (B, width, h, w) -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Recurrent(width) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        return maps + self.blocks[1](self.blocks[0](maps))


class Merge(nn.Module):
    """A plain block to another width, then a recurrent one with a residual of its own.

    (B, channels, h, w) -> (B, width, h, w).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.plain = Plain(channels, width)
        self.recurrent = Recurrent(width)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, width, h, w)."""
        maps = self.plain(maps)
        return maps + self.recurrent(maps)


class Up(nn.Module):
    """Twice the side, half the channels: transposed convolution, then a residual block.

    (B, channels, h, w) -> (B, channels / 2, 2·h, 2·w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.grow = nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2)
        self.refine = Residual(channels // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, h, w) -> (B, channels / 2, 2·h, 2·w)."""
        return self.refine(self.grow(maps))


class UpMerge(nn.Module):
    """One level of the U-Net head: the main path grows, a skip joins it, both are merged.

    Args:
        channels: of the main path; it leaves with half of them.
        skip: channels of the skip path at its start, brought to the main path's width and size by doublings.
        doublings: how many of them; 0 where no skip comes in.
    """

    def __init__(self, channels: int, skip: int, doublings: int) -> None:
        super().__init__()
        half = channels // 2
        self.grow = nn.ConvTranspose2d(channels, half, kernel_size=2, stride=2)
        self.lift = nn.Sequential(*(Up(skip // 2**step) for step in range(doublings)))
        self.merge = Merge(2 * half, half) if doublings else Residual(half)

    def forward(self, maps: Tensor, skip: Tensor | None) -> Tensor:
        """(B, channels, h, w), (B, skip, h_0, w_0) or None -> (B, channels / 2, 2·h, 2·w)."""
        maps = self.grow(maps)
        return self.merge(maps if skip is None else torch.cat([self.lift(skip), maps], dim=1))
