"""ResNet: the thesis's ten maps and counts, the pyramid, official weights, and what counts as head."""

import pytest
import timm as library
import torch
from torchvision.models import resnet as torchvision_resnet

from segshift.backbones import resnet
from segshift.contracts import freeze, is_frozen, set_mode, trained_state
from segshift.errors import SegShiftError
from segshift.heads import unet as unet_head
from segshift.layers.grids import resize_by_area
from segshift.layers.scope import learn
from segshift.model import Segmenter

# Two blocks a stage.
TINY = {"image_size": 64, "model": "resnet26t", "options": {"channels": [8, 8, 16, 16]}}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def parameters(part):
    return sum(one.numel() for one in part.parameters())


def with_small_unet(backbone, classes, width=240):
    taps = unet_head.taps(backbone)
    backbone.use(taps)
    return Segmenter(
        backbone, unet_head.build([backbone.maps[tap] for tap in taps], classes, width=width), taps
    )


@pytest.mark.parametrize(("classes", "total"), [(15, 68_168_357), (6, 68_168_213), (3, 68_168_165)])
def test_the_thesiss_counts(classes, total):
    with torch.device("meta"):
        backbone = resnet.build(image_size=224)
        model = with_small_unet(backbone, classes)
    assert parameters(backbone.net) == 42_500_160
    assert parameters(backbone.exits) == 14_723_072
    assert parameters(model) == total
    learn(model)
    trainable = sum(one.numel() for one in model.parameters() if one.requires_grad)
    assert trainable == total - 42_500_160  # 25.7 million, as Tables 4.8 and 4.9 print
    if classes == 15:
        assert parameters(model.head) == 10_945_125


def original_name(name):
    if name.startswith("net."):
        return name.replace("net.", "backbone.", 1)
    _, place, rest = name.split(".", 2)
    return f"necks_per_out.{place}.{rest}"


@torch.no_grad()
def test_it_gives_the_originals_numbers(reference):
    file = reference.read("12_resnet101_backbone")
    backbone = resnet.build(image_size=224).eval()
    assert reference.fill(backbone, original_name, file) == set()
    backbone = backbone.double()
    images = reference.rounded(127.5 + 85 * reference.image((1, 3, 256, 256))) / 255
    images = resize_by_area(images, (224, 224))
    reference.check(backbone.prepare(images), file["outputs"]["network_input"])
    features = backbone(images, list(range(9, -1, -1)))
    assert [tuple(one.shape[1:]) for one in features] == [(2048, 7, 7)] * 10
    for index in (0, 1, 2, 3, 5, 9):
        reference.check(features[index], file["outputs"][f"features.{index}"])


