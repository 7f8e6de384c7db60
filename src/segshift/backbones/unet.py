"""U-Net up to its last feature map (Ronneberger et al., 2015); head ``own`` is its last 1 × 1 convolution.

It differs from the paper as most code today does: padded convolutions, batch norm after each of them, three
input channels. Trained from scratch with tuning ``full``.
"""

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError
from segshift.layers.convolutions import convolution_block
from segshift.layers.images import Prepare

EXAMPLE = {"image_size": 16, "width": 4, "depth": 2}


class UNet(Backbone):
    """Encoder and decoder with skip connections.

    Args:
        image_size: side of its input in pixels, divisible by 2**depth.
        width: channels of the first stage, doubled at each of the ``depth`` down-samplings.
        depth: number of down-samplings.
        normalize, method: see ``segshift.layers.images.Prepare``.

    Raises:
        SegShiftError: ``image_size`` is not divisible by 2**depth.
    """

    def __init__(self, image_size: int, width: int, depth: int, normalize: str, method: str) -> None:
        super().__init__()
        if image_size % 2**depth:
            raise SegShiftError(
                f"backbone unet: image_size {image_size} is not divisible by {2**depth}, that is 2**depth"
            )
        self.image_size = image_size
        self.maps = [Map(width, 1, (image_size, image_size))]
        self.early = self.last = 0
        self.prepare = Prepare(image_size, normalize, "unet", method)
        widths = [width * 2**stage for stage in range(depth + 1)]
        self.down = nn.ModuleList(
            _stage(before, after) for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        deep_to_shallow = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(deep, shallow, 2, stride=2) for deep, shallow in deep_to_shallow
        )
        self.up = nn.ModuleList(_stage(2 * shallow, shallow) for _, shallow in deep_to_shallow)

    def forward(self, images: Tensor, taps: list[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, width, image_size, image_size) per tap."""
        features = self.down[0](self.prepare(images))
        skips = []
        for stage in self.down[1:]:
            skips.append(features)
            features = stage(self.pool(features))
        for grow, stage in zip(self.grow, self.up, strict=True):
            features = stage(torch.cat([skips.pop(), grow(features)], dim=1))
        return [features for _ in taps]


def _stage(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        convolution_block(channels, width, kernel=3), convolution_block(width, width, kernel=3)
    )


def build(
    *, image_size: int, width: int = 64, depth: int = 4, normalize: str = "none", resize: str = "bilinear"
) -> UNet:
    """Build a U-Net with random weights.

    Args:
        image_size: side of its input in pixels, divisible by 2**depth.
        width: channels of the first stage.
        depth: number of down-samplings.
        normalize: ``none`` (images stay in [0, 1]), ``unit`` or ``imagenet``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area`` as in the thesis's code.

    Raises:
        SegShiftError: ``image_size`` is not divisible by 2**depth, or an unknown ``normalize`` or ``resize``.
    """
    return UNet(image_size, width, depth, normalize, resize)
