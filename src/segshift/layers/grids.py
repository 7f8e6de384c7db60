"""Bringing maps of different strides to one grid."""

from torch import Tensor
from torch.nn import functional

from segshift.contracts import Map

FINEST = 8  # stride in pixels


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


def attention_grid(maps: list[Map]) -> tuple[int, int]:
    """The grid on which all positions can still attend to each other: the finest of at least stride 8.

    DANet's own maps have stride 8. Where all maps are finer, it is the first one's, halved as in
    ``start_grid``.
    """
    coarse = [one.grid for one in maps if one.stride >= FINEST]
    return max(coarse, key=lambda grid: grid[0] * grid[1]) if coarse else start_grid(maps[0])
