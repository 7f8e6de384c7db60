"""ResNet (He et al., Deep Residual Learning, CVPR 2016) by timm, as the thesis uses it or as a pyramid.

``outputs: thesis``: the last ten residual blocks (all where there are fewer), brought to the last one's
channels and grid; a block of an earlier stage passes a 1 × 1 convolution, batch norm and averaging over
areas. These convolutions are random and count as head: they learn under every tuning and in every adaptation.
``outputs: pyramid``: the stem (stride 2) and each of the stages (strides 4, 8, 16, 32), as they come.
``skip_last`` leaves the last stage out of either.

``original: true`` (of ``outputs: thesis``) as in the thesis's code: where the backbone is frozen, no gradient
passes the output convolutions, so that they are counted as trainable and never move; their batch norms follow
the data all the same.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.models.resnet import ResNet as Network
from torch import Tensor, nn

from segshift.contracts import Backbone, Map
from segshift.errors import SegShiftError, unknown
from segshift.layers.grids import resize_by_area
from segshift.layers.images import Prepare
from segshift.layers.loading import load_strict
from segshift.layers.timm_options import creator
from segshift.layers.timm_weights import to_layout
from segshift.layers.without_values import without_memory

OUTPUTS = ("thesis", "pyramid")
MODELS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
COUNT = 10  # maps of the thesis
STAGES = 4
# In such entries (None: not written) a head on several maps needs convolutions at the exits: it takes four or
# more, and all but six of timm's ResNets, of 200 layers and more, end in a stage of at most three blocks.
LEARNS = {"outputs": (None, "thesis"), "skip_last": (None, False), "options": (None,)}
EXAMPLE = {"image_size": 64, "model": "resnet10t", "options": {"channels": [8, 8, 16, 16]}}


class ResNet(Backbone):
    """Shared part: stem and residual blocks.

    Args:
        create: makes the network of timm.
        prepare: its entrance.
        skip_last: leave out the last stage.
    """

    def __init__(self, create: "partial[nn.Module]", prepare: Prepare, skip_last: bool) -> None:
        super().__init__()
        self.create = create
        self.image_size = prepare.grid[0]
        self.prepare = prepare
        self.net = create()
        self.stages = STAGES - skip_last
        _drop_stages(self.net, self.stages)
        self.steps = self._measure()

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The residual blocks."""
        return [block for index in range(STAGES) for block in getattr(self.net, f"layer{index + 1}")]

    def _measure(self) -> list[Map]:
        """The stem's map and each block's."""
        # Rounding at odd sizes is the network's business, so a copy without memory is asked.
        with without_memory():
            net = self.create().eval()
            _drop_stages(net, self.stages)
            shapes = [
                one.shape for one in self._run(net, torch.empty(1, 3, self.image_size, self.image_size))
            ]
        depths = [len(getattr(net, f"layer{index + 1}")) for index in range(self.stages)]
        strides = [2, *(4 * 2**stage for stage, depth in enumerate(depths) for _ in range(depth))]
        return [
            Map(shape[1], stride, tuple(shape[-2:])) for shape, stride in zip(shapes, strides, strict=True)
        ]

    @staticmethod
    def _run(net: nn.Module, images: Tensor) -> list[Tensor]:
        """The stem's map (before pooling) and each block's."""
        maps = [net.act1(net.bn1(net.conv1(images)))]
        features = net.maxpool(maps[0])
        for index in range(STAGES):
            for block in getattr(net, f"layer{index + 1}"):
                features = block(features)
                maps.append(features)
        return maps

    def _keep(self, last: int) -> None:
        """Drop the blocks behind step ``last`` (0 is the stem)."""
        left = last
        for index in range(STAGES):
            name = f"layer{index + 1}"
            blocks = getattr(self.net, name)[:left]
            setattr(self.net, name, blocks)
            left -= len(blocks)

    def load(self, state: dict[str, Any]) -> None:
        """Load weights, see ``load`` of this module."""
        with without_memory():
            whole, needed = self.create(), self.create()
        _drop_stages(needed, self.stages)
        found = to_layout(state, whole, keep=set(needed.state_dict()))
        load_strict(
            self.net, needed.state_dict(), found, f"resnet ({self.net.pretrained_cfg['architecture']})"
        )


