"""SegFormer, DA, ResNet and U-Net heads: exact counts, the originals' numbers, any backbone's maps."""

import re

import pytest
import torch

from segshift.backbones import lite_medsam, timm, unet
from segshift.contracts import Map
from segshift.errors import SegShiftError
from segshift.heads import da, linear, resnet, segformer
from segshift.heads import unet as unet_head

BASE = [Map(768, 16, (14, 14))] * 10
SMALL = {"width": 240}
HEADS = {
    "segformer": (segformer, {}),
    "da": (da, {"channels": 384, "original": True}),
    "da_small": (da, {"channels": 120, "original": True}),
    "resnet": (resnet, {}),
    "unet": (unet_head, {"width": 576}),
    "unet_small": (unet_head, SMALL),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def trainable(part):
    return sum(one.numel() for one in part.parameters() if one.requires_grad)


def build(name, classes, maps=BASE, **more):
    module, parameters = HEADS[name]
    taken = maps if module is unet_head else maps[:4]
    return module.build(taken, classes, **{**parameters, **more})


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("segformer", (4_737_807, 4_730_886, 4_728_579)),
        ("da", (24_351_791, 24_341_396, 24_337_931)),
        ("da_small", (6_944_687, 6_941_420, 6_940_331)),
        ("resnet", (39_208_143, 39_207_270, 39_206_979)),
        ("unet", (39_101_847, 39_101_514, 39_101_403)),
        ("unet_small", (7_873_125, 7_872_981, 7_872_933)),
    ],
)
def test_the_originals_counts(name, counts):
    with torch.device("meta"):
        assert tuple(trainable(build(name, classes)) for classes in (15, 6, 3)) == counts


def closed_form(name, width, classes):
    """The closed forms of the originals' counts, in the maps' width and the classes."""

    def dual(c):
        fixed = 2 * (36 * width * c + 2 * c) + 2 * (9 * c**2 + 2 * c) + 3 * (c**2 + c) + 2
        return fixed + 3 * (c * classes + classes)

    return {
        "segformer": 8 * width**2 + 10 * width + width * classes + classes,
        "da": dual(384),
        "da_small": dual(120),
        "resnet": 1536 * (4 * width + 1) + 34_486_560 + 97 * classes,
        "unet": 5 * 576 * (2 * width + 1) + 34_674_732 + 37 * classes,
        "unet_small": 5 * 240 * (2 * width + 1) + 6_028_485 + 16 * classes,
    }[name]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("width", "grid"), [(384, 16), (768, 14), (1024, 14), (1280, 16), (1536, 16)])
def test_closed_forms_at_every_width(name, width, grid):
    with torch.device("meta"):
        for classes in (2, 3, 6, 15):
            head = build(name, classes, [Map(width, 14, (grid, grid))] * 10)
            assert trainable(head) == closed_form(name, width, classes)


@pytest.mark.parametrize(("name", "channels"), [("da", 384), ("da_small", 120)])
def test_da_freezes_what_reaches_no_mask(name, channels):
    with torch.device("meta"):
        for classes in (15, 6, 3):
            ours = trainable(build(name, classes, original=False))
            dead = 2 * (channels * classes + classes) + channels
            assert ours == closed_form(name, 768, classes) - dead


def test_reducing_each_map_by_itself_has_a_quarter_of_the_first_convolution():
    with torch.device("meta"):
        assert trainable(build("resnet", 15, reduce="each")) == 1536 * (768 + 1) + 34_486_560 + 97 * 15


# ---- the originals' numbers --------------------------------------------------------------------------------


def translate(name, table):
    """A tensor's name in the original, by the first pattern that matches it."""
    for pattern, original in table:
        if re.match(pattern, name):
            return re.sub(pattern, original, name)
    return name


