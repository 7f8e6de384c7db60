"""HQ-SAM's addition to the mask decoder: tokens and features for finer masks.

Source: Ke et al., Segment Anything in High Quality, NeurIPS 2023, section 3.2. The features fuse the early
map of the backbone, its last map behind the neck, and the decoder's own; the HQ token joins SAM's tokens.
"""

from typing import NamedTuple

from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.mask_decoder import MLP
from torch import Tensor, nn

from segshift.errors import unknown
from segshift.layers.images import resize
from segshift.layers.sam import WIDTH, Decoded, Decoder, mask_vectors, masks

HQ_TOKENS = ("one", "class")


class HQMasks(NamedTuple):
    """Masks of both kinds and what they were made from; C classes.

    ``sam`` (B, C + 1, 4h, 4w), the first of no class; ``hq`` (B, C, 4h, 4w), one a class; ``own`` (B, 1, 4h,
    4w), the mask of the HQ token itself, or None where each class has an HQ token; ``decoded`` of SAM's
    decoder, HQ tokens last; ``upscaled`` HQ features (B, width / 8, 4h, 4w).
    """

    sam: Tensor
    hq: Tensor
    own: Tensor | None
    decoded: Decoded
    upscaled: Tensor


class HQDecoder(Decoder):
    """SAM's mask decoder with HQ tokens.

    With ``hq_tokens: one`` a single HQ token acts through attention, and class c's HQ mask is the vector of
    its mask token on the HQ features, as in the thesis; the HQ token's own mask belongs to no class. With
    ``class`` every class has an HQ token whose vector makes its HQ mask.

    Args:
        classes: number of classes, background included.
        early_channels: channels of the early map.
        width: channels of the image embedding.
        hq_tokens: ``one`` or ``class``.

    Raises:
        SegShiftError: unknown ``hq_tokens``.
    """

    def __init__(self, classes: int, early_channels: int, width: int = WIDTH, hq_tokens: str = "one") -> None:
        if hq_tokens not in HQ_TOKENS:
            raise unknown("heads.yaml: unknown hq_tokens", hq_tokens, HQ_TOKENS)
        super().__init__(classes, width)
        self.by_class = hq_tokens == "class"
        count = classes if self.by_class else 1
        middle, narrow = width // 4, width // 8
        self.hq_token = nn.Embedding(count, width)
        self.hq_networks = nn.ModuleList(MLP(width, width, narrow, 3) for _ in range(count))
        self.from_early = _four_times_larger(early_channels, width, narrow)
        self.from_last = _four_times_larger(width, middle, narrow)
        self.refine = nn.Sequential(
            nn.Conv2d(narrow, middle, kernel_size=3, padding=1),
            LayerNorm2d(middle),
            nn.GELU(),
            nn.Conv2d(middle, narrow, kernel_size=3, padding=1),
        )

    def decode_hq(
        self,
        image: Tensor,
        early: Tensor,
        positions: Tensor,
        dense: Tensor,
        sparse: Tensor | None = None,
    ) -> HQMasks:
        """All masks; arguments as of ``decode``, with the early map (B, early_channels, any grid)."""
        decoded = self.decode(image, positions, dense, sparse, extra=self.hq_token.weight)
        finer = self.from_last(image)
        finer = finer + resize(self.from_early(early), finer.shape[-2:])
        upscaled = self.refine(decoded.upscaled) + finer
        count = self.num_mask_tokens
        vectors = mask_vectors(decoded.tokens[:, :count], self.output_hypernetworks_mlps)
        own = masks(mask_vectors(decoded.tokens[:, count:], self.hq_networks), upscaled)
        hq, own = (own, None) if self.by_class else (masks(vectors[:, 1:], upscaled), own)
        return HQMasks(masks(vectors, decoded.upscaled), hq, own, decoded, upscaled)


def _four_times_larger(channels: int, between: int, width: int) -> nn.Sequential:
    """(B, channels, h, w) -> (B, width, 4h, 4w)."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, between, kernel_size=2, stride=2),
        LayerNorm2d(between),
        nn.GELU(),
        nn.ConvTranspose2d(between, width, kernel_size=2, stride=2),
    )
