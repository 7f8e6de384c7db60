"""timm networks: every family's maps, what is dropped, loaded and refused."""

import pytest
import timm as library
import torch

from segshift.backbones import timm
from segshift.errors import SegShiftError

VIT = timm.EXAMPLE
TINY = timm.EXAMPLES[1]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def parameters(part):
    return sum(one.numel() for one in part.parameters())


def whole_network(entry):
    """The network as timm itself makes it, classifier included."""
    sizes = {"img_size": entry["image_size"]} if entry is VIT else {}
    return library.create_model(entry["model"], **entry["options"], **sizes)


def test_dinov2s_learning_parameters_are_the_thesiss():
    with torch.device("meta"):
        backbone = timm.build(image_size=224, model="vit_base_patch14_dinov2", positions="dinov2")
    assert parameters(backbone) == 86_579_712


@pytest.mark.parametrize(
    "entry",
    [
        *timm.EXAMPLES,
        {
            "image_size": 64,
            "model": "swin_tiny_patch4_window7_224",
            "options": {"embed_dim": 24, "depths": [1, 1, 1, 1]},
        },
        {"image_size": 50, "model": "convnext_atto"},
        {"image_size": 50, "model": "efficientnet_lite0"},
        {"image_size": 32, "model": "vit_small_patch16_dinov3", "options": {"depth": 2}},
    ],
    ids=lambda entry: entry["model"],
)
@torch.no_grad()
def test_maps_are_as_announced_and_come_in_the_order_of_the_taps(entry):
    backbone = timm.build(**entry).eval()
    taps = list(range(len(backbone.maps)))[::-1]
    images = torch.rand(2, 3, 40, 36)
    maps = backbone(images, taps)
    assert [tuple(one.shape) for one in maps] == [
        (2, backbone.maps[t].channels, *backbone.maps[t].grid) for t in taps
    ]
    (alone,) = backbone(images, [0])
    assert torch.allclose(alone, maps[-1], atol=1e-6)
    assert (backbone.early, backbone.last) == (0, taps[0])


@pytest.mark.parametrize("final_norm", ["all", "last", "none"])
@torch.no_grad()
def test_the_final_norm_is_applied_where_asked(final_norm):
    backbone = timm.build(**VIT, final_norm=final_norm).eval()
    first, last = backbone(torch.rand(1, 3, 32, 32), [0, 4])
    normed = [
        bool(one.mean(dim=1).abs().max() < 1e-5) for one in (first, last)
    ]  # a fresh norm: mean 0 a token
    assert normed == {"all": [True, True], "last": [False, True], "none": [False, False]}[final_norm]


@torch.no_grad()
def test_unit_scales_each_slice_by_itself_and_a_constant_one_gives_zero():
    prepare = timm.build(**VIT, normalize="unit").prepare
    images = torch.stack(
        [torch.full((3, 32, 32), 0.7), torch.linspace(0.2, 0.6, 3 * 32 * 32).view(3, 32, 32)]
    )
    scaled = prepare(images)
    assert scaled[0].abs().max() == 0
    assert (scaled[1].min(), scaled[1].max()) == (0, 1)


@torch.no_grad()
def test_images_are_resized_and_normalized_inside():
    prepare = timm.build(**VIT).prepare
    prepared = prepare(torch.full((1, 3, 10, 12), 0.5))
    assert prepared.shape == (1, 3, 32, 32)
    assert prepared[0, :, 5, 5].tolist() == pytest.approx(
        [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225], rel=1e-5
    )


@pytest.mark.parametrize(
    ("entry", "tap", "left"),
    [(VIT, 1, "blocks.1."), (TINY, 2, "layer2."), ({**VIT, "final_norm": "last"}, 1, "blocks.1.")],
)
@torch.no_grad()
def test_what_no_tap_needs_is_dropped_and_changes_nothing(entry, tap, left):
    backbone = timm.build(**entry).eval()
    images = torch.rand(1, 3, 32, 32)
    before, whole = backbone(images, [tap])[0], parameters(backbone)
    backbone.use([tap])
    assert parameters(backbone) < whole
    assert torch.equal(backbone(images, [tap])[0], before)
    names = [name for name, _ in backbone.net.named_parameters()]
    assert any(name.startswith(left) for name in names)
    assert not any(name.startswith(("blocks.2.", "layer3.", "fc.", "head.")) for name in names)
    assert ("norm.weight" in names) == (entry is VIT)


