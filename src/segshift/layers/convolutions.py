"""Small convolution blocks that heads and backbones share."""

from torch import nn


def convolution_block(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution (same size, no bias), batch norm, ReLU; (B, channels, h, w) -> (B, width, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


def kaiming(*parts: nn.Module) -> None:
    """Start all convolutions in these parts as in He et al. (2015): normal, by fan-out, for ReLU."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
