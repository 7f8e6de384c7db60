"""LoRA's family through peft: counts, the same start, what learns, and layers out of an adapter's reach."""

import pytest
import torch
from torch.nn import functional

from segshift.backbones import lite_medsam, timm, unet
from segshift.contracts import load_trained_state, set_mode, trained_state
from segshift.errors import SegShiftError
from segshift.heads import linear_last
from segshift.layers.scope import learn
from segshift.model import Segmenter
from segshift.tunings import peft

METHODS = ("lora", "rslora", "dora", "loha", "lokr", "oft", "ia3")
VIT = timm.EXAMPLE


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def trainable(part):
    return {name: one for name, one in part.named_parameters() if one.requires_grad}


def count(part):
    return sum(one.numel() for one in trainable(part).values())


@pytest.mark.parametrize(("rank", "lora", "dora"), [(4, 221_184, 258_048), (16, 884_736, 921_600)])
def test_counts_at_base_size(rank, lora, dora):
    """12 blocks, query-key-value 768 -> 2304 and projection 768 -> 768; DoRA has one more an output."""
    assert lora == 12 * rank * (768 + 2304 + 768 + 768)
    assert dora == lora + 12 * (2304 + 768)
    for method, expected in (("lora", lora), ("dora", dora)):
        with torch.device("meta"):
            backbone = timm.build(image_size=224, model="vit_base_patch16_224")
            assert count(peft.build(backbone, method=method, rank=rank)) == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["vit", "lite_medsam"])
def test_it_starts_as_pretrained_and_every_adapter_acts(method, kind):
    plain = timm.build(**VIT) if kind == "vit" else lite_medsam.build(image_size=12)
    images = torch.rand(1, 3, 32, 32)
    before = plain.eval()(images, [plain.last])[0]
    backbone = peft.build(plain, method=method, rank=2)
    after = backbone(images, [backbone.last])[0]
    assert torch.allclose(before, after, atol=1e-6)
    with torch.no_grad():
        for one in trainable(backbone).values():
            one.add_(0.1 * torch.randn_like(one))
    outputs = backbone.double()(images.double(), [backbone.last])[0]
    assert not torch.allclose(outputs.float(), before, atol=1e-4)
    (outputs * torch.randn_like(outputs)).sum().backward()
    learning = trainable(backbone)
    assert learning
    assert [name for name, one in learning.items() if not one.grad.abs().max() > 0] == []
    assert not any("base_layer" in name for name in learning)


def test_lora_is_the_papers_formula():
    backbone = peft.build(timm.build(**VIT), rank=2, scale=3.0)
    layer = backbone.blocks[0].attn.qkv
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    tokens = torch.rand(1, 5, 24)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight = layer.base_layer.weight + 3.0 * up @ down
    expected = functional.linear(tokens, weight, layer.base_layer.bias)
    assert torch.allclose(layer(tokens), expected, atol=1e-5)


def test_the_backbone_stays_in_evaluation_mode_and_adapters_round_trip():
    entry = {**VIT, "options": {**VIT["options"], "proj_drop_rate": 0.5}}
    backbone = peft.build(timm.build(**entry), method="dora", rank=2)
    backbone.use([4])
    set_mode(backbone, True)
    images = torch.rand(1, 3, 32, 32)
    before = backbone(images, [4])[0]
    assert torch.equal(backbone(images, [4])[0], before)  # no dropout of the frozen part
    state = {name: one.clone() for name, one in trained_state(backbone).items()}
    assert set(state) == set(trainable(backbone))
    for one in trainable(backbone).values():
        torch.nn.init.normal_(one)
    assert not torch.equal(backbone(images, [4])[0], before)
    load_trained_state(backbone, state)
    assert torch.equal(backbone(images, [4])[0], before)


def test_adapters_behind_the_last_tap_are_dropped_and_adaptation_freezes_the_rest():
    backbone = peft.build(timm.build(**VIT), rank=2)
    whole = count(backbone)
    backbone.use([1])
    assert 0 < count(backbone) == whole * 2 // 5
    model = Segmenter(backbone, linear_last.build([backbone.maps[1]], 3), [1])
    learn(model)
    assert count(backbone) == 0
    assert count(model) == count(model.head) > 0


@pytest.mark.parametrize(
    ("targets", "layers"), [("attention", 10), ("all", 20), (["qkv"], 5), (["fc1", "fc2"], 10)]
)
def test_targets(targets, layers):
    backbone = peft.build(timm.build(**VIT), targets=targets, method="ia3")
    assert len(trainable(backbone)) == layers


def test_what_is_refused():
    with pytest.raises(SegShiftError, match=r"unknown method 'lorra'.* did you mean 'lora'"):
        peft.build(timm.build(**VIT), method="lorra")
    with pytest.raises(SegShiftError, match=r"unknown targets 'some'.* attention, all"):
        peft.build(timm.build(**VIT), targets="some")
    with pytest.raises(SegShiftError, match=r"targets \['q'\] in backbone timm; it has: fc1, fc2, proj, qkv"):
        peft.build(timm.build(**VIT), targets=["q"])
    with pytest.raises(
        SegShiftError, match="tuning peft finds no linear layer .* backbone unet; it has: none"
    ):
        peft.build(unet.build(**unet.EXAMPLE))
    with pytest.raises(SegShiftError, match="tuning peft takes no side network"):
        peft.build(timm.build(**VIT), side=timm.build(**VIT))
    with pytest.raises(
        SegShiftError, match=r"backbone timm computes net\.blocks\.0\.attn\.qkv without calling"
    ):
        peft.build(timm.build(**timm.EXAMPLES[2]))  # EVA adds its biases itself
