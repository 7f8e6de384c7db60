"""Rein: the published formula to the reference implementation's numbers, counts, and what it refuses."""

import pytest
import torch

from segshift.backbones import lite_medsam, timm, unet
from segshift.errors import SegShiftError
from segshift.tunings import rein

# Outputs of layer 0 of w1oves/Rein, rein/models/backbones/reins.py (12 layers, width 768, patch 14,
# 100 tokens): classes Reins (rank None) and LoRAReins (rank 16), and the flat positions of the numbers.
INDEX = [0, 5311, 6063, 30124, 30876, 54937, 79750, 104563]
FREE = [
    0.2144849622, -0.07374877069, 0.1293019692, -0.9409261896,
    0.5421880641, 0.7999063557, 0.6995163748, 0.9376837231,
]  # fmt: skip
LOW_RANK = [
    0.2701365301, -0.09198638923, 0.1254931637, -0.9838940808,
    0.5665792371, 0.8185348453, 0.7304978537, 1.013120173,
]  # fmt: skip


@pytest.mark.parametrize(
    ("rank", "tokens", "expected"),
    [
        (None, {"learnable_tokens": (12, 100, 768)}, FREE),
        (16, {"learnable_tokens_a": (12, 100, 16), "learnable_tokens_b": (12, 16, 768)}, LOW_RANK),
    ],
)
@torch.no_grad()
def test_a_layer_gives_the_references_numbers(reference, rank, tokens, expected):
    shared = rein.Shared(768, scale=0.001).double()
    shared.scale.copy_(reference.weight("scale", ()))
    for ours, theirs in ((shared.token_to_feature, "mlp_token2feat"), (shared.delta, "mlp_delta_f")):
        ours.weight.copy_(reference.weight(f"{theirs}.weight", (768, 768)))
        ours.bias.copy_(reference.weight(f"{theirs}.bias", (768,)))
    layer = rein.ReinLayer(shared, 768, patch=14, length=100, rank=rank).double()
    for factor, (name, shape) in zip(layer.factors, tokens.items(), strict=True):
        factor.copy_(reference.weight(name, shape)[0])
    refined = layer(reference.features("tokens", (2, 257, 768)))
    assert refined.flatten()[INDEX].tolist() == pytest.approx(expected, abs=1.1e-8)


@pytest.mark.parametrize(
    ("rank", "count"),
    [(None, 2_496_513 - 393_728), (16, 1_741_569 - 393_728)],  # the thesis's, without `transform` and `merge`
)
def test_counts_at_base_size(rank, count):
    with torch.device("meta"):
        backbone = rein.build(timm.build(image_size=224, model="vit_base_patch16_224"), rank=rank)
    assert sum(one.numel() for one in backbone.parameters() if one.requires_grad) == count


def test_a_fresh_layer_starts_near_the_pretrained_features():
    torch.manual_seed(0)
    plain = timm.build(**timm.EXAMPLE).eval()
    images = torch.rand(1, 3, 32, 32)
    before = plain(images, [4])[0]
    after = rein.build(plain)(images, [4])[0]
    change = (after - before).abs().max().item()
    assert 0 < change < 0.05


def test_class_and_register_tokens_are_left_alone():
    torch.manual_seed(0)
    backbone = rein.build(timm.build(**timm.EXAMPLE, reg_tokens=2, final_norm="none"), scale=1.0)
    seen = []
    backbone.after["4"].register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    backbone(torch.rand(1, 3, 32, 32), [4])
    assert seen[0][0].shape == seen[0][1].shape == (1, 4, 24)  # 2 × 2 patches of 3 + 4 tokens


def test_layers_behind_the_last_tap_are_dropped():
    backbone = rein.build(timm.build(**timm.EXAMPLE))
    backbone.use([1])
    assert sorted(backbone.after) == ["0", "1"]
    assert backbone.hooks == [24, 24]
    assert len(backbone.blocks) == 2


@pytest.mark.parametrize("module", [lite_medsam, unet])
def test_a_backbone_without_hooks_is_refused_by_name(module):
    name = module.__name__.rpartition(".")[2]
    with pytest.raises(SegShiftError, match=f"tuning rein .* backbone {name} "):
        rein.build(module.build(**module.EXAMPLE))


def test_a_side_network_is_refused():
    with pytest.raises(SegShiftError, match="tuning rein takes no side network"):
        rein.build(timm.build(**timm.EXAMPLE), side=timm.build(**timm.EXAMPLE))
