"""Newer encoders by their entries: timm builds them, their maps are as announced, and they take tunings."""

from pathlib import Path

import pytest
import torch

from segshift import config, plugins
from segshift.tunings import bitfit, peft, vpt

# Entry, kind of maps, parameters that its maps need.
ENTRIES = {
    "dinov3_b": ([(768, 16)] * 12, 85_641_216),
    "sam2_b": ([(112, 4), (224, 8), (448, 16), (896, 32)], 68_675_712),
    "c_radio_b": ([(768, 16)] * 12, 85_820_160),
    "perception_b": ([(768, 16)] * 12, 85_797_888),
    "siglip2_b": ([(768, 16)] * 12, 85_797_120),
}


@pytest.fixture(scope="module")
def entries():
    return config.read(Path(__file__).parents[2] / "config").backbones


def build(entry):
    parameters = {"image_size": entry.image_size, **entry.parameters()}
    return plugins.load("backbones", entry.module).build(**parameters)


@pytest.mark.parametrize("name", ENTRIES)
def test_maps_are_as_announced(entries, name):
    expected, parameters = ENTRIES[name]
    with torch.device("meta"):
        backbone = build(entries[name])
        maps = backbone(torch.empty(1, 3, 256, 256), list(range(len(backbone.maps))))
    assert [(one.channels, one.stride) for one in backbone.maps] == expected
    for one, found in zip(backbone.maps, maps, strict=True):
        assert tuple(found.shape) == (1, one.channels, *one.grid)
    assert sum(one.numel() for one in backbone.parameters()) == parameters


@pytest.mark.parametrize("name", ENTRIES)
def test_lora_and_bitfit_fit_all_and_prompts_the_plain_ones(entries, name):
    for tuning in (peft, bitfit, *([] if name == "sam2_b" else [vpt])):
        with torch.device("meta"):
            backbone = tuning.build(build(entries[name]))
        assert any(one.requires_grad for one in backbone.parameters())
