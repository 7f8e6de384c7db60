"""Whose a parameter is, for every kind of tuning; what a pass costs; what really gets a gradient."""

import pytest
import torch

from segshift import plugins
from segshift.combinations import Combination
from segshift.counts import Counter
from segshift.errors import SegShiftError
from segshift.gradients import received

CPU = torch.device("cpu")
OPTIONS = {"depth": 5, "embed_dim": 24, "num_heads": 2}
VIT = {"module": "timm", "image_size": 32, "model": "vit_tiny_patch16_224", "options": OPTIONS}
# Patches, class token, positions, last norm; a block's two norms, attention, network of four times the width.
BLOCK = 2 * 48 + 24 * 72 + 72 + 24 * 24 + 24 + 2 * 24 * 96 + 96 + 24
WHOLE = 3 * 16 * 16 * 24 + 24 + 24 + 5 * 24 + 5 * BLOCK + 48
LINEAR = 4 * 24 * 2 + 4 * 24 * 3 + 3  # the head on four maps, three classes
LAST = 24 * 2 + 24 * 3 + 3
SIDE = {**VIT, "options": OPTIONS | {"depth": 2, "embed_dim": 12}}
SIDE_BLOCK = 2 * 24 + 12 * 36 + 36 + 12 * 12 + 12 + 2 * 12 * 48 + 48 + 12
SIDE_WHOLE = 3 * 16 * 16 * 12 + 12 + 12 + 5 * 12 + 2 * SIDE_BLOCK + 24
TUNINGS = {
    "frozen": ({"module": "frozen"}, 0, 0),
    "full": ({"module": "full"}, WHOLE, 0),
    "rein": ({"module": "rein", "length": 6}, 0, 5 * 6 * 24 + 2 * (24 * 24 + 24) + 1),
    "lora": ({"module": "peft", "method": "lora", "rank": 2}, 0, 5 * 2 * (24 + 72 + 24 + 24)),
    "vpt": ({"module": "vpt", "length": 3}, 0, 5 * 3 * 24),
    "bitfit": ({"module": "bitfit"}, 24 + 5 * (24 + 24 + 72 + 24 + 96 + 24) + 24, 0),
    "ladder": ({"module": "ladder", "side": SIDE}, 0, SIDE_WHOLE + (12 + 3) * 24 + 1),
}


@pytest.mark.parametrize(("tuning", "backbone", "own"), TUNINGS.values(), ids=TUNINGS)
def test_each_parameter_belongs_to_one_part(tuning, backbone, own):
    head = "linear_last" if tuning["module"] == "ladder" else "linear"
    count = Counter().count(Combination(VIT, tuning, {"module": head}, 3))
    expected = LAST if head == "linear_last" else LINEAR
    assert (count.backbone, count.tuning, count.head) == (backbone, own, expected)
    assert count.trainable == backbone + own + expected
    assert count.frozen == (WHOLE - backbone)


def test_random_layers_at_a_backbones_exit_count_as_head():
    entry = {"module": "resnet"} | plugins.load("backbones", "resnet").EXAMPLE
    counts = {
        tuning: Counter().count(Combination(entry, {"module": tuning}, {"module": "linear"}, 3))
        for tuning in ("frozen", "full")
    }
    with torch.device("meta"):
        network = plugins.build("backbones", entry)
        network.use(plugins.load("heads", "linear").taps(network))
    exits = sum(one.numel() for one in network.exits.parameters())
    plain = 2 * sum(one.channels for one in network.maps[-4:]) + 4 * network.maps[-1].channels * 3 + 3
    assert counts["frozen"].head == counts["full"].head == plain + exits
    assert counts["frozen"].backbone == 0
    assert counts["full"].backbone == counts["frozen"].frozen > 0


def test_an_adaptation_trains_the_head_alone():
    combination = Combination(VIT, {"module": "full"}, {"module": "linear"}, 3, {"module": "finetune"})
    counter = Counter()
    adapted, trained = counter.count(combination), counter.count(combination._replace(adaptation=None))
    assert (adapted.trainable, adapted.head, adapted.frozen) == (LINEAR, LINEAR, WHOLE)
    assert trained.trainable == WHOLE + LINEAR
    assert adapted.gflops == trained.gflops
    assert adapted.activation_mb < trained.activation_mb


