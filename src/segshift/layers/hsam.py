"""H-SAM's transformers and its second decoding stage.

Source: Cheng et al., Unleashing the Potential of SAM for Medical Adaptation via Hierarchical Decoding, CVPR
2024, section 3. Stage 1 is SAM's decoder with another order of attentions; its masks are a prior for stage 2,
which decodes the same image embedding again and four times finer.

Two things differ from the authors' code. Mask-guided self-attention there takes its softmax over a single
channel, so that every position is weighed with 1 and none of its layers learns; here it is over positions.
And the prior there reaches the tokens at 196 and 1,024 positions only; here at any number. ``original: true``
brings both back.
"""

from typing import NamedTuple

import torch
from segment_anything.modeling import TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d, MLPBlock
from segment_anything.modeling.mask_decoder import MLP
from segment_anything.modeling.transformer import Attention, TwoWayAttentionBlock
from torch import Tensor, nn

from segshift.layers.images import resize
from segshift.layers.sam import ATTENTION_HEADS, WIDTH, mask_vectors, masks

ORIGINAL_PRIOR = (196, 1024)  # numbers of positions at which the authors' code lets the prior reach tokens
UNUSED_NORMS = (196, 9, 1024)  # layer norms that their attention holds and never calls


class FirstStage(NamedTuple):
    """What stage 2 takes over; T masks and tokens, P = h·w positions.

    ``masks`` (B, T, 4h, 4w); ``similarity`` (B, T, P) of tokens and positions; ``upscaled`` (B, width / 8,
    4h, 4w).
    """

    masks: Tensor
    similarity: Tensor
    upscaled: Tensor