LINEAR = [("norm", "batch_norm"), ("classify", "conv_seg")]
SEGFORMER = [
    (r"project\.(\d)\.0", r"convs.\1.conv"),
    (r"project\.(\d)\.1", r"convs.\1.bn"),
    (r"fuse\.0", "fusion_conv.conv"),
    (r"fuse\.1", "fusion_conv.bn"),
    ("classify", "conv_seg"),
]
SHORT = {"position": "pam", "channel": "cam"}
DA = [
    *((rf"enter\.{long}\.0", f"{short}_in_conv.conv") for long, short in SHORT.items()),
    *((rf"enter\.{long}\.1", f"{short}_in_conv.bn") for long, short in SHORT.items()),
    *((rf"leave\.{long}\.0", f"{short}_out_conv.conv") for long, short in SHORT.items()),
    *((rf"leave\.{long}\.1", f"{short}_out_conv.bn") for long, short in SHORT.items()),
    *((rf"auxiliary\.{long}", f"{short}_conv_seg") for long, short in SHORT.items()),
    *((rf"attend\.{long}\.gamma", f"{short}.gamma.scale") for long, short in SHORT.items()),
    (r"attend\.position\.(\w+)", r"pam.\1_project"),
    ("classify", "conv_seg"),
]


def inner(name):
    """Names inside the residual blocks."""
    name = re.sub(r"refine\.blocks", "conv_xn.conv_blks", name)
    name = name.replace("merge.plain", "conv_xn.conv_blks.0").replace(
        "merge.recurrent", "conv_xn.conv_blks.1"
    )
    name = re.sub(r"(blks\.\d)\.convolution\.", r"\1.conv.", name)
    name = re.sub(r"(blks\.\d)\.recurrent\.", r"\1.rec_conv.", name)
    name = re.sub(r"(blks\.\d)\.norms\.", r"\1.batch_norm.", name)
    name = re.sub(r"(blks\.\d)\.norm\.", r"\1.batch_norm.", name)
    return name.replace("grow.", "up.0.")


def resnet_name(name):
    if name.startswith("reduce."):
        return name.replace("reduce.0", "in_ch_reducer")
    if name.startswith("classify"):
        return name.replace("classify", "conv_seg")
    return inner(name.replace("grow.", "ups.", 1))


def unet_name(name):
    if name.startswith(("reduce", "classify")):
        return name.replace("reduce", "in_ch_reducer").replace("classify", "conv_seg")
    if name.startswith("start"):
        return inner(name.replace("start.blocks", "refine.blocks")).replace("conv_xn", "unet_init_conv")
    return inner(name.replace("levels.", "ups.").replace("lift.", "up_cat."))


CASES = {
    "07_head_segformer_n15_D768": ("segformer", 15, lambda name: translate(name, SEGFORMER)),
    "07_head_da384_n15_D768": ("da", 15, lambda name: translate(name, DA)),
    "09_head_resnet_n3_D768": ("resnet", 3, resnet_name),
    "09_head_unetS_n3_D768": ("unet_small", 3, unet_name),
    "09_head_unet_n3_D768": ("unet", 3, unet_name),
}


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_originals_numbers(reference, name):
    file = reference.read(name)
    head, classes, rename = CASES[name]
    network = build(head, classes).eval()
    assert reference.fill(network, rename, file) == set()
    network.double()
    batch = 1 if name.startswith("09") else 2
    count = 10 if head.startswith("unet") else 4
    maps = [reference.features(f"map{k}", (batch, 768, 14, 14)) for k in range(count)]
    (logits,) = network(maps)
    if head != "da":
        reference.check(logits, file["outputs"]["logits"])
        return
    reference.check(logits, file["outputs"]["logits.0"])
    branches = network.branches(maps)
    for index, branch in ((1, "position"), (2, "channel")):
        reference.check(network.auxiliary[branch](branches[branch]), file["outputs"][f"logits.{index}"])


@torch.no_grad()
def test_linear_gives_all_the_originals_numbers(reference):
    file = reference.read("09_head_lin_n15_D768")
    head = linear.build(BASE[:4], 15).eval()
    assert reference.fill(head, lambda name: translate(name, LINEAR), file) == set()
    maps = [reference.features(f"map{k}", (2, 768, 14, 14)) for k in range(4)]
    reference.check(head.double()(maps)[0], file["outputs"]["logits"])


