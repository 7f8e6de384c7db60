"""SAM's mask decoder as a segmentation head: one mask token a class, no prompt (thesis: S-PE-MD, S-FPE-MD).

Source: Kirillov et al., Segment Anything, ICCV 2023, section 3; thesis, section 3.2. On SAM and MedSAM it
takes the backbone's own neck, elsewhere it has one. Class c is mask token c + 1; the first token makes no
mask. Without prompts only the "no prompt" vector of the prompt encoder acts; what cannot influence a mask
(the rest of the prompt encoder, the first token's hyper-network, the IoU head) is frozen.

``original: true`` changes no mask; as in the thesis's code the whole prompt encoder and the first token's
hyper-network count as trainable, though they never receive a gradient.
"""

from torch import Tensor

from segshift.contracts import Backbone, Map
from segshift.layers.sam import WIDTH, Decoder, mask_vectors, masks
from segshift.layers.sam_head import SAMHead, check_positions, load_parts

ONE_MAP = True
EXAMPLE = {"width": 32}
EXAMPLES = [EXAMPLE, {"width": 32, "train_prompt_encoder": False}]


class SAM(SAMHead):
    """See the module's text and ``build``."""

    def __init__(self, maps: list[Map], classes: int, width: int, trained: bool, original: bool) -> None:
        super().__init__(maps, Decoder(classes, width), width)
        if original:
            self.mask_decoder.iou_prediction_head.requires_grad_(False)
        else:
            self.hold(self.mask_decoder.iou_prediction_head, self.mask_decoder.output_hypernetworks_mlps[0])
        if not trained:
            self.prompt_encoder.requires_grad_(False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, C, h, w)] -> [(B, classes, 4h, 4w)]."""
        decoded = self.mask_decoder.decode(*self.embed(maps[0]))
        vectors = mask_vectors(decoded.tokens[:, 1:], self.mask_decoder.output_hypernetworks_mlps[1:])
        return [masks(vectors, decoded.upscaled)]


def taps(backbone: Backbone) -> list[int]:
    """The map behind the backbone's own neck, or its last.

    Raises:
        SegShiftError: it has too few positions.
    """
    check_positions("sam", backbone)
    return [backbone.last if backbone.neck is None else backbone.neck]


def build(
    maps: list[Map],
    classes: int,
    *,
    width: int = WIDTH,
    train_prompt_encoder: bool = True,
    original: bool = False,
) -> SAM:
    """Build the head; 3,365,984 + 140,064·classes trainable parameters, and 256·D + 590,848 in a neck.

    Args:
        maps: the tapped map, (D, h, w).
        classes: number of classes, background included.
        width: of the decoder; SAM's is 256. A map of that width needs no neck.
        train_prompt_encoder: whether the "no prompt" vector learns.
        original: see the module's text; 3,511,756 + 140,064·classes.
    """
    return SAM(maps, classes, width, train_prompt_encoder, original)


def load(head: SAM, states: dict[str, dict[str, Tensor]]) -> None:
    """Start ``prompt_encoder``, ``neck`` or ``mask_decoder`` from weights, see ``load_parts``."""
    load_parts(head, states)
