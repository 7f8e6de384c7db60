"""DINOv2's position table at another input size (Oquab et al., 2023; as its own code does, not as timm does).

The table keeps the size of the pretraining (37 × 37 at 518 px) and is resized bicubically in every forward
pass, so that in full tuning it is the table that learns. Models without registers resize by the factor
(n + 0.1) / 37 for n patches a side, without antialias; those with registers to n × n exactly, with antialias.
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

OFFSET = 0.1  # patches added to n where there are no registers


def embed(net: VisionTransformer, patches: Tensor) -> Tensor:
    """Add positions, put class and register tokens in front.

    Args:
        net: a timm network built with ``dynamic_img_size``, with DINOv2's weights or random ones.
        patches: output of its patch embedding (B, h, w, D).

    Returns:
        Tokens (B, prefix + h·w, D).
    """
    grid = tuple(patches.shape[1:3])
    # timm keeps the class token's own position inside the token where there are registers.
    apart = 0 if net.no_embed_class else net.num_prefix_tokens
    table = net.pos_embed
    patches = patches.flatten(1, 2) + _resize(table[:, apart:], grid, registers=net.reg_token is not None)
    prefix = torch.cat([token for token in (net.cls_token, net.reg_token) if token is not None], dim=1)
    prefix = prefix + table[:, :apart] if apart else prefix
    return torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)


def _resize(table: Tensor, grid: tuple[int, int], registers: bool) -> Tensor:
    """(1, n², D) -> (1, h·w, D)."""
    side = round(table.shape[1] ** 0.5)
    if grid == (side, side):
        return table
    square = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if registers:
        resized = functional.interpolate(square, size=grid, mode="bicubic", antialias=True)
    else:
        factors = tuple((length + OFFSET) / side for length in grid)
        resized = functional.interpolate(square, scale_factor=factors, mode="bicubic")
    return resized.flatten(2).transpose(1, 2)
