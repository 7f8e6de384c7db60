"""What happens to an image at the entrance of every backbone: resizing and normalization."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segshift.errors import unknown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
#: Mean and deviation of red, green and blue; ``clip`` after Radford et al. (2021).
MOMENTS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_DEVIATION),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
NORMALIZATIONS = (*MOMENTS, "unit", "none")
METHODS = ("bilinear", "area")
COLOURS = ("rgb", "bgr")


def resize(maps: Tensor, grid: tuple[int, int], method: str = "bilinear") -> Tensor:
    """(B, C, h, w) -> (B, C, *grid); a map of that size stays as it is.

    ``bilinear`` with unaligned corners; ``area``, as in the thesis's code, averages over areas unless both
    sides grow.
    """
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    if method == "area" and not (grid[0] > maps.shape[-2] and grid[1] > maps.shape[-1]):
        return functional.interpolate(maps, size=grid, mode="area")
    return functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)


class Prepare(nn.Module):
    """Resize to the backbone's square input and normalize as in its pretraining.

    Args:
        image_size: side of the backbone's input in pixels.
        normalize: ``imagenet`` (mean and deviation of ImageNet), ``half`` (to -1 and 1), ``clip`` (mean and
            deviation of CLIP's images), ``unit`` (each slice's own extremes to 0 and 1; a constant slice
            gives 0) or ``none``.
        backbone: name of the backbone module, for the error.
        method: of resizing, ``bilinear`` or ``area``.
        colours: ``rgb``, or ``bgr``: red and blue change places once they are normalized.

    Raises:
        SegShiftError: unknown normalization, method or order of colours.
    """

    def __init__(
        self,
        image_size: int,
        normalize: str,
        backbone: str,
        method: str = "bilinear",
        colours: str = "rgb",
    ) -> None:
        super().__init__()
        if normalize not in NORMALIZATIONS:
            raise unknown(f"backbone {backbone}: unknown normalize", normalize, NORMALIZATIONS)
        if method not in METHODS:
            raise unknown(f"backbone {backbone}: unknown resize", method, METHODS)
        if colours not in COLOURS:
            raise unknown(f"backbone {backbone}: unknown colours", colours, COLOURS)
        self.method = method
        self.swap = colours == "bgr"
        self.grid = (image_size, image_size)
        self.normalize = normalize
        mean, deviation = MOMENTS.get(normalize, MOMENTS["imagenet"])
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, image_size, image_size)."""
        images = resize(images, self.grid, self.method)
        if self.normalize in MOMENTS:
            images = (images - self.mean) / self.deviation
        elif self.normalize == "unit":
            images = _to_unit_range(images)
        return images.flip(1) if self.swap else images


def _to_unit_range(images: Tensor) -> Tensor:
    lowest = images.amin(dim=(1, 2, 3), keepdim=True)
    extent = images.amax(dim=(1, 2, 3), keepdim=True) - lowest
    return (images - lowest) / torch.where(extent > 0, extent, torch.ones_like(extent))
