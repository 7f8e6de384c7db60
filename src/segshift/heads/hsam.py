"""H-SAM: a second, finer decoding stage that takes the masks of the first as a prior.

Source: Cheng et al., Unleashing the Potential of SAM for Medical Adaptation via Hierarchical Decoding, CVPR
2024, section 3; thesis, section 3.2. Both stages have C + 1 masks, of which the first belongs to no class.
Trained with 0.4 · stage 1 + 0.6 · stage 2; the prediction is the mean of both logits. The authors'
class-balanced noise is left out, as in the thesis.

``original: true`` as in the thesis's code: mask-guided self-attention is a constant (positions weigh 1), the
prior reaches the tokens at 196 and 1,024 positions only, the image embedding of stage 2 gets noise in
training, and all parameters count as trainable, those that never receive a gradient too.
"""

from torch import Tensor

from segshift.contracts import Backbone, Map
from segshift.layers.hsam import FirstStage, build_image_first_transformer
from segshift.layers.sam import WIDTH, Decoder, mask_vectors, masks
from segshift.layers.sam_head import MOST, check_positions, load_parts
from segshift.layers.two_stages import ORIGINAL_NOISE, TwoStages

EXAMPLE = {"width": 32}
ONE_MAP = True


class HSAM(TwoStages):
    """See the module's text and ``build``."""

    def __init__(self, maps: list[Map], classes: int, width: int, noise: float, original: bool) -> None:
        decoder = Decoder(classes, width, build_image_first_transformer(width))
        super().__init__(maps, decoder, classes + 1, width, noise, original)
        if not original:
            second = self.second_stage
            self.hold(decoder.iou_prediction_head, second.networks[0], *second.without_influence())

    def first(self, image: Tensor, positions: Tensor, dense: Tensor, maps: list[Tensor]) -> FirstStage:
        """SAM's decoder in H-SAM's order; all C + 1 masks are kept."""
        decoded = self.mask_decoder.decode(image, positions, dense)
        vectors = mask_vectors(decoded.tokens, self.mask_decoder.output_hypernetworks_mlps)
        similarity = decoded.tokens @ decoded.image.transpose(1, 2)
        return FirstStage(masks(vectors, decoded.upscaled), similarity, decoded.upscaled)


def taps(backbone: Backbone) -> list[int]:
    """The last map.

    Raises:
        SegShiftError: it has too few or too many positions.
    """
    check_positions("hsam", backbone, MOST)
    return [backbone.last]


def build(
    maps: list[Map],
    classes: int,
    *,
    width: int = WIDTH,
    noise: float | None = None,
    original: bool = False,
) -> HSAM:
    """Build the head for P tokens; 7,407,474 + 407,601·classes + 8·P² + 4,109·P + 2,048 trainable parameters
    and those of the neck.

    Args:
        maps: the tapped map.
        classes: number of classes, background included.
        width: of the decoders; SAM's is 256. A map of that width needs no neck.
        noise: see ``TwoStages``; default 0, with ``original`` 0.2.
        original: see the module's text; 7,954,232 + 408,115·classes + 8·P² + 4,109·P + 2,048.
    """
    noise = ORIGINAL_NOISE * original if noise is None else noise
    return HSAM(maps, classes, width, noise, original)


def load(head: HSAM, states: dict[str, dict[str, Tensor]]) -> None:
    """Start ``prompt_encoder``, ``neck`` or ``mask_decoder`` (stage 1) from weights, see ``load_parts``."""
    load_parts(head, states)
