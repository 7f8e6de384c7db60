"""Linear, linear_last, own and pyramid: taps, counts, grids, and the thesis's linear head in numbers."""

import pytest
import torch

from segshift.backbones import lite_medsam, timm, unet
from segshift.contracts import Map
from segshift.errors import SegShiftError
from segshift.heads import linear, linear_last, own, pyramid

BASE = [Map(768, 16, (14, 14))] * 4


def count(part):
    return sum(one.numel() for one in part.parameters())


@pytest.fixture(scope="module")
def backbones():
    with torch.device("meta"):
        return {
            "vit": timm.build(**timm.EXAMPLE),
            "resnet": timm.build(**timm.EXAMPLES[1]),
            "lite_medsam": lite_medsam.build(image_size=56),
            "unet": unet.build(**unet.EXAMPLE),
        }


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (linear, {"vit": [4, 3, 2, 1], "resnet": [4, 3, 2, 1], "lite_medsam": [3, 2, 1, 0], "unet": [0]}),
        (linear_last, {"vit": [4], "resnet": [4], "lite_medsam": [4], "unet": [0]}),
        (
            pyramid,
            {"vit": [1, 2, 3, 4], "resnet": [0, 1, 2, 3, 4], "lite_medsam": [0, 1, 2, 3, 4], "unet": [0]},
        ),
    ],
)
def test_taps(backbones, head, expected):
    assert {name: head.taps(backbone) for name, backbone in backbones.items()} == expected


@pytest.mark.parametrize(("classes", "parameters"), [(15, 52_239), (6, 24_582), (3, 15_363)])
def test_linear_has_the_thesiss_counts(classes, parameters):
    assert count(linear.build(BASE, classes)) == parameters


# The thesis's linear head at width 768 with 15 classes, and the flat positions of the numbers.
INDEX = [0, 158, 395, 632, 869, 1106, 1343, 1580]
LOGITS = [
    -0.6493641588, -1.386324359, -0.9810046397, 1.040104276,
    -0.03091586687, 0.681609658, -1.164099628, 1.958926913,
]  # fmt: skip


@torch.no_grad()
def test_linear_gives_the_thesiss_numbers(reference):
    head = linear.build(BASE, 15).double().eval()
    state = head.state_dict()
    for name, one in state.items():
        original = name.replace("norm.", "batch_norm.").replace("classify.", "conv_seg.")
        if one.is_floating_point():
            one.copy_(reference.weight(original, tuple(one.shape)))
    maps = [reference.features(f"map{k}", (2, 768, 14, 14)) for k in range(4)]
    assert head(maps)[0].flatten()[INDEX].tolist() == pytest.approx(LOGITS, abs=1.4e-8)


@pytest.mark.parametrize(("head", "grid"), [(linear, (56, 56)), (linear_last, (14, 14)), (pyramid, (56, 56))])
def test_logits_come_at_the_finest_grid(backbones, head, grid):
    backbone = backbones["lite_medsam"]
    maps = [backbone.maps[tap] for tap in head.taps(backbone)]
    network = head.build(maps, 5)
    assert network([torch.rand(2, one.channels, *one.grid) for one in maps])[0].shape == (2, 5, *grid)


def test_pyramid_uses_every_map():
    maps = [Map(8, 1, (12, 12)), Map(16, 2, (6, 6)), Map(24, 4, (3, 3)), Map(32, 4, (3, 3))]
    network = pyramid.build(maps, 3, width=4).eval()
    inputs = [torch.rand(1, one.channels, *one.grid, requires_grad=True) for one in maps]
    network(inputs)[0].square().sum().backward()
    assert all(one.grad.abs().sum() > 0 for one in inputs)


def test_linear_drops_whole_channels_in_training_only():
    network = linear_last.build([Map(64, 1, (4, 4))], 3, dropout=0.5)
    features = torch.rand(2, 64, 4, 4)
    network.eval()
    assert torch.equal(network([features])[0], network([features])[0])
    dropped = network.dropout.train()(torch.ones(2, 64, 4, 4)).mean((2, 3))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}


def test_own_is_the_end_of_its_network(backbones):
    assert own.taps(backbones["unet"]) == [0]
    network = own.build(backbones["unet"].maps, 3)
    assert network.whole_network
    with pytest.raises(SegShiftError, match=r"head own .* backbone lite_medsam is an encoder with 5 maps"):
        own.taps(backbones["lite_medsam"])
    with pytest.raises(SegShiftError, match="head own takes one map, not 4"):
        own.build(BASE, 3)
