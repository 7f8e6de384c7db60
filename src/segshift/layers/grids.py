"""Bringing maps of different strides to one grid."""

from torch import Tensor
from torch.nn import functional

from segshift.contracts import Map

FINEST = 8  # stride in pixels from which a decoder of four doublings starts at the finest


def resize_by_area(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Means over areas, unless both sides grow; then bilinear, unaligned corners.

    (B, C, h, w) -> (B, C, *grid). A map of that size stays as it is. Bilinear shrinking looks at two pixels a
    side only, so a strong reduction would skip most of them.
    """
    if tuple(maps.shape[-2:]) == tuple(grid):
        return maps
    if grid[0] > maps.shape[-2] and grid[1] > maps.shape[-1]:
        return functional.interpolate(maps, size=grid, mode="bilinear", align_corners=False)
    return functional.adaptive_avg_pool2d(maps, grid)


def start_grid(deepest: Map) -> tuple[int, int]:
    """The grid from which a decoder starts that makes maps sixteen times larger.

    The deepest map's own grid, halved while its stride is below 8 pixels, so that logits never have more than
    twice the side of the backbone's input.
    """
    (height, width), stride = deepest.grid, deepest.stride
    while stride < FINEST:
        height, width, stride = -(-height // 2), -(-width // 2), 2 * stride
    return height, width