@pytest.mark.parametrize(
    ("model", "skip_last", "thesis", "pyramid"),
    [
        ("resnet18", False, (8, 512, 32), [64, 64, 128, 256, 512]),
        ("resnet34", False, (10, 512, 32), [64, 64, 128, 256, 512]),
        ("resnet34", True, (10, 256, 16), [64, 64, 128, 256]),
        ("resnet50", False, (10, 2048, 32), [64, 256, 512, 1024, 2048]),
        ("resnet152", True, (10, 1024, 16), [64, 256, 512, 1024]),
    ],
)
def test_maps(model, skip_last, thesis, pyramid):
    count, channels, stride = thesis
    with torch.device("meta"):
        flat = resnet.build(image_size=224, model=model, skip_last=skip_last)
        steps = resnet.build(image_size=224, model=model, skip_last=skip_last, outputs="pyramid")
    assert flat.maps == [(channels, stride, (224 // stride, 224 // stride), True)] * count
    assert [one.channels for one in steps.maps] == pyramid
    assert [one.stride for one in steps.maps] == [2, 4, 8, 16, 32][: len(pyramid)]
    assert (steps.early, flat.early, flat.last) == (1, 0, count - 1)


@torch.no_grad()
def test_the_pyramid_is_timms():
    backbone = resnet.build(**TINY, outputs="pyramid").eval()
    own = library.create_model("resnet26t", channels=(8, 8, 16, 16), num_classes=0).eval()
    own.load_state_dict(backbone.net.state_dict())
    images = torch.rand(2, 3, 64, 64)
    expected = own.forward_intermediates(backbone.prepare(images), intermediates_only=True)
    for ours, theirs, one in zip(backbone(images, range(5)), expected, backbone.maps, strict=True):
        assert torch.equal(ours, theirs)
        assert tuple(ours.shape[1:]) == (one.channels, *one.grid)


@pytest.mark.parametrize("outputs", ["thesis", "pyramid"])
@torch.no_grad()
def test_what_no_tap_needs_is_dropped_and_nothing_else_changes(outputs):
    backbone = resnet.build(**TINY, outputs=outputs).eval()
    images = torch.rand(1, 3, 50, 50)
    before = backbone(images, [1, 0])
    whole = parameters(backbone)
    backbone.use([1, 0])
    after = backbone(images, [1, 0])
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert parameters(backbone) < whole
    assert len(backbone.blocks) == 2


def test_output_convolutions_learn_beside_a_frozen_backbone_and_in_adaptation():
    model = with_small_unet(freeze(resnet.build(**TINY)), 3, width=48)
    for _ in range(2):
        set_mode(model, True)
        assert all(one.requires_grad for one in model.backbone.exits.parameters())
        assert not any(one.requires_grad for one in model.backbone.net.parameters())
        assert not any(part.training for part in model.backbone.net.modules())
        assert all(part.training for part in model.backbone.exits["3"].modules())
        assert not is_frozen(model.backbone)
        saved = set(trained_state(model.backbone))
        assert saved == {f"exits.{name}" for name in model.backbone.exits.state_dict()}
        learn(model)
    with torch.device("meta"):
        pyramid = freeze(resnet.build(**TINY, outputs="pyramid"))
    assert is_frozen(pyramid)


def test_torchvisions_weights_load_completely_and_only_whole():
    with torch.device("meta"):
        backbone = resnet.build(image_size=64, model="resnet50")
    backbone = backbone.to_empty(device="cpu")
    state = torchvision_resnet.resnet50(weights=None).state_dict()
    resnet.load(backbone, state)
    for name, one in backbone.net.state_dict().items():
        assert torch.equal(one, state[name])
    for change, sentence in (
        ({"layer1.0.conv1.weight": None}, r"missing: layer1\.0\.conv1\.weight$"),
        ({"layer9.weight": torch.zeros(1)}, r"unexpected: layer9\.weight$"),
        ({"bn1.weight": torch.zeros(7)}, r"misshaped: bn1\.weight \(7,\) instead of \(64,\)$"),
    ):
        broken = {name: one for name, one in {**state, **change}.items() if one is not None}
        with pytest.raises(SegShiftError, match=sentence):
            resnet.load(backbone, broken)


def test_weights_of_a_whole_network_fit_one_without_its_last_stage():
    state = torchvision_resnet.resnet18(weights=None).state_dict()
    backbone = resnet.build(image_size=64, model="resnet18", skip_last=True, outputs="pyramid")
    backbone.use([1])
    resnet.load(backbone, state)
    assert torch.equal(backbone.net.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])


def test_half_precision_and_a_batch_of_one():
    model = with_small_unet(resnet.build(**TINY), 3, width=48).eval()
    with torch.autocast("cpu", torch.bfloat16):
        (logits,) = model(torch.rand(1, 1, 40, 40))
    assert logits.shape == (1, 3, 40, 40)
    assert logits.isfinite().all()


def test_what_is_refused():
    with pytest.raises(SegShiftError, match=r"unknown outputs 'all'.* thesis, pyramid"):
        resnet.build(image_size=64, outputs="all")
    with pytest.raises(SegShiftError, match=r"unknown model 'resnet99'.* resnet101"):
        resnet.build(image_size=64, model="resnet99")
    with pytest.raises(SegShiftError, match="vit_tiny_patch16_224 is no ResNet; build it with module timm"):
        resnet.build(image_size=64, model="vit_tiny_patch16_224")
