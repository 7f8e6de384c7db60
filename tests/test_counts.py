"""Whose a parameter is, for every kind of tuning; what a pass costs; what really gets a gradient."""

from pathlib import Path

import pytest
import torch

from segshift import entries, grid, plugins
from segshift.combinations import Combination, of_model
from segshift.counts import Counter
from segshift.errors import SegShiftError
from segshift.gradients import received
from segshift.model import find_taps
from segshift.stages import check

CPU = torch.device("cpu")
CONFIG = Path(__file__).parents[1] / "config"
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


# ---- blocks of an entry ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "blocks", "expected"),
    [
        ("linear", None, [4, 3, 2, 1]),
        ("linear", [0, 2, 4], [4, 2, 0]),
        ("linear", [-1, -3], [4, 2]),
        ("pyramid", [4, 0, -2], [0, 3, 4]),
        ("linear_last", [2], [2]),
        ("hqsam", [1, 3], [3, 1]),
    ],
)
def test_an_entry_may_say_which_blocks_maps_its_head_takes(head, blocks, expected):
    entry = {"module": head} | ({} if blocks is None else {"blocks": blocks})
    with torch.device("meta"):
        assert find_taps(entry, plugins.build("backbones", VIT)) == expected


def test_blocks_of_a_head_on_a_neck_are_those_before_it():
    """Without `blocks`, SAM's own neck; with them, a block's map and a neck in the head."""
    backbone = {"module": "sam"} | plugins.load("backbones", "sam").EXAMPLE
    entry = {"module": "sam", "width": 256}
    counts = [
        Counter().count(Combination(backbone, {"module": "frozen"}, entry | more, 3))
        for more in ({}, {"blocks": [-2]})
    ]
    assert counts[1].head - counts[0].head == 256 * 24 + 590_848
    assert counts[1].frozen < counts[0].frozen  # neither the neck nor the last block


def test_blocks_decide_a_model_and_its_count():
    """The same counter, so that nothing built for other blocks may be taken for these."""
    counter = Counter()
    by_count = {
        len(blocks): counter.count(
            Combination(VIT, {"module": "frozen"}, {"module": "linear", "blocks": blocks}, 3)
        )
        for blocks in ([0], [0, 1], [3, 1, 4])
    }
    assert {number: one.head for number, one in by_count.items()} == {
        number: number * 24 * 2 + number * 24 * 3 + 3 for number in (1, 2, 3)
    }
    assert [one.frozen for one in by_count.values()] == [WHOLE - left * BLOCK for left in (4, 3, 0)]
    one = Combination(VIT, {"module": "frozen"}, {"module": "linear", "blocks": [0]}, 3)
    assert received(one, CPU) == LAST


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"module": "linear", "blocks": [1, 5]}, "no 5; backbone timm has 0 to 4, counted backwards -1 to"),
        ({"module": "linear", "blocks": [-6]}, "there is no -6"),
        ({"module": "linear", "blocks": [4, -1]}, "of 5 blocks one is named twice"),
        ({"module": "hqsam", "blocks": [4]}, "on backbone timm it takes 2 of them"),
        ({"module": "linear_last", "blocks": [3, 4]}, "on backbone timm it takes 1 of them"),
    ],
)
def test_blocks_that_are_not_there(entry, said):
    with pytest.raises(SegShiftError, match=said):
        Counter().count(Combination(VIT, {"module": "frozen"}, entry, 3))


def test_a_block_of_too_many_positions():
    """The last stage is small enough for H-SAM, the first is not."""
    options = {"channels": [8, 8, 16, 16]}
    network = {"module": "timm", "image_size": 224, "model": "resnet10t", "options": options}
    combination = Combination(network, {"module": "frozen"}, {"module": "hsam", "width": 32}, 3)
    Counter().count(combination)
    with pytest.raises(SegShiftError, match="takes at most 1024 of them; the map that it takes has 3136"):
        Counter().count(combination._replace(head={"module": "hsam", "width": 32, "blocks": [1]}))


def test_an_original_variant_of_an_adaptation():
    """In the thesis's code 20,072 parameters of HQHSAM are called norms, on DINOv2-B with 15 classes."""
    config = grid.read(CONFIG)
    cell = grid.Model.parse("hcp1/dinov2_b/rein_lora/hqhsam/42/entropy_min/hcp2")
    ours, theirs = (of_model(config, cell, originals) for originals in (False, True))
    assert (ours.adapt, theirs.adapt) == ("entropy_min", "entropy_min_original")
    assert Counter().count(theirs.combination).trainable == 20_072
    other = of_model(config, cell._replace(adapt="mean_teacher"), True)
    assert other.notes[-1] == "adaptation mean_teacher has no original variant: it is counted as it is"


def test_blocks_of_an_entry_are_settings_of_its_cells():
    config = grid.read(CONFIG).config
    heads = config.heads | {"spread": entries.Head(module="linear", blocks=[2, 5, 8, 11])}
    found = grid.Grid(config.model_copy(update={"heads": heads}))
    settings = found.settings(grid.Model.parse("hcp1/mae_b/frozen/spread/42"))
    assert settings["head"] == {"module": "linear", "blocks": [2, 5, 8, 11]}
    assert check.build(settings).taps == [11, 8, 5, 2]
    settings["head"]["blocks"] = [12]
    said = (
        r"hcp1/mae_b/frozen/spread/42 cannot be built: head linear: blocks \[12\]: there is no 12; backbone"
    )
    with pytest.raises(SegShiftError, match=said):
        check.build(settings)
    assert "blocks" not in found.settings(grid.Model.parse("hcp1/mae_b/frozen/linear/42"))["head"]
    with pytest.raises(ValueError, match="at least 1 item"):
        entries.Head(module="linear", blocks=[])
