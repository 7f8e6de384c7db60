"""What happens to an image at the entrance of every backbone: resizing and normalization."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segshift.errors import unknown

NORMALIZATIONS = ("imagenet", "unit", "none")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def resize(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bilinear, unaligned corners: (B, C, h, w) -> (B, C, *grid); a map of that size stays as it is."""
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    return functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)


class Prepare(nn.Module):
    """Resize to the backbone's square input and normalize as in its pretraining.

    Args:
        image_size: side of the backbone's input in pixels.
        normalize: ``imagenet`` (mean and deviation of ImageNet), ``unit`` (each slice's own extremes to
            0 and 1; a constant slice gives 0) or ``none``.
        backbone: name of the backbone module, for the error.

    Raises:
        SegShiftError: unknown normalization.
    """

    def __init__(self, image_size: int, normalize: str, backbone: str) -> None:
        super().__init__()
        if normalize not in NORMALIZATIONS:
            raise unknown(f"backbone {backbone}: unknown normalize", normalize, NORMALIZATIONS)
        self.grid = (image_size, image_size)
        self.normalize = normalize
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, image_size, image_size)."""
        images = resize(images, self.grid)
        if self.normalize == "imagenet":
            return (images - self.mean) / self.deviation
        if self.normalize == "unit":
            return _to_unit_range(images)
        return images


def _to_unit_range(images: Tensor) -> Tensor:
    lowest = images.amin(dim=(1, 2, 3), keepdim=True)
    extent = images.amax(dim=(1, 2, 3), keepdim=True) - lowest
    return (images - lowest) / torch.where(extent > 0, extent, torch.ones_like(extent))
