"""Ladder: the thesis's counts and numbers, which maps meet, what is frozen, and what is refused."""

import pytest
import torch
from torch import nn

from segshift.backbones import lite_medsam, resnet, timm, unet
from segshift.contracts import Map, set_mode, trained_state
from segshift.errors import SegShiftError
from segshift.tunings import ladder

VIT = timm.EXAMPLE
SIDE = {name: one for name, one in ladder.EXAMPLE["side"].items() if name != "module"}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def trainable(part):
    return sum(one.numel() for one in part.parameters() if one.requires_grad)


def dinov2_s():
    return timm.build(image_size=224, model="vit_small_patch14_dinov2", positions="dinov2")


class WithNeck(nn.Module):
    """The least of a SAM-like backbone: twelve equal maps, and a neck's of 256 channels."""

    def __init__(self):
        super().__init__()
        self.image_size, self.early, self.last, self.neck = 224, 2, 11, 12
        self.maps = [Map(768, 16, (14, 14))] * 12 + [Map(256, 16, (14, 14))]
        self.scale = nn.Parameter(torch.ones(()))
        self.used = None

    def use(self, taps):
        self.used = taps

    def forward(self, images, taps):
        return [
            self.scale * torch.full((len(images), self.maps[tap].channels, 14, 14), float(tap))
            for tap in taps
        ]


@pytest.mark.parametrize(
    ("big", "count"),
    [
        (WithNeck, 22_452_482),
        (lambda: timm.build(image_size=224, model="vit_base_patch16_224"), 22_650_626),
        (lambda: timm.build(image_size=224, model="vit_base_patch14_dinov2"), 22_650_626),
    ],
)
def test_the_thesiss_counts_with_dinov2_s(big, count):
    with torch.device("meta"):
        backbone = ladder.build(big(), side=dinov2_s())
        backbone.use([backbone.last, backbone.early])
    assert trainable(backbone) == count


@pytest.mark.parametrize(
    ("big", "count"),
    [(WithNeck, 8_221_762), (lambda: timm.build(image_size=224, model="vit_base_patch16_224"), 8_420_674)],
)
def test_the_thesiss_counts_with_resnet34(big, count):
    with torch.device("meta"):
        side = resnet.build(image_size=224, model="resnet34", outputs="pyramid", skip_last=True)
        backbone = ladder.build(big(), side=side)
        backbone.use([backbone.last, backbone.early])
    assert [side.maps[side.early][:2], side.maps[side.last][:2]] == [(64, 4), (256, 16)]
    assert trainable(backbone) == count


@pytest.mark.parametrize("name", ["10_ladder_mae_dinoS", "10_ladder_sam_dinoS"])
@torch.no_grad()
def test_the_originals_numbers(reference, name):
    file = reference.read(name)
    for index, channels in enumerate(file["constructor"]["big_channels"]):
        rung = ladder.Rung(Map(channels, 16, (14, 14)), Map(384, 14, (16, 16)), by_area=True).eval()
        names = {"gate": f"alpha.{index}"}
        shapes = dict(file["state_dict"])

        def rename(one, names=names, index=index):
            return names.get(one, one.replace("project.", f"necks_y2_ch.{index}."))

        for own, one in rung.state_dict().items():
            if one.is_floating_point():
                assert own == "gate" or shapes[rename(own)] == list(one.shape)
                one.copy_(reference.weight(rename(own), tuple(one.shape)))
        rung.gate.copy_(reference.weight(f"alpha.{index}", (1,))[0])
        rung.double()
        big = reference.features(f"y1_{index}", (2, channels, 14, 14))
        side = reference.features(f"y2_{index}", (2, 384, 16, 16))
        reference.check(rung.project(side), file["outputs"][f"projected{index}"])
        reference.check(rung(big, side), file["outputs"][f"out.{index}"])
        rung.resize = ladder.resize
        assert not torch.allclose(rung(big, side).flatten()[0], rung(big, side).flatten()[1])


def test_which_maps_meet():
    with torch.device("meta"):
        twelve = timm.build(
            image_size=32,
            model="vit_tiny_patch16_224",
            options={"depth": 12, "embed_dim": 12, "num_heads": 2},
        )
    backbone = ladder.build(WithNeck(), side=twelve)
    assert backbone.maps[-1].channels == 256
    assert len(backbone.maps) == 12
    assert (backbone.early, backbone.last, backbone.neck) == (2, 11, 11)
    assert [backbone.on_big(tap) for tap in (11, 10, 2)] == [12, 10, 2]
    assert [backbone.on_side(tap) for tap in (11, 10, 3, 2)] == [11, 10, 3, 0]
    backbone.use([11, 2])
    assert backbone.big.used == [2, 12]
    short = ladder.build(WithNeck(), side=timm.build(**SIDE))
    assert [short.on_side(tap) for tap in (11, 10, 9, 8, 2)] == [2, 1, 0, 0, 0]


@torch.no_grad()
def test_the_gate_opens_to_either_side():
    backbone = ladder.build(timm.build(**VIT), side=timm.build(**SIDE)).eval()
    backbone.use([4, 0])
    images = torch.rand(2, 3, 32, 32)
    big = backbone.big(images, [4, 0])
    half = backbone(images, [4, 0])
    for gate, part in ((100.0, 1.0), (-100.0, 0.0)):
        for rung in backbone.rungs.values():
            rung.gate.fill_(gate)
        for ours, theirs, middle in zip(backbone(images, [4, 0]), big, half, strict=True):
            expected = theirs if part else 2 * middle - theirs
            assert torch.allclose(ours, expected, atol=1e-5)


def test_the_big_branch_is_frozen_and_rungs_follow_the_seed():
    built = []
    for noise in (0, 3):
        torch.manual_seed(5)
        backbone = ladder.build(lite_medsam.build(image_size=12), side=timm.build(**SIDE))
        torch.rand(noise)
        backbone.use([3, 0])
        built.append(trained_state(backbone))
    assert all(torch.equal(one, built[1][name]) for name, one in built[0].items())
    set_mode(backbone, True)
    assert not any(part.training for part in backbone.big.modules())
    assert all(part.training for part in backbone.side.modules())
    assert not any(name.startswith("big.") for name in built[0])
    assert backbone.maps[3].channels == 256  # LiteMedSAM's neck


@pytest.mark.parametrize("original", [True, False])
def test_half_precision_and_a_growing_side(original):
    side = unet.build(**unet.EXAMPLE)
    backbone = ladder.build(timm.build(**VIT), side=side, original=original)
    backbone.use([4])
    with torch.autocast("cpu", torch.bfloat16):
        (features,) = backbone(torch.rand(1, 3, 20, 20), [4])
    assert features.shape == (1, 24, 2, 2)


def test_a_missing_side_is_refused():
    with pytest.raises(SegShiftError, match="tuning ladder needs a side network"):
        ladder.build(timm.build(**VIT))
