"""What the heads around SAM's mask decoder share: the way in, what learns, and starting from weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segshift.contracts import Backbone, Head, Map, check_keys
from segshift.errors import SegShiftError, unknown
from segshift.layers.naming import module_name
from segshift.layers.neck import build_neck
from segshift.layers.sam import Decoder, build_prompt_encoder, dense_positions, no_prompt
from segshift.layers.without_values import without_memory

PARTS = {"prompt_encoder": "prompt_encoder.", "neck": "image_encoder.neck.", "mask_decoder": "mask_decoder."}
MULTIMASKS = 3  # masks of a SAM file's decoder beside its first
FEWEST = 4  # positions of the last map
MOST = 1024  # of them for H-SAM's second stage


class SAMHead(Head):
    """Neck where the map is not as wide as the decoder, prompt encoder without prompts, mask decoder.

    Args:
        maps: the tapped maps, the last one of the backbone first.
        decoder: SAM's mask decoder or one built upon it.
        width: channels of the image embedding.

    Raises:
        SegShiftError: the first map is of a size that the head cannot take.
    """

    most: int | None = None  # positions of the first map that the head can take

    def __init__(self, maps: list[Map], decoder: Decoder, width: int) -> None:
        super().__init__()
        _check_count(module_name(self), maps[0].grid, "the map that it takes", self.most)
        self.neck = None if maps[0].channels == width else build_neck(maps[0].channels, width)
        self.prompt_encoder = build_prompt_encoder(width)
        self.mask_decoder = decoder

    def embed(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last map (B, C, h, w) -> image embedding (B, width, h, w), positions and dense prompt."""
        image = features if self.neck is None else self.neck(features)
        positions = dense_positions(self.prompt_encoder, tuple(image.shape[-2:]))
        return image, positions, no_prompt(self.prompt_encoder)

    def hold(self, *parts: nn.Module) -> None:
        """Take from what learns all parts named here, and of the prompt encoder all but "no prompt"."""
        self.prompt_encoder.requires_grad_(False)
        self.prompt_encoder.no_mask_embed.requires_grad_(True)
        for part in parts:
            part.requires_grad_(False)


def check_positions(head: str, backbone: Backbone, most: int | None = None) -> None:
    """Is a backbone's last map of a size that a head can take?

    Raises:
        SegShiftError: it has too few positions, among which attention could not choose, or more than
            ``most``.
    """
    whose = f"the last map of backbone {module_name(backbone)}"
    _check_count(head, backbone.maps[backbone.last].grid, whose, most, f" at {backbone.image_size} px")


def _check_count(head: str, grid: tuple[int, int], whose: str, most: int | None, at: str = "") -> None:
    count = grid[0] * grid[1]
    found = f"{whose} has {count}{at}"
    if count < FEWEST:
        raise SegShiftError(f"head {head} attends among at least {FEWEST} positions; {found}")
    if most is not None and count > most:
        raise SegShiftError(
            f"head {head} holds 8·P² parameters for P positions and takes at most {most} of them; {found}; "
            "use a smaller image_size, or head sam or hqsam"
        )


def load_parts(head: SAMHead, states: dict[str, dict[str, Tensor]]) -> None:
    """Start parts of a head from files in SAM's layout (SAM, MedSAM, LiteMedSAM); strict for each part.

    A head for C classes has C + 1 mask tokens where a file has four: the first is taken over, those of the
    classes repeat the file's other three in turn, with their hyper-networks.

    Args:
        head: a head around SAM's decoder.
        states: for ``prompt_encoder``, ``neck``, ``mask_decoder`` the content of a whole file. A head that
            takes the backbone's own neck has none to start.

    Raises:
        SegShiftError: an unknown part, or one that does not fit: lists all missing, unexpected and misshaped
            keys.
    """
    name = module_name(head)
    for part, state in states.items():
        if part not in PARTS:
            raise unknown(f"head {name}: init: unknown part", part, PARTS)
        target = getattr(head, part)
        if target is None:
            continue
        prefix = PARTS[part]
        found = {key.removeprefix(prefix): one for key, one in state.items() if key.startswith(prefix)}
        try:
            check_keys(_in_a_file(part, head), found)
        except ValueError as error:
            raise SegShiftError(f"head {name}: init: {part}: the weights do not fit; {error}") from None
        own = target.state_dict()
        with torch.no_grad():
            for key, one in _for_classes(found, head.mask_decoder.num_mask_tokens - 1, part):
                own[key].copy_(one)


def _in_a_file(part: str, head: SAMHead) -> dict[str, Tensor]:
    if part != "mask_decoder":
        return getattr(head, part).state_dict()
    with without_memory():
        return Decoder(MULTIMASKS, head.mask_decoder.transformer_dim).state_dict()


def _for_classes(found: dict[str, Tensor], classes: int, part: str) -> Iterable[tuple[str, Tensor]]:
    """A file's keys and tensors as a head for so many classes has them."""
    sources = [0, *(1 + index % MULTIMASKS for index in range(classes))]
    by_token = (
        "mask_tokens.weight",
        "iou_prediction_head.layers.2.weight",
        "iou_prediction_head.layers.2.bias",
    )
    networks = "output_hypernetworks_mlps."
    for key, one in found.items():
        if part == "mask_decoder" and key in by_token:
            yield key, one[sources]
        elif part == "mask_decoder" and key.startswith(networks):
            number, _, rest = key.removeprefix(networks).partition(".")
            for index, source in enumerate(sources):
                if source == int(number):
                    yield f"{networks}{index}.{rest}", one
        else:
            yield key, one
