"""HQ-SAM: SAM's mask decoder with a token and features for finer masks.

Source: Ke et al., Segment Anything in High Quality, NeurIPS 2023, section 3; thesis, section 3.2. It takes
the last map and the early one. Class c's HQ mask is the vector of its mask token on the HQ features; the HQ
token acts through attention. Training uses the HQ masks, the prediction is SAM's masks + HQ masks. Frozen,
since it influences neither: the IoU head, the first token's hyper-network, the HQ token's own, and of the
prompt encoder all but the "no prompt" vector.

With ``hq_tokens: class`` each class has an HQ token that makes its HQ mask, as in the paper; the mask tokens
then make SAM's masks alone, so both kinds are trained, with half the loss each.

``original: true`` changes no mask; all parameters count as trainable, as in the thesis's code.
"""

from torch import Tensor

from segshift.contracts import Backbone, Map
from segshift.layers.sam import WIDTH
from segshift.layers.sam_head import SAMHead, check_positions, load_parts
from segshift.layers.sam_hq import HQDecoder

EXAMPLE = {"width": 32}
EXAMPLES = [EXAMPLE, {"width": 32, "hq_tokens": "class"}]


class HQSAM(SAMHead):
    """See the module's text and ``build``."""

    def __init__(self, maps: list[Map], classes: int, width: int, hq_tokens: str, original: bool) -> None:
        decoder = HQDecoder(classes, maps[1].channels, width, hq_tokens)
        super().__init__(maps, decoder, width)
        self.loss_weights = (0.5, 0.5) if decoder.by_class else (0.0, 1.0)
        if not original:
            self.hold(decoder.iou_prediction_head, decoder.output_hypernetworks_mlps[0])
            decoder.hq_networks.requires_grad_(decoder.by_class)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Last map and early map -> SAM's masks and HQ masks, both (B, classes, 4h, 4w)."""
        image, positions, dense = self.embed(maps[0])
        decoded = self.mask_decoder.decode_hq(image, maps[1], positions, dense)
        return [decoded.sam[:, 1:], decoded.hq]

    def predict(self, outputs: list[Tensor]) -> Tensor:
        """The sum of both kinds."""
        return outputs[0] + outputs[1]


def taps(backbone: Backbone) -> list[int]:
    """The last map and the early one.

    Raises:
        SegShiftError: the last has too few positions.
    """
    check_positions("hqsam", backbone)
    return [backbone.last, backbone.early]


def build(
    maps: list[Map],
    classes: int,
    *,
    width: int = WIDTH,
    hq_tokens: str = "one",
    original: bool = False,
) -> HQSAM:
    """Build the head; with an early map of D channels 3,477,280 + 140,064·classes + 1,024·D + 33,568
    trainable parameters, and those of the neck.

    Args:
        maps: the tapped maps.
        classes: number of classes, background included.
        width: of the decoder; SAM's is 256. A last map of that width needs no neck.
        hq_tokens: ``one`` or ``class``.
        original: see the module's text; 3,894,701 + 140,321·classes + 1,024·D + 33,568.

    Raises:
        SegShiftError: unknown ``hq_tokens``.
    """
    return HQSAM(maps, classes, width, hq_tokens, original)


def load(head: HQSAM, states: dict[str, dict[str, Tensor]]) -> None:
    """Start ``prompt_encoder``, ``neck`` or ``mask_decoder`` from weights, see ``load_parts``."""
    load_parts(head, states)
