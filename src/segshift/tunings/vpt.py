"""Visual prompt tuning: learned tokens beside the frozen backbone's own (Jia et al., VPT, ECCV 2022).

The paper's deep variant (section 3.2): every block gets its own prompts, which see and are seen by all other
tokens inside it and are dropped behind it. It needs blocks that take a plain sequence of tokens, as those of
a plain vision transformer; blocks that work on maps or in windows (SAM, Swin, convolutions) are refused.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, freeze
from segshift.errors import SegShiftError
from segshift.layers.naming import module_name, refuse_side
from segshift.layers.probe import inputs_of

EXAMPLE = {"length": 3}


class Prompted(nn.Module):
    """A block with prompts of its own.

    Args:
        block: takes and gives tokens (B, N, D).
        length: number of prompts.
        width: D.
        patch: side of a patch in pixels, for the prompts' start range.
    """

    def __init__(self, block: nn.Module, length: int, width: int, patch: int) -> None:
        super().__init__()
        self.block = block
        bound = math.sqrt(6 / (3 * patch**2 + width))
        self.prompts = nn.Parameter(nn.init.uniform_(torch.empty(1, length, width), -bound, bound))
        # Rotary embeddings leave out so many tokens in front.
        attention = getattr(block, "attn", None)
        if hasattr(attention, "num_prefix_tokens"):
            attention.num_prefix_tokens += length

    def forward(self, tokens: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """(B, N, D) -> (B, N, D); all else goes to the block."""
        prompts = self.prompts.expand(len(tokens), -1, -1)
        mixed = self.block(torch.cat([prompts, tokens], dim=1), *arguments, **keywords)
        return mixed[:, prompts.shape[1] :]


def build(backbone: Backbone, *, side: Backbone | None = None, length: int = 50) -> Backbone:
    """Freeze the backbone and give each of its L blocks ``length`` prompts: ``length``·L·D parameters.

    Args:
        backbone: a plain vision transformer.
        side: must be None.
        length: number of prompts a block.

    Raises:
        SegShiftError: a side network was given, or the backbone has no blocks that take a sequence of tokens.
    """
    refuse_side("vpt", side)
    names = [str(index) for index in range(len(backbone.blocks))]
    shapes = inputs_of(backbone, dict(zip(names, backbone.blocks, strict=True))) if names else {}
    widths = [shapes[name][-1] for name in names if name in shapes and len(shapes[name]) == 3]
    if not names or len(widths) != len(names):
        raise SegShiftError(
            f"tuning vpt needs blocks that take a sequence of tokens to put prompts in; backbone "
            f"{module_name(backbone)} cannot take it: its blocks work on maps, or it has none"
        )
    freeze(backbone)
    for index, width in enumerate(widths):
        block = backbone.blocks[index]
        backbone.blocks[index] = Prompted(block, length, width, backbone.maps[index].stride)
    return backbone