class ImageFirstBlock(TwoWayAttentionBlock):
    """SAM's two-way block with tokens reading the image before they attend to each other."""

    def forward(
        self, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor, prior: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, width) and positions (B, P, width) -> both anew."""
        placed = keys + key_pe
        queries = self.norm2(queries + self._read_image(queries + query_pe, placed, keys, prior))
        if self.skip_first_layer_pe:
            queries = self.self_attn(q=queries, k=queries, v=queries)
        else:
            named = queries + query_pe
            queries = queries + self.self_attn(q=named, k=named, v=queries)
        queries = self.norm1(queries)
        queries = self.norm3(queries + self.mlp(queries))
        keys = self.norm4(keys + self._read_tokens(placed, queries + query_pe, queries, prior))
        return queries, keys

    def _read_image(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None) -> Tensor:
        return self.cross_attn_token_to_image(q=q, k=k, v=v)

    def _read_tokens(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None) -> Tensor:
        return self.cross_attn_image_to_token(q=q, k=k, v=v)


class PriorAttention(Attention):
    """Attention whose weights are multiplied by a prior after the softmax, and not normalized again."""

    def __init__(self, width: int) -> None:
        super().__init__(width, ATTENTION_HEADS)
        # Their parameters are part of the printed counts.
        self.unused_norms = nn.ModuleList(nn.LayerNorm(size) for size in UNUSED_NORMS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None = None) -> Tensor:
        """(B, n, width), (B, m, width), (B, m, width) and a prior (B, n, m) -> (B, n, width)."""
        q, k, v = (
            project(one).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, n or m, c)
            for project, one in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        attention = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
        if prior is not None:
            attention = attention * prior[:, None]
        return self.out_proj((attention @ v).transpose(1, 2).flatten(2))


class PriorBlock(ImageFirstBlock):
    """The block of stage 2: cross-attentions at full width, modulated by the prior, and dropout.

    Args:
        width: of tokens and positions.
        first: whether it is the first block, whose tokens are their own positions.
        into_tokens: whether the prior modulates what the tokens read, too.
        dropout: of what the tokens read from the image, in training.
    """

    def __init__(self, width: int, first: bool, into_tokens: bool, dropout: float) -> None:
        super().__init__(width, ATTENTION_HEADS, 8 * width, nn.ReLU, skip_first_layer_pe=first)
        self.cross_attn_token_to_image = PriorAttention(width)
        self.cross_attn_image_to_token = PriorAttention(width)
        self.into_tokens = into_tokens
        self.dropout = nn.Dropout(dropout)

    def _read_image(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None) -> Tensor:
        prior = prior if self.into_tokens else None
        return self.dropout(self.cross_attn_token_to_image(q, k, v, prior))

    def _read_tokens(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor | None) -> Tensor:
        return self.cross_attn_image_to_token(q, k, v, prior.transpose(1, 2))


class PriorTransformer(TwoWayTransformer):
    """SAM's two-way transformer made of ``PriorBlock``."""

    def __init__(self, width: int, into_tokens: bool, dropout: float) -> None:
        super().__init__(0, width, ATTENTION_HEADS, 8 * width)
        self.layers.extend(PriorBlock(width, index == 0, into_tokens, dropout) for index in range(2))

    def forward(
        self, image: Tensor, positions: Tensor, tokens: Tensor, prior: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, width, h, w) twice, (B, T, width), (B, T, h·w) -> tokens and positions (B, h·w, width)."""
        keys, key_pe = (one.flatten(2).transpose(1, 2) for one in (image, positions))
        queries = tokens
        for block in self.layers:
            queries, keys = block(queries, keys, tokens, key_pe, prior)
        read = self.final_attn_token_to_image(q=queries + tokens, k=keys + key_pe, v=keys)
        return self.norm_final_attn(queries + read), keys


class MaskGuide(nn.Module):
    """Mask-guided self-attention: the similarity maps of stage 1 become one weight a position.

    Args:
        tokens: number of maps.
        positions: P; the layers work along positions and hold 8·P² parameters.
        width: of the decoder; the hidden width of the two-layer network is 8 times that.
    """

    def __init__(self, tokens: int, positions: int, width: int) -> None:
        super().__init__()
        heads = next(count for count in range(ATTENTION_HEADS, 0, -1) if positions % count == 0)
        self.attention1 = Attention(positions, heads)
        self.norm1 = nn.LayerNorm(positions)
        self.attention2 = Attention(positions, heads)
        self.mlp = MLPBlock(positions, 8 * width)
        self.norm2 = nn.LayerNorm(positions)
        self.select = nn.Linear(tokens, 1)

    def forward(self, similarity: Tensor) -> Tensor:
        """(B, T, P) -> (B, 1, P), its sum over positions 1."""
        maps = self.norm1(self.attention1(q=similarity, k=similarity, v=similarity))
        maps = self.attention2(q=maps, k=maps, v=maps)
        maps = self.norm2(maps + self.mlp(maps))
        chosen = self.select(maps.transpose(1, 2)).relu()  # (B, P, 1)
        return chosen.softmax(dim=1).transpose(1, 2)


class SecondStage(nn.Module):
    """H-SAM's second mask decoder, 16 times the resolution of the image embedding.

    Args:
        tokens: number of masks, those of no class included.
        positions: h·w of the image embedding.
        width: channels of the image embedding.
        original: see the module's text.
        dropout: of what tokens read from the image, in training.
    """

    def __init__(
        self, tokens: int, positions: int, width: int = WIDTH, original: bool = False, dropout: float = 0.2
    ) -> None:
        super().__init__()
        into_tokens = not original or positions in ORIGINAL_PRIOR
        self.original = original
        self.transformer = PriorTransformer(width, into_tokens, dropout)
        self.mask_tokens = nn.Embedding(tokens, width)
        self.guide = MaskGuide(tokens, positions, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.skip = nn.Sequential(
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2),
            LayerNorm2d(width // 8),
            nn.GELU(),
            nn.ConvTranspose2d(width // 8, width // 16, kernel_size=2, stride=2),
            LayerNorm2d(width // 16),
            nn.GELU(),
        )
        self.networks = nn.ModuleList(MLP(width, width, width // 16, 5) for _ in range(tokens))
        self.iou_prediction_head = MLP(width, width, tokens, 3)

    def forward(self, image: Tensor, positions: Tensor, dense: Tensor, first: FirstStage) -> Tensor:
        """Image embedding (B, width, h, w), its positions, the dense prompt, stage 1 -> (B, T, 16h, 16w)."""
        prior = resize(first.masks, image.shape[-2:]).softmax(dim=1).flatten(2)  # (B, T, P)
        source = image + dense
        weight = 1 if self.original else self.guide(first.similarity).unflatten(2, image.shape[-2:])
        source = source + source * weight
        tokens = self.mask_tokens.weight.expand(len(image), -1, -1)
        tokens, keys = self.transformer(source, positions.expand_as(source), tokens, prior)
        upscaled = self.output_upscaling(keys.transpose(1, 2).unflatten(2, image.shape[-2:]))
        upscaled = self.skip(torch.cat([upscaled, first.upscaled], dim=1))
        return masks(mask_vectors(tokens, self.networks), upscaled)

    def without_influence(self) -> list[nn.Module]:
        """Parts that no mask depends on, whichever masks are used."""
        norms = [
            attention.unused_norms
            for block in self.transformer.layers
            for attention in (block.cross_attn_token_to_image, block.cross_attn_image_to_token)
        ]
        return [self.iou_prediction_head, *norms]


def build_image_first_transformer(width: int = WIDTH) -> TwoWayTransformer:
    """The transformer of stage 1; SAM's layers in H-SAM's order."""
    transformer = TwoWayTransformer(0, width, ATTENTION_HEADS, 8 * width)
    transformer.layers.extend(
        ImageFirstBlock(width, ATTENTION_HEADS, 8 * width, nn.ReLU, skip_first_layer_pe=index == 0)
        for index in range(2)
    )
    return transformer
