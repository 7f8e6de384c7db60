"""DINOv2's position table at another input size (Oquab et al., 2023; as its own code does, not as timm does).

The table keeps the size of the pretraining (37 × 37 at 518 px) and is resized bicubically in every forward
pass, so that in full tuning it is the table that learns. Models without registers resize by the factor
(n + 0.1) / 37 for n patches a side, without antialias; those with registers to n × n exactly, with antialias.
"""

from typing import NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional


class Interpolation(NamedTuple):
    """How the table is resized: ``offset`` in patches, 0 for exactly n × n; ``antialias`` as of PyTorch."""

    offset: float
    antialias: bool

    def but(self, offset: float | None, antialias: bool | None) -> "Interpolation":
        """The same with what is not None changed."""
        return Interpolation(
            self.offset if offset is None else offset, self.antialias if antialias is None else antialias
        )


def of_release(net: nn.Module) -> Interpolation:
    """What the released models were made with: those with registers, and those without."""
    registers = getattr(net, "reg_token", None) is not None
    return Interpolation(0.0, True) if registers else Interpolation(0.1, False)


def embed(net: VisionTransformer, patches: Tensor, interpolation: Interpolation) -> Tensor:
    """Add positions, put class and register tokens in front.

    Args:
        net: a timm network built with ``dynamic_img_size``, with DINOv2's weights or random ones.
        patches: output of its patch embedding (B, h, w, D).
        interpolation: of the table.

    Returns:
        Tokens (B, prefix + h·w, D).
    """
    grid = tuple(patches.shape[1:3])
    # timm keeps the class token's own position inside the token where there are registers.
    apart = 0 if net.no_embed_class else net.num_prefix_tokens
    table = net.pos_embed
    patches = patches.flatten(1, 2) + _resize(table[:, apart:], grid, interpolation)
    prefix = torch.cat([token for token in (net.cls_token, net.reg_token) if token is not None], dim=1)
    prefix = prefix + table[:, :apart] if apart else prefix
    return torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)


def _resize(table: Tensor, grid: tuple[int, int], interpolation: Interpolation) -> Tensor:
    """(1, n², D) -> (1, h·w, D)."""
    side = round(table.shape[1] ** 0.5)
    if grid == (side, side):
        return table
    square = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    offset, antialias = interpolation
    sizes = {"size": grid}
    if offset:
        sizes = {"scale_factor": tuple((length + offset) / side for length in grid)}
    resized = functional.interpolate(square, mode="bicubic", antialias=antialias, **sizes)
    return resized.flatten(2).transpose(1, 2)