# ---- any backbone ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backbones():
    with torch.device("meta"):
        return {
            "vit": timm.build(
                image_size=224, model="vit_tiny_patch16_224", options={"embed_dim": 24, "num_heads": 2}
            ),
            "resnet": timm.build(image_size=224, model="resnet10t", options={"channels": [8, 8, 16, 16]}),
            "lite_medsam": lite_medsam.build(image_size=224),
            "unet": unet.build(image_size=224, width=4),
        }


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (segformer, {"vit": [11, 10, 9, 8], "resnet": [4, 3, 2, 1], "lite_medsam": [3, 2, 1, 0]}),
        (da, {"vit": [11, 10, 9, 8], "resnet": [4, 3, 2, 1], "lite_medsam": [3, 2, 1, 0]}),
        (resnet, {"vit": [11, 10, 9, 8], "resnet": [4, 3, 2, 1], "lite_medsam": [3, 2, 1, 0]}),
        (
            unet_head,
            {"vit": list(range(11, 1, -1)), "resnet": [4, 3, 2, 1, 0], "lite_medsam": [3, 2, 1, 0]},
        ),
    ],
)
def test_taps(backbones, head, expected):
    assert {name: head.taps(backbones[name]) for name in expected} == expected
    assert head.taps(backbones["unet"]) == [0]


@pytest.mark.parametrize(
    ("head", "sides"),
    [
        ("segformer", {"vit": 14, "resnet": 56, "lite_medsam": 224, "unet": 224}),
        ("da", {"vit": 14, "resnet": 28, "lite_medsam": 28, "unet": 28}),
        ("resnet", {"vit": 224, "resnet": 112, "lite_medsam": 448, "unet": 448}),
        ("unet", {"vit": 224, "resnet": 112, "lite_medsam": 448, "unet": 448}),
    ],
)
def test_logits_grids_on_every_kind_of_backbone(backbones, head, sides):
    module = HEADS[head][0]
    with torch.device("meta"):
        for name, backbone in backbones.items():
            maps = [backbone.maps[tap] for tap in module.taps(backbone)]
            small = {"channels": 8} if module is da else {"width": 640}
            network = module.build(maps, 40, **small)
            inputs = [torch.empty(1, one.channels, *one.grid) for one in maps]
            assert network(inputs)[0].shape == (1, 40, sides[name], sides[name])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("classes", [1, 4])
def test_batch_of_one_any_grid_and_half_precision(head, classes):
    small = {"channels": 8} if HEADS[head][0] is da else {"width": 64}
    maps = [Map(8, 14, (3, 5))] * 10
    network = build(head, classes, maps, **small)
    with torch.autocast("cpu", torch.bfloat16):
        (logits,) = network([torch.rand(1, 8, 3, 5) for _ in range(10 if "unet" in head else 4)])
    assert logits.shape[:2] == (1, classes)
    assert logits.isfinite().all()
    logits.float().sum().backward()


@torch.no_grad()
@pytest.mark.parametrize("head", HEADS)
def test_the_first_map_is_the_main_one_and_all_of_them_count(head):
    small = {"channels": 8} if HEADS[head][0] is da else {"width": 64}
    maps = [Map(8, 14, (4, 4))] * 10
    network = build(head, 3, maps, **small).eval()
    for one in network.parameters():
        one.normal_(0.0, 0.3)
    inputs = [torch.rand(1, 8, 4, 4) for _ in range(10 if "unet" in head else 4)]
    before = network(inputs)[0]
    for index in range(len(inputs)):
        moved = [one + (place == index) for place, one in enumerate(inputs)]
        assert not torch.equal(network(moved)[0], before)


def test_what_is_refused():
    with pytest.raises(SegShiftError, match=r"head unet with width 240 ends in 15 channels .* 16 classes"):
        unet_head.build(BASE, 16, width=240)
    with pytest.raises(SegShiftError, match="head unet: width 100 is not divisible by 16"):
        unet_head.build(BASE, 3, width=100)
    with pytest.raises(SegShiftError, match="head resnet: width 100 is not divisible by 16"):
        resnet.build(BASE[:4], 3, width=100)
    with pytest.raises(SegShiftError, match=r"unknown reduce 'some'.* joint, each"):
        resnet.build(BASE[:4], 3, reduce="some")
