"""Weights in the layouts of their authors' files load completely, or say everything that does not fit.

Keys and shapes are those of the originals; values are zeros, so that what was not loaded shows.
"""

from functools import cache

import pytest
import torch
from segment_anything import sam_model_registry
from torchvision.models import resnet as torchvision_resnet

from segshift import plugins
from segshift.errors import SegShiftError

DINOV2 = {"module": "timm", "positions": "dinov2"}
# Backbone, where its keys are listed, and a key of it that its file has.
LAYOUTS = {
    "dinov2": ({**DINOV2, "model": "vit_small_patch14_dinov2"}, "01_dinov2_vits14", "blocks.3.ls1.gamma"),
    "dinov2_reg": (
        {**DINOV2, "model": "vit_base_patch14_reg4_dinov2"},
        "01_dinov2_vitb14_reg4_hubargs",
        "blocks.11.ls2.gamma",
    ),
    "mae": (
        {"module": "timm", "model": "vit_base_patch16_224.mae", "fixed_position": True},
        "03_mae_vitb16",
        "blocks.11.mlp.fc2.bias",
    ),
    "sam": ({"module": "sam"}, "sam", "image_encoder.blocks.5.attn.rel_pos_w"),
    "resnet": ({"module": "resnet", "model": "resnet18"}, "resnet", "layer3.1.bn2.running_var"),
}


@pytest.fixture(scope="module")
def layout(reference):
    """Zeros in an author's layout; a zero has no memory of its own."""

    @cache
    def make(source):
        with torch.device("meta"):
            if source == "sam":
                shapes = sam_model_registry["vit_b"]().state_dict()
            elif source == "resnet":
                shapes = torchvision_resnet.resnet18().state_dict()
            else:
                shapes = {name: torch.empty(shape) for name, shape in reference.read(source)["state_dict"]}
        return {name: torch.zeros(()).expand(one.shape) for name, one in shapes.items()}

    return make


@pytest.fixture(scope="module", params=LAYOUTS)
def case(request, layout):
    """(entry, backbone, content of its file, a key of it); one network at a time."""
    entry, source, key = LAYOUTS[request.param]
    with torch.device("meta"):  # drawing random values would take longer than all else
        backbone = plugins.build("backbones", {**entry, "image_size": 224})
    return entry, backbone.to_empty(device="cpu"), layout(source), key


def load(entry, backbone, state):
    wrapped = {"model": state} if entry.get("fixed_position") else state
    plugins.load("backbones", entry["module"]).load(backbone, wrapped)


@torch.no_grad()
def test_all_of_a_network_comes_from_the_file(case):
    entry, backbone, state, _ = case
    for one in backbone.net.state_dict().values():
        one.fill_(1)
    load(entry, backbone, state)
    assert [name for name, one in backbone.net.state_dict().items() if one.any()] == []


@pytest.mark.parametrize("fault", ["missing", "unexpected", "misshaped"])
def test_one_wrong_key_is_named_and_nothing_is_loaded(case, fault):
    entry, backbone, state, key = case
    state, ours = dict(state), key.removeprefix("image_encoder.")
    if fault == "missing":
        del state[key]
    elif fault == "unexpected":
        ours = "surplus.weight"
        state["image_encoder." * (entry["module"] == "sam") + ours] = torch.zeros(2)
    else:
        state[key] = torch.zeros(3, 5)
    with torch.no_grad():
        for one in backbone.net.parameters():
            one.view(-1)[0] = 7
    with pytest.raises(SegShiftError) as caught:
        load(entry, backbone, state)
    sentence = str(caught.value)
    assert f"backbone {entry['module']}" in sentence
    assert f"{fault}: {ours}" in sentence
    others = {"missing", "unexpected", "misshaped"} - {fault}
    assert not any(f"{other}:" in sentence for other in others)
    assert all(one.view(-1)[0] == 7 for one in backbone.net.parameters())


def test_what_timm_cannot_convert_is_said_too(layout):
    """Its conversion of DINOv2's files looks at the register tokens, and resizes the position table."""
    entry = {**LAYOUTS["dinov2_reg"][0], "image_size": 224, "options": {"depth": 1}}
    backbone = plugins.build("backbones", entry)
    whole = layout(LAYOUTS["dinov2_reg"][1])
    state = {name: one for name, one in whole.items() if not name.startswith("blocks.") or ".0." in name[:9]}
    with pytest.raises(SegShiftError, match="missing: reg_token"):
        load(entry, backbone, {name: one for name, one in state.items() if name != "register_tokens"})
    with pytest.raises(SegShiftError, match=r"misshaped: .*pos_embed \(1, 8, 768\)"):
        load(entry, backbone, {**state, "pos_embed": torch.zeros(1, 8, 768)})
