"""HQ-H-SAM, the thesis's own head: HQ-SAM's decoder as stage 1 of H-SAM.

Source: thesis, section 3.2; Ke et al., Segment Anything in High Quality, NeurIPS 2023; Cheng et al.,
Unleashing the Potential of SAM for Medical Adaptation via Hierarchical Decoding, CVPR 2024. Stage 1 averages
SAM's masks and HQ masks of each class, and hands C + 2 of them to stage 2: the first token's, the classes',
and the HQ token's own. Losses and prediction are H-SAM's. With ``hq_tokens: class`` a class has an HQ token,
its similarity map is the mean of both its tokens', and C + 1 masks go to stage 2.

``original: true`` as in the thesis's code: mask-guided self-attention is a constant (positions weigh 1), the
prior reaches the tokens at 196 and 1,024 positions only, the image embedding of stage 2 gets noise in
training, and all parameters count as trainable, those that never receive a gradient too.
"""

import torch
from torch import Tensor

from segshift.contracts import Backbone, Map
from segshift.layers.hsam import FirstStage
from segshift.layers.sam import WIDTH
from segshift.layers.sam_head import MOST, check_positions, load_parts
from segshift.layers.sam_hq import HQDecoder
from segshift.layers.two_stages import ORIGINAL_NOISE, TwoStages

EXAMPLE = {"width": 32}
EXAMPLES = [EXAMPLE, {"width": 32, "hq_tokens": "class"}]


class HQHSAM(TwoStages):
    """See the module's text and ``build``."""

    def __init__(
        self, maps: list[Map], classes: int, width: int, hq_tokens: str, noise: float, original: bool
    ) -> None:
        decoder = HQDecoder(classes, maps[1].channels, width, hq_tokens)
        count = classes + 1 if decoder.by_class else classes + 2
        super().__init__(maps, decoder, count, width, noise, original)
        if not original:
            second = self.second_stage
            unused = second.networks[:1] if decoder.by_class else second.networks[:: classes + 1]
            self.hold(decoder.iou_prediction_head, unused, *second.without_influence())

    def first(self, image: Tensor, positions: Tensor, dense: Tensor, maps: list[Tensor]) -> FirstStage:
        """HQ-SAM's decoder; SAM's and HQ's masks and features averaged."""
        decoder = self.mask_decoder
        found = decoder.decode_hq(image, maps[1], positions, dense)
        tokens = found.decoded.tokens
        means = (found.sam[:, 1:] + found.hq) / 2
        joined = [found.sam[:, :1], means]
        if decoder.by_class:
            own, fine = tokens.split([decoder.num_mask_tokens, self.classes], dim=1)
            tokens = torch.cat([own[:, :1], (own[:, 1:] + fine) / 2], dim=1)
        else:
            joined.append(found.own)
        return FirstStage(
            masks=torch.cat(joined, dim=1),
            similarity=tokens @ found.decoded.image.transpose(1, 2),
            upscaled=(found.decoded.upscaled + found.upscaled) / 2,
        )


def taps(backbone: Backbone) -> list[int]:
    """The last map and the early one.

    Raises:
        SegShiftError: the last has too few or too many positions.
    """
    check_positions("hqhsam", backbone, MOST)
    return [backbone.last, backbone.early]


def build(
    maps: list[Map],
    classes: int,
    *,
    width: int = WIDTH,
    hq_tokens: str = "one",
    noise: float | None = None,
    original: bool = False,
) -> HQHSAM:
    """Build the head for P tokens; with an early map of D channels 7,658,835 + 407,601·classes + 1,024·D +
    33,568 + 8·P² + 4,109·P + 2,048 trainable parameters, and those of the neck.

    Args:
        maps: the tapped maps.
        classes: number of classes, background included.
        width: of the decoders; SAM's is 256. A last map of that width needs no neck.
        hq_tokens: ``one`` or ``class``.
        noise: of the image embedding in training, as a fraction of its range; default 0, with ``original``
            0.2.
        original: see the module's text; 8,473,130 + 408,115·classes + 1,024·D + 33,568 + 8·P² + 4,109·P +
            2,048.

    Raises:
        SegShiftError: unknown ``hq_tokens``.
    """
    noise = ORIGINAL_NOISE * original if noise is None else noise
    return HQHSAM(maps, classes, width, hq_tokens, noise, original)


def load(head: HQHSAM, states: dict[str, dict[str, Tensor]]) -> None:
    """Start ``prompt_encoder``, ``neck`` or ``mask_decoder`` (stage 1) from weights, see ``load_parts``."""
    load_parts(head, states)
