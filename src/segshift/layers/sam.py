"""SAM's prompt encoder and mask decoder, from the segment-anything package, for dense class masks.

Source: Kirillov et al., Segment Anything, ICCV 2023, section 3 and appendix A. Layers, key names and numbers
are the package's; what differs is how they are called: no prompt is given, each image of a batch meets the
same tokens, and what the transformer made of tokens and image is handed on to later stages.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from segshift.layers.images import resize

WIDTH = 256  # of SAM's decoder
ATTENTION_HEADS = 8
GRID = (14, 14)  # tokens for which the dense position encoding is made


class Decoded(NamedTuple):
    """What a mask decoder knows before it makes masks; B images, T tokens, P = h·w positions.

    ``tokens`` (B, T, width): the mask tokens and those given beside; ``image`` (B, P, width); ``upscaled``
    (B, width / 8, 4h, 4w).
    """

    tokens: Tensor
    image: Tensor
    upscaled: Tensor


class Decoder(MaskDecoder):
    """SAM's mask decoder with one mask token a class, and one before them.

    Args:
        classes: number of classes, background included.
        width: channels of the image embedding.
        transformer: SAM's two-way transformer, or one with its interface.
    """

    def __init__(self, classes: int, width: int = WIDTH, transformer: nn.Module | None = None) -> None:
        super().__init__(
            transformer_dim=width,
            transformer=build_transformer(width) if transformer is None else transformer,
            num_multimask_outputs=classes,
            iou_head_hidden_dim=width,
        )

    def decode(
        self,
        image: Tensor,
        positions: Tensor,
        dense: Tensor,
        sparse: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Decoded:
        """Let tokens and image attend to each other, and upscale the image.

        Args:
            image: image embedding (B, width, h, w).
            positions: its position encoding (1, width, h, w).
            dense: dense prompts (1, width, h, w), or anything that broadcasts to it.
            sparse: sparse prompts (1 or B, n, width).
            extra: tokens (n, width) behind the mask tokens.
        """
        own = [self.iou_token.weight, self.mask_tokens.weight]
        tokens = torch.cat(own if extra is None else [*own, extra]).expand(len(image), -1, -1)
        count = tokens.shape[1]
        if sparse is not None:
            tokens = torch.cat([tokens, sparse.expand(len(image), -1, -1)], dim=1)
        tokens, positionwise = self.transformer(image + dense, positions.expand_as(image), tokens)
        upscaled = self.output_upscaling(positionwise.transpose(1, 2).unflatten(2, image.shape[-2:]))
        return Decoded(tokens[:, 1:count], positionwise, upscaled)


def build_transformer(width: int = WIDTH) -> TwoWayTransformer:
    """SAM's two-way transformer: depth 2, 8 heads, hidden width 8 times ``width``."""
    return TwoWayTransformer(depth=2, embedding_dim=width, num_heads=ATTENTION_HEADS, mlp_dim=8 * width)


def build_prompt_encoder(width: int = WIDTH) -> PromptEncoder:
    """SAM's prompt encoder for 14 × 14 tokens of 224 px; 6,220 parameters at width 256."""
    return PromptEncoder(
        embed_dim=width,
        image_embedding_size=GRID,
        input_image_size=(224, 224),
        mask_in_chans=16,
    )


def dense_positions(encoder: PromptEncoder, grid: tuple[int, int], made_at: tuple[int, int] = GRID) -> Tensor:
    """The position encoding of an image embedding, from the encoder's random frequencies.

    Computed here and not by the package, which insists on float32: in the precision of the frequencies, and
    never in an autocast's, whose 8 bits could not tell neighbouring positions apart.

    Args:
        encoder: a prompt encoder.
        grid: height and width in tokens.
        made_at: the grid for which it is made before it is resized bilinearly to ``grid``.

    Returns:
        (1, width, *grid).
    """
    frequencies = encoder.pe_layer.positional_encoding_gaussian_matrix  # (2, width / 2)
    kind = "cpu" if frequencies.is_meta else frequencies.device.type  # autocast does not know the meta device
    with torch.autocast(kind, enabled=False):
        rows, columns = (
            (torch.arange(length, device=frequencies.device, dtype=frequencies.dtype) + 0.5) / length
            for length in made_at
        )
        centres = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # (h, w, 2), x first
        phases = 2 * torch.pi * ((2 * centres - 1) @ frequencies)
        encoding = torch.cat([phases.sin(), phases.cos()], dim=-1)
        return resize(encoding.permute(2, 0, 1)[None], grid)


def no_prompt(encoder: PromptEncoder) -> Tensor:
    """The dense prompt that says that there is none, (1, width, 1, 1)."""
    return encoder.no_mask_embed.weight[:, :, None, None]


def mask_vectors(tokens: Tensor, networks: Sequence[nn.Module]) -> Tensor:
    """Each token through its own hyper-network: (B, n, width) -> (B, n, c)."""
    return torch.stack([network(tokens[:, index]) for index, network in enumerate(networks)], dim=1)


def masks(vectors: Tensor, features: Tensor) -> Tensor:
    """Scalar products of vectors (B, n, c) with features (B, c, h, w): (B, n, h, w)."""
    return (vectors @ features.flatten(2)).unflatten(2, features.shape[-2:])
