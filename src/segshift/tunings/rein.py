"""Rein: learned tokens that refine the frozen backbone's features after every block.

Source: Wei et al., Stronger, Fewer, & Superior: Harnessing Vision Foundation Models for Domain Generalized
Semantic Segmentation, CVPR 2024, section 3. With ``rank`` the tokens are products of two low-rank matrices
(the paper's Rein-LoRA). The reference implementation also holds ``transform`` and ``merge`` layers, which
make queries for a mask decoder that is not used here; they would influence nothing and are left out.

``original: true`` is what the thesis's code did: the refined features are thrown away, so that no parameter
of the tuning ever receives a gradient; ``transform`` and ``merge`` are there and counted; and the backbone's
final norm is left out.
"""

import math

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, freeze
from segshift.errors import SegShiftError
from segshift.layers.naming import module_name, refuse_side

QUERIES = 256  # of the reference implementation
EXAMPLE = {"length": 6}
EXAMPLES = [EXAMPLE, {"length": 6, "rank": 2}]


class Shared(nn.Module):
    """What the layers of all blocks share: 2·(D² + D) + 1 parameters.

    Args:
        width: D, width of the patch tokens.
        scale: start value of the factor with which a refinement is added.
        queries: width of the reference's queries for a mask decoder; None to leave their layers out.
    """

    def __init__(self, width: int, scale: float, queries: int | None = None) -> None:
        super().__init__()
        self.token_to_feature = nn.Linear(width, width)
        self.delta = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((), scale))
        if queries is not None:
            self.transform = nn.Linear(width, queries)
            self.merge = nn.Linear(3 * queries, queries)


class ReinLayer(nn.Module):
    """The refinement after one block: f + scale · delta(attention(f, T) · token_to_feature(T) + f).

    The first token takes part in the attention but adds nothing: a feature that attends to it is left alone.

    Args:
        shared: the layers common to all blocks.
        width: D, width of the patch tokens.
        patch: side of a patch in pixels, for the tokens' start range.
        length: number of tokens.
        rank: None for free tokens (length × D), else tokens A (length × rank) · B (rank × D).
    """

    learns = True  # it hangs in a frozen backbone

    def __init__(self, shared: Shared, width: int, patch: int, length: int, rank: int | None) -> None:
        super().__init__()
        self.shared = shared
        fan = width if rank is None else math.sqrt(width * rank)
        bound = math.sqrt(6 / (3 * patch**2 + fan))
        shapes = [(length, width)] if rank is None else [(length, rank), (rank, width)]
        self.factors = nn.ParameterList(
            nn.init.uniform_(torch.empty(shape), -bound, bound) for shape in shapes
        )

    def tokens(self) -> Tensor:
        """(length, D)."""
        return self.factors[0] if len(self.factors) == 1 else self.factors[0] @ self.factors[1]

    def forward(self, features: Tensor) -> Tensor:
        """Patch tokens (B, N, D) -> (B, N, D)."""
        tokens = self.tokens()
        attention = (features @ tokens.T / math.sqrt(features.shape[-1])).softmax(dim=-1)  # (B, N, length)
        update = attention[..., 1:] @ self.shared.token_to_feature(tokens[1:])
        return features + self.shared.scale * self.shared.delta(update + features)


class Discarded(ReinLayer):
    """The layer whose refinement nobody uses."""

    def forward(self, features: Tensor) -> Tensor:
        """Patch tokens (B, N, D) -> the same."""
        return features


def build(
    backbone: Backbone,
    *,
    side: Backbone | None = None,
    length: int = 100,
    rank: int | None = None,
    scale: float = 0.001,
    original: bool = False,
) -> Backbone:
    """Freeze the backbone and hang a layer after each of its L blocks.

    Trainable parameters: ``length``·L·D, or L·``rank``·(``length`` + D), plus 2·(D² + D) + 1; with
    ``original`` another 256·D + 256 + 196,864.

    Args:
        backbone: one whose blocks take hooks of one width D.
        side: must be None.
        length: number of tokens a block.
        rank: rank of the tokens (Rein-LoRA), None for free tokens.
        scale: start value of the learned factor of every refinement.
        original: throw the refinement away, as the thesis's code did; see this module's head.

    Raises:
        SegShiftError: the backbone takes no hooks, or its blocks differ in width, so no layer can be shared.
    """
    refuse_side("rein", side)
    widths = set(backbone.hooks or ())
    if len(widths) != 1:
        reason = f"its blocks have widths {sorted(widths)}" if widths else "it has none"
        raise SegShiftError(
            f"tuning rein needs transformer blocks of one width to hang its shared layers in; backbone "
            f"{module_name(backbone)} cannot take it: {reason}"
        )
    freeze(backbone)
    width = widths.pop()
    shared = Shared(width, scale, QUERIES if original else None)
    kind = Discarded if original else ReinLayer
    for index in range(len(backbone.hooks)):
        backbone.after[str(index)] = kind(shared, width, backbone.maps[index].stride, length, rank)
    if original and hasattr(backbone, "final_norm"):
        backbone.final_norm = "none"
    return backbone