def test_what_was_counted_before_changes_no_count():
    """Parts are shared between models, so the order must not matter, nor blocks that another head dropped."""
    heads = [{"module": name} for name in ("linear", "linear_last", "pyramid")]
    combinations = [
        Combination(VIT, {"module": tuning}, head, classes)
        for tuning, head, classes in (
            ("frozen", heads[0], 2),
            ("frozen", heads[1], 2),
            ("rein", heads[1], 5),
            ("frozen", heads[2], 5),
        )
    ]
    alone = [Counter().count(one) for one in combinations]
    counter = Counter()
    assert [counter.count(one) for one in reversed(combinations)] == alone[::-1]
    assert [counter.count(one) for one in combinations] == alone


def test_a_batch_costs_as_many_slices():
    combination = Combination(VIT, {"module": "full"}, {"module": "linear"}, 3)
    one, three = (Counter(batch).count(combination) for batch in (1, 3))
    assert three.gflops == pytest.approx(3 * one.gflops)
    # A batch norm keeps its statistics once.
    assert three.activation_mb == pytest.approx(3 * one.activation_mb, rel=0.02)
    assert three.trainable == one.trainable


def test_a_frozen_backbone_keeps_nothing_for_the_backward_pass():
    """The linear head keeps what its norm and convolution see; dropout its mask, scaled."""
    count = Counter().count(Combination(VIT, {"module": "frozen"}, {"module": "linear_last"}, 3))
    positions, channels = 2 * 2, 24
    seen = 2 * positions * channels + channels  # of the norm and the convolution, and one factor a channel
    assert count.activation_mb == pytest.approx(4 * (seen + 2 * channels) / 1e6, rel=0.05)


def test_parts_that_do_not_fit():
    unet = {"module": "unet"} | plugins.load("backbones", "unet").EXAMPLE
    with pytest.raises(SegShiftError, match="tuning rein .* backbone unet"):
        Counter().count(Combination(unet, {"module": "rein"}, {"module": "own"}, 3))


# ---- gradients ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tuning", "backbone", "own"), TUNINGS.values(), ids=TUNINGS)
def test_all_that_learns_gets_a_gradient(tuning, backbone, own):
    head = "linear_last" if tuning["module"] == "ladder" else "linear"
    combination = Combination(VIT, tuning, {"module": head}, 3)
    assert received(combination, CPU) == Counter().count(combination).trainable


@pytest.mark.parametrize("module", ["unet", "swin_unet"])
def test_a_network_of_its_own_runs_whole(module):
    entry = {"module": module} | plugins.load("backbones", module).EXAMPLE
    combination = Combination(entry, {"module": "full"}, {"module": "own"}, 3)
    assert received(combination, CPU) == Counter().count(combination).trainable


@pytest.mark.parametrize("classes", [15, 6, 3])
@pytest.mark.parametrize(
    ("head", "numbers"),
    [
        ("sam", {15: 6_254_400, 6: 4_993_824, 3: 4_573_632}),
        ("hqsam", {15: 7_185_696, 6: 5_925_120, 3: 5_504_928}),
        ("hsam", {15: 14_308_928, 6: 10_640_528, 3: 9_417_728}),
        ("hqhsam", {15: 15_380_288, 6: 11_711_888, 3: 10_489_088}),
    ],
)
def test_what_gets_a_gradient_in_the_thesiss_code(head, numbers, classes):
    """Counted there by running it, on MAE-B: any plain transformer of its width and 14 × 14 tokens."""
    options = {"embed_dim": 768, "depth": 2, "num_heads": 12}
    backbone = {"module": "timm", "image_size": 224, "model": "vit_tiny_patch16_224", "options": options}
    combination = Combination(backbone, {"module": "frozen"}, {"module": head, "original": True}, classes)
    assert received(combination, CPU) == numbers[classes]


def test_a_tuning_whose_work_is_thrown_away_gets_none():
    head = {"module": "hqhsam", "width": 32}
    both = [
        Combination(VIT, {"module": "rein", "length": 6, "original": original}, head, 3)
        for original in (False, True)
    ]
    counted = [Counter().count(one) for one in both]
    assert received(both[0], CPU) == counted[0].trainable
    assert received(both[1], CPU) == counted[1].head


def test_the_number_is_the_same_every_time_and_no_draw_is_disturbed():
    combination = Combination(VIT, {"module": "rein", "length": 6}, {"module": "da", "channels": 2}, 3)
    torch.manual_seed(3)
    found = {received(combination, CPU) for _ in range(2)}
    after = torch.rand(1)
    torch.manual_seed(3)
    assert len(found) == 1
    assert torch.equal(after, torch.rand(1))