@pytest.mark.parametrize("drop_first", [False, True])
@pytest.mark.parametrize("entry", [VIT, TINY], ids=["vit", "resnet"])
@torch.no_grad()
def test_loading_is_strict_before_and_after_parts_are_dropped(entry, drop_first):
    state = whole_network(entry).state_dict()
    backbone = timm.build(**entry)
    if drop_first:
        backbone.use([1])
    timm.load(
        backbone, {"state_dict": {**state, **({"mask_token": torch.ones(1, 24)} if entry is VIT else {})}}
    )
    for name, one in backbone.net.state_dict().items():
        assert torch.equal(one, state[name])
    deep = next(name for name in state if name.startswith(("blocks.4.", "layer4.")))
    broken = {name: one for name, one in state.items() if name != deep} | {"odd.weight": torch.ones(1)}
    first = next(name for name in state if name.endswith(("proj.bias", "bn1.bias")))
    broken[first] = torch.ones(3)
    with pytest.raises(SegShiftError) as caught:
        timm.load(backbone, broken)
    for words in (entry["model"], f"missing: {deep}", "unexpected: odd.weight", f"{first} (3,) instead of"):
        assert words in str(caught.value)


@torch.no_grad()
def test_dinov2s_own_layout_and_another_input_size_are_brought_to_ours():
    entry = {
        "image_size": 28,
        "model": "vit_small_patch14_dinov2",
        "options": {"depth": 2, "embed_dim": 24, "num_heads": 2},
    }
    backbone = timm.build(**entry)
    own = backbone.net.state_dict()
    state = {name: torch.randn_like(one) for name, one in own.items()}
    state["pos_embed"] = torch.randn(1, 1 + 37 * 37, 24)
    timm.load(backbone, {**state, "mask_token": torch.ones(1, 24)})
    assert torch.equal(backbone.net.state_dict()["blocks.1.ls2.gamma"], state["blocks.1.ls2.gamma"])
    assert torch.equal(backbone.net.pos_embed[:, 0], state["pos_embed"][:, 0])
    assert backbone.net.pos_embed.shape == (1, 5, 24)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"model": "resnet5"}, "unknown model 'resnet5'; the nearest of timm's names: resnet"),
        ({"model": "hf_hub:somebody/something"}, "unknown model"),
        ({"model": "resnet18", "normalize": "imagnet"}, "normalize 'imagnet'; did you mean 'imagenet'?"),
        ({**VIT, "final_norm": "first"}, "unknown final_norm 'first'"),
        ({**VIT, "options": {"dept": 1}}, "options of vit_tiny_.*: unknown 'dept'; did you mean 'depth'"),
        ({"model": "efficientnet_lite0", "options": {"depht": 1}}, "of efficientnet_lite0: unknown 'depht'"),
        ({**VIT, "options": {"depth": "many"}}, "vit_tiny_.* cannot be built at 32 px with options .*many"),
        ({**VIT, "options": ["depth"]}, r"options of vit_tiny_.* must be names with values, not \['depth'\]"),
        ({**VIT, "options": {"patch_drop_rate": 0.5}}, "patch_drop_rate leaves holes in the maps"),
        ({**VIT, "options": {"img_size": 64}}, "img_size is the entry's image_size"),
        ({**VIT, "resize": "cubic"}, "backbone timm: unknown resize 'cubic'.*known: bilinear, area"),
        ({**VIT, "colours": "brg"}, "backbone timm: unknown colours 'brg'.*known: rgb, bgr"),
        ({**VIT, "antialias": True}, "interpolate_offset and antialias are of positions dinov2"),
        ({**timm.EXAMPLES[2], "final_norm": "all"}, "eva02_tiny_patch14_224 has no final norm"),
        ({**VIT, "positions": "dinov2"}, "positions dinov2 is for DINOv2's models, not for vit_tiny"),
        ({**VIT, "positions": "bicubic"}, "unknown positions 'bicubic'"),
        ({**VIT, "image_size": 40}, "image_size 40 is not divisible by its patch, 16"),
    ],
    ids=range(17),
)
def test_what_is_refused(entry, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        timm.build(**{"image_size": 32, **entry})
