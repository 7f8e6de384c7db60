"""Rein: the published formula to the reference implementation's numbers, counts, and what it refuses."""

import pytest
import torch

from segshift.backbones import lite_medsam, timm, unet
from segshift.contracts import Backbone, Map
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


@pytest.mark.parametrize("name", ["06_rein_D768", "06_lora_rein_D768"])
@torch.no_grad()
def test_all_numbers_of_the_references_layers(reference, name):
    file = reference.read(name)
    rank = 16 if "lora" in name else None
    shapes = dict(file["state_dict"])
    features = reference.features("tokens", (2, 257, 768))
    shared = rein.Shared(768, scale=0.001, queries=256).double()
    linear = {"token_to_feature": "mlp_token2feat", "delta": "mlp_delta_f"}
    unused = reference.fill(shared, lambda name: rename(name, linear), file)
    assert {name for name in unused if not name.startswith("learnable_tokens")} == set()
    for index in (0, 5, 11):
        layer = rein.ReinLayer(shared, 768, patch=14, length=100, rank=rank).double()
        names = ["learnable_tokens"] if rank is None else ["learnable_tokens_a", "learnable_tokens_b"]
        for factor, original in zip(layer.factors, names, strict=True):
            factor.copy_(reference.weight(original, tuple(shapes[original]))[index])
        outputs = file["outputs"]
        reference.check(layer(features), outputs[f"layer{index}.has_cls_token=False"])
        patches = torch.cat([features[:, :1], layer(features[:, 1:])], dim=1)
        reference.check(patches, outputs[f"layer{index}.has_cls_token=True"])
        if index == 11:
            reference.check(layer.tokens(), outputs["tokens.layer11"])


def rename(name, table):
    """A tensor's name with its first part exchanged."""
    first, _, rest = name.partition(".")
    return f"{table.get(first, first)}.{rest}" if rest else name


class Blocks(Backbone):
    """What Rein looks at in a backbone: how many blocks of which width."""

    def __init__(self, width, depth):
        super().__init__()
        self.hooks = [width] * depth
        self.maps = [Map(width, 14, (16, 16))] * depth

    def forward(self, images, taps):
        raise AssertionError("only counted")


# Width and depth of the thesis's transformers, and the counts of Rein and Rein-LoRA.
ORIGINAL = [
    (384, 12, 1_051_905, 684_033),
    (768, 12, 2_496_513, 1_741_569),
    (1024, 24, 5_016_065, 2_990_081),
    (1280, 32, 7_900_161, 4_510_721),
    (1536, 40, 11_456_001, 6_359_041),
]


@pytest.mark.parametrize(("width", "depth", "free", "low_rank"), ORIGINAL)
def test_counts_at_every_size_and_what_the_original_adds(width, depth, free, low_rank):
    for rank, count in ((None, free), (16, low_rank)):
        for original in (True, False):
            with torch.device("meta"):
                backbone = rein.build(Blocks(width, depth), rank=rank, original=original)
            trainable = sum(one.numel() for one in backbone.parameters() if one.requires_grad)
            assert trainable == count - (0 if original else 256 * width + 256 + 196_864)


def test_the_original_influences_nothing_but_leaves_the_final_norm_out():
    torch.manual_seed(0)
    plain = timm.build(**{**timm.EXAMPLE, "final_norm": "none"}).eval()
    images = torch.rand(1, 3, 32, 32)
    before = plain(images, [4, 0])
    normed = timm.build(**timm.EXAMPLE).eval()
    normed.net.load_state_dict(plain.net.state_dict(), strict=False)
    backbone = rein.build(normed, length=6, original=True)
    backbone.use([4, 0])
    for one in backbone.after.parameters():
        torch.nn.init.normal_(one)
    after = backbone(images, [4, 0])
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not any(one.requires_grad for one in after)


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
    entry = {**timm.EXAMPLE, "options": {**timm.EXAMPLE["options"], "reg_tokens": 2}}
    backbone = rein.build(timm.build(**entry, final_norm="none"), scale=1.0)
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