class Pyramid(ResNet):
    """The stem's map and the last one of each stage; ``early`` is the first stage's."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        last_of = {one.stride: step for step, one in enumerate(self.steps)}
        self.index = list(last_of.values())  # step of each map
        self.maps = [self.steps[step] for step in self.index]
        self.early, self.last = 1, len(self.maps) - 1

    def use(self, taps: Sequence[int]) -> None:
        """Drop the blocks behind the last tap."""
        self._keep(self.index[max(taps)])

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h_i, w_i) per tap."""
        maps = self._run(self.net, self.prepare(images))
        return [maps[self.index[tap]] for tap in taps]


class Uniform(ResNet):
    """The last ten blocks' maps in the last one's channels and grid.

    Blocks before the last tap's stay even if their map is not asked for; convolutions of maps that are not
    asked for are dropped by ``use``.
    """

    def __init__(self, *arguments: Any, original: bool = False) -> None:
        super().__init__(*arguments)
        self.original = original
        deepest = self.steps[-1]
        first = max(1, len(self.steps) - COUNT)
        self.index = list(range(first, len(self.steps)))
        self.maps = [deepest] * len(self.index)
        self.early, self.last = 0, len(self.maps) - 1
        self.exits = nn.ModuleDict(
            {
                str(place): _exit(self.steps[step].channels, deepest.channels)
                for place, step in enumerate(self.index)
                if self.steps[step] != deepest
            }
        )
        self.exits.of_head = True

    def use(self, taps: Sequence[int]) -> None:
        """Drop the blocks behind the last tap, and what brings other maps to the common grid."""
        self._keep(self.index[max(taps)])
        for place in [place for place in self.exits if int(place) not in taps]:
            del self.exits[place]

    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C, h, w) per tap."""
        maps = self._run(self.net, self.prepare(images))
        frozen = not any(one.requires_grad for one in self.net.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (self.original and frozen)):
            return [self._leave(maps[self.index[tap]], tap) for tap in taps]

    def _leave(self, features: Tensor, tap: int) -> Tensor:
        if str(tap) not in self.exits:
            return features
        return resize_by_area(self.exits[str(tap)](features), self.maps[tap].grid)


def _exit(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, kernel_size=1), nn.BatchNorm2d(width))


def _drop_stages(net: nn.Module, count: int) -> None:
    """Drop the stages behind the first ``count``, and the classifier."""
    for index in range(count, STAGES):
        setattr(net, f"layer{index + 1}", nn.Sequential())
    net.global_pool, net.fc = nn.Identity(), nn.Identity()


def build(
    *,
    image_size: int,
    model: str = "resnet101",
    outputs: str = "thesis",
    skip_last: bool = False,
    normalize: str = "imagenet",
    resize: str = "bilinear",
    options: dict[str, Any] | None = None,
    original: bool = False,
) -> ResNet:
    """Build a ResNet with random weights; 42,500,160 parameters for ``resnet101``.

    With ``outputs: thesis`` and head U-Net small there are 14,723,072 more, which count as head.

    Args:
        image_size: side of its input in pixels.
        model: timm's name of a ResNet, such as ``resnet18`` to ``resnet152``.
        outputs: ``thesis`` (ten maps of one grid) or ``pyramid`` (stem and stages).
        skip_last: leave out the last stage.
        normalize: ``imagenet``, ``half``, ``clip``, ``unit`` or ``none``.
        resize: how images come to ``image_size``: ``bilinear``, or ``area`` as in the thesis's code.
        options: keywords of timm's own model, such as ``channels``.
        original: see the module's text.

    Raises:
        SegShiftError: an unknown name, value or option, or a model that is no ResNet of timm.
    """
    if outputs not in OUTPUTS:
        raise unknown("backbone resnet: unknown outputs", outputs, OUTPUTS)
    if not timm.is_model(model):
        raise unknown("backbone resnet: unknown model", model, MODELS)
    if original and outputs != "thesis":
        raise SegShiftError("backbone resnet: original is of outputs thesis alone")
    create, found = creator("resnet", model, options or {}, image_size)
    if not issubclass(found, Network):
        raise SegShiftError(f"backbone resnet: {model} is no ResNet; build it with module timm")
    prepare = Prepare(image_size, normalize, "resnet", resize)
    if outputs == "pyramid":
        return Pyramid(create, prepare, skip_last)
    return Uniform(create, prepare, skip_last, original=original)


def load(backbone: ResNet, state: dict[str, Any]) -> None:
    """Load torchvision's or timm's weights, strictly: every key of the network, none but a classifier's more.

    Raises:
        SegShiftError: listing every missing, unexpected and misshaped key.
    """
    backbone.load(state)
