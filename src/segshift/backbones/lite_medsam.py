"""LiteMedSAM's image encoder: a TinyViT without patch stride, and SAM's neck.

Source: LiteMedSAM (Ma et al., Segment Anything in Medical Images, Nature Communications 2024, and the CVPR
2024 challenge "MedSAM on Laptop"); TinyViT: Wu et al., ECCV 2022. Five maps: the four stages, each before it
is down-sampled (64 channels at stride 1, 128 at 2, 160 at 4, 320 at 4), and the neck's (256 at 4).

The original is fixed to 256 px; here any size works. 56 and 112 px fit the windows (7, 14 and 7 tokens)
without padding. The stages differ in width, so tunings that share layers between blocks cannot hook in.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError
from segshift.layers.images import Prepare
from segshift.layers.loading import load_strict
from segshift.layers.neck import build_neck
from segshift.layers.tiny_vit import Downsample, InvertedBottleneck, PatchEmbedding, Stage, WindowBlock
from segshift.layers.without_values import without_memory

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)  # of the down-sampling behind the first three stages
NECK = 4  # index of the neck's map
EXAMPLE = {"image_size": 12, "widths": [4, 8, 10, 20], "depths": [1, 1, 2, 1]}


class Encoder(nn.Module):
    """The layers, under the key names of LiteMedSAM's file (there with the prefix ``image_encoder.``)."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(widths[0])
        self.layers = nn.ModuleList(_stage(index, widths, depths[index]) for index in range(len(widths)))
        self.neck = build_neck(widths[-1])
        for part in self.layers.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)


class LiteMedSAM(Backbone):
    """LiteMedSAM's encoder as a backbone, random until ``load``.

    Args:
        image_size: side of its input in pixels.
        normalize, method: see ``segshift.layers.images.Prepare``.
        widths, depths: channels and blocks of each stage.
    """

    neck = NECK

    def __init__(
        self, image_size: int, normalize: str, method: str, widths: Sequence[int], depths: Sequence[int]
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.prepare = Prepare(image_size, normalize, "lite_medsam", method)
        self.create = partial(Encoder, widths, depths)
        self.net = self.create()
        self.maps = _maps(image_size, widths)
        self.early, self.last = 0, len(WIDTHS) - 1

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return [block for stage in self.net.layers for block in stage.blocks]

    def use(self, taps: Sequence[int]) -> None:
        """Drop the neck if no tap needs it, and all stages behind the last tap."""
        if NECK in taps:
            return
        self.net.neck = None
        self.net.layers = self.net.layers[: max(taps) + 1]
        self.net.layers[-1].downsample = None

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h_i, w_i) per tap."""
        features = self.net.patch_embed(self.prepare(images))
        maps = {}
        for index, stage in enumerate(self.net.layers[: max(taps) + 1]):
            for block in stage.blocks:
                features = block(features)
            maps[index] = features
            if index < min(max(taps), len(STRIDES)):
                features = stage.downsample(features)
        if NECK in taps:
            maps[NECK] = self.net.neck(features)
        return [maps[tap] for tap in taps]


def _stage(index: int, widths: Sequence[int], depth: int) -> Stage:
    width = widths[index]
    blocks = [
        InvertedBottleneck(width) if index == 0 else WindowBlock(width, HEADS[index], WINDOWS[index])
        for _ in range(depth)
    ]
    return Stage(
        blocks, Downsample(width, widths[index + 1], STRIDES[index]) if index < len(STRIDES) else None
    )


def _maps(image_size: int, widths: Sequence[int]) -> list[Map]:
    maps, side, stride = [], image_size, 1
    for width, step in zip(widths, (*STRIDES, 1), strict=True):
        maps.append(Map(width, stride, (side, side)))
        side, stride = -(-side // step), stride * step
    return [*maps, Map(256, maps[-1].stride, maps[-1].grid)]


def build(
    *,
    image_size: int,
    normalize: str = "unit",
    resize: str = "bilinear",
    widths: Sequence[int] = WIDTHS,
    depths: Sequence[int] = DEPTHS,
) -> LiteMedSAM:
    """Build the encoder with random weights.

    Args:
        image_size: side of its input in pixels.
        normalize: ``unit`` (each slice to [0, 1], as it was pretrained), ``imagenet`` or ``none``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area``.
        widths, depths: channels and blocks of each stage, where not those of LiteMedSAM's weights.

    Raises:
        SegShiftError: unknown ``normalize`` or ``resize``, or stages that cannot be.
    """
    wrong = [width for width, heads in zip(widths, HEADS, strict=False) if width < 1 or width % heads]
    if len(widths) != len(HEADS) or len(depths) != len(HEADS) or wrong or min(depths) < 1:
        raise SegShiftError(
            f"backbone lite_medsam: widths {list(widths)}, depths {list(depths)}: it has {len(HEADS)} stages "
            f"of at least one block, whose widths {', '.join(map(str, HEADS))} attention heads divide"
        )
    return LiteMedSAM(image_size, normalize, resize, widths, depths)


def load(backbone: LiteMedSAM, state: dict[str, Tensor]) -> None:
    """Load the encoder's part of LiteMedSAM's file (keys ``image_encoder.*``), strictly.

    Args:
        backbone: what ``build`` gave; parts that ``use`` has dropped are compared too.
        state: the whole file; its prompt encoder and mask decoder are left aside.

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    prefix = "image_encoder."
    found = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if not name.startswith(("prompt_encoder.", "mask_decoder."))
    }
    with without_memory():
        whole = backbone.create()
    load_strict(backbone.net, whole.state_dict(), found, "lite_medsam")
