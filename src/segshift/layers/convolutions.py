"""Small convolution blocks that heads and backbones share."""

from torch import nn


def convolution_block(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution (same size, no bias), batch norm, ReLU; (B, channels, h, w) -> (B, width, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
