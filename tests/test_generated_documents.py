"""docs/parameters.csv and docs/models.md: the thesis's integers, closed forms of our own, nothing stale."""

import csv
import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from segshift import grid
from segshift.counts import Counter

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CLASSES = (15, 6, 3)


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def config():
    return grid.read(ROOT / "config").config


@pytest.fixture(scope="module")
def counter():
    return Counter()


@pytest.fixture(scope="module")
def table():
    """The file's lines by (part, backbone, tuning, head, classes)."""
    lines = list(csv.DictReader((DOCS / "parameters.csv").open()))
    found = {key(line): line for line in lines}
    assert len(found) == len(lines)
    return found


def key(line):
    classes = int(line["classes"]) if line["classes"] else None
    return line["part"], line["backbone"], line["tuning"], line["head"], classes


# ---- the original column: what the thesis's code counts ----------------------------------------------------

HEADS = {  # on width 768; at 15, 6 and 3 classes
    "linear": (52_239, 24_582, 15_363),
    "segformer": (4_737_807, 4_730_886, 4_728_579),
    "da": (24_351_791, 24_341_396, 24_337_931),
    "da_small": (6_944_687, 6_941_420, 6_940_331),
    "resnet": (39_208_143, 39_207_270, 39_206_979),
    "unet": (39_101_847, 39_101_514, 39_101_403),
    "unet_small": (7_873_125, 7_872_981, 7_872_933),
    "sam": (6_400_172, 5_139_596, 4_719_404),
    "sam_fpe": (6_393_952, 5_133_376, 4_713_184),
    "hqsam": (7_606_972, 6_344_083, 5_923_120),
}
BY_PATCH = {
    ("hsam", 16): (15_978_153, 12_305_118, 11_080_773),
    ("hsam", 14): (16_441_653, 12_768_618, 11_544_273),
    ("hqhsam", 16): (17_317_051, 13_644_016, 12_419_671),
    ("hqhsam", 14): (17_780_551, 14_107_516, 12_883_171),
}
ON_SAM = {"sam": (5_612_716, 4_352_140, 3_931_948), "sam_fpe": (5_606_496, 4_345_920, 3_925_728)}
HQHSAM = {
    "dinov2_s": (17_289_031, 13_615_996, 12_391_651),
    "dinov2_b": (17_780_551, 14_107_516, 12_883_171),
    "dinov2_l": (18_108_231, 14_435_196, 13_210_851),
    "dinov2_g": (18_763_591, 15_090_556, 13_866_211),
    "sam_b": (17_317_051, 13_644_016, 12_419_671),
    "mae_b": (17_317_051, 13_644_016, 12_419_671),
    "sam_l": (17_644_731, 13_971_696, 12_747_351),
    "mae_l": (17_644_731, 13_971_696, 12_747_351),
    "sam_h": (17_972_411, 14_299_376, 13_075_031),
    "mae_h": (18_435_911, 14_762_876, 13_538_531),
}
TUNINGS = {
    ("dinov2_s", "rein"): 1_051_905,
    ("dinov2_s", "rein_lora"): 684_033,
    **{(backbone, "rein"): 2_496_513 for backbone in ("dinov2_b", "sam_b", "mae_b")},
    **{(backbone, "rein_lora"): 1_741_569 for backbone in ("dinov2_b", "sam_b", "mae_b")},
    **{(backbone, "rein"): 5_016_065 for backbone in ("dinov2_l", "sam_l", "mae_l")},
    **{(backbone, "rein_lora"): 2_990_081 for backbone in ("dinov2_l", "sam_l", "mae_l")},
    **{(backbone, "rein"): 7_900_161 for backbone in ("sam_h", "mae_h")},
    **{(backbone, "rein_lora"): 4_510_721 for backbone in ("sam_h", "mae_h")},
    ("dinov2_g", "rein"): 11_456_001,
    ("dinov2_g", "rein_lora"): 6_359_041,
    ("sam_b", "ladder_d"): 22_452_482,
    ("dinov2_b", "ladder_d"): 22_650_626,
    ("mae_b", "ladder_d"): 22_650_626,
    ("sam_b", "ladder_r"): 8_221_762,
    ("dinov2_b", "ladder_r"): 8_420_674,
    ("mae_b", "ladder_r"): 8_420_674,
}
MODELS = {  # all that learns, at 15, 6 and 3 classes
    ("dinov2_b", "frozen"): (17_780_551, 14_107_516, 12_883_171),
    ("sam_b", "frozen"): (17_317_051, 13_644_016, 12_419_671),
    ("mae_b", "frozen"): (17_317_051, 13_644_016, 12_419_671),
    ("dinov2_b", "rein_lora"): (19_522_120, 15_849_085, 14_624_740),
    ("sam_b", "rein_lora"): (19_058_620, 15_385_585, 14_161_240),
    ("mae_b", "rein_lora"): (19_058_620, 15_385_585, 14_161_240),
    ("dinov2_b", "rein"): (20_277_064, 16_604_029, 15_379_684),
    ("sam_b", "rein"): (19_813_564, 16_140_529, 14_916_184),
    ("mae_b", "rein"): (19_813_564, 16_140_529, 14_916_184),
    ("dinov2_b", "ladder_d"): (40_431_177, 36_758_142, 35_533_797),
    ("sam_b", "ladder_d"): (38_982_077, 35_309_042, 34_084_697),
    ("medsam_b", "ladder_d"): (38_982_077, 35_309_042),
    ("mae_b", "ladder_d"): (39_967_677, 36_294_642, 35_070_297),
    ("dinov2_l", "rein_lora"): (21_098_312, 17_425_277, 16_200_932),
    ("dinov2_g", "rein_lora"): (25_122_632, 21_449_597, 20_225_252),
    ("sam_l", "rein"): (22_660_796, 18_987_761, 17_763_416),
    ("sam_h", "rein"): (25_872_572, 22_199_537, 20_975_192),
    ("mae_l", "frozen"): (17_644_731, 13_971_696, 12_747_351),
    ("mae_h", "frozen"): (18_435_911, 14_762_876, 13_538_531),
    ("resnet101", "full"): (68_168_357, 68_168_213, 68_168_165),
    ("unet", "full"): (31_038_543, 31_037_958, 31_037_763),
    ("swin_unet", "full"): (27_169_476, 27_168_612, 27_168_324),
    # Not in the thesis
    ("dinov2_l", "rein"): (23_124_296,),
    ("dinov2_g", "rein"): (30_219_592,),
    ("sam_l", "rein_lora"): (20_634_812,),
    ("sam_h", "rein_lora"): (22_483_132,),
    ("mae_l", "rein_lora"): (20_634_812,),
    ("mae_h", "rein_lora"): (22_946_632,),
    ("mae_l", "rein"): (22_660_796,),
    ("mae_h", "rein"): (26_336_072,),
}


def expected():
    """Every integer of the thesis's code, by a line of the file."""
    found = {}
    for patch, backbone in ((14, "dinov2_b"), (16, "mae_b")):
        heads = HEADS | {head: counts for (head, of), counts in BY_PATCH.items() if of == patch}
        for head, counts in heads.items():
            found |= {("head", backbone, "frozen", head, c): n for c, n in zip(CLASSES, counts, strict=True)}
    for head, counts in ON_SAM.items():
        found |= {("head", "sam_b", "frozen", head, c): n for c, n in zip(CLASSES, counts, strict=True)}
    for backbone, counts in HQHSAM.items():
        found |= {("head", backbone, "frozen", "hqhsam", c): n for c, n in zip(CLASSES, counts, strict=True)}
    for c, n in zip(CLASSES, (16_529_595, 12_856_560, 11_632_215), strict=True):
        found["head", "sam_b", "ladder_d", "hqhsam", c] = n
    found["head", "resnet101", "full", "unet_small", 15] = 25_668_197  # 10,945,125 and what is at the exits
    found |= {("tuning", *names, "hqhsam", None): n for names, n in TUNINGS.items()}
    ends = {"resnet101": "unet_small", "unet": "own", "swin_unet": "own"}
    for (backbone, tuning), counts in MODELS.items():
        head = ends.get(backbone, "hqhsam")
        found |= {("model", backbone, tuning, head, c): n for c, n in zip(CLASSES, counts, strict=False)}
    return found


def test_the_original_column_holds_every_integer_of_the_thesiss_code(table):
    asked = expected()
    assert {one: int(table[one]["original"]) for one in asked} == asked


# ---- the default column: closed forms ----------------------------------------------------------------------


def network(*widths):
    """A fully connected network with biases."""
    return sum((before + 1) * after for before, after in pairwise(widths))


NOT_THE_PROMPT = 6_220 - 256  # of the prompt encoder, all but the "no prompt" vector
UNUSED_NORMS = 4 * 2 * (196 + 9 + 1024)  # in four attentions
NEVER_SEEN = {  # what reaches no mask: the default freezes it
    "da": lambda c: 2 * network(384, c) + 384,
    "da_small": lambda c: 2 * network(120, c) + 120,
    "sam": lambda c: NOT_THE_PROMPT + network(256, 256, 256, 32),
    "sam_fpe": lambda c: network(256, 256, 256, 32),
    "hqsam": lambda c: NOT_THE_PROMPT + network(256, 256, 256, c + 1) + 2 * network(256, 256, 256, 32),
    "hsam": lambda c: (
        NOT_THE_PROMPT
        + 2 * network(256, 256, 256, c + 1)
        + network(256, 256, 256, 256, 256, 16)
        + UNUSED_NORMS
    ),
    "hqhsam": lambda c: (
        NOT_THE_PROMPT
        + network(256, 256, 256, c + 1)
        + network(256, 256, 256, c + 2)
        + 2 * network(256, 256, 256, 256, 256, 16)
        + UNUSED_NORMS
    ),
}


def neck(width):
    return 0 if width == 256 else 256 * width + 590_848


def along(side):
    return 8 * side**4 + 4109 * side**2 + 2048


def head_form(head, d, patch, c, own_neck=False):
    """The thesis's head on maps of width D, from its layers (its code's closed forms)."""
    before = 0 if own_neck else neck(d)
    early = 1024 * d + 33_568
    return {
        "linear": 8 * d + 4 * d * c + c,
        "segformer": 4 * (d**2 + 2 * d) + 4 * d**2 + 2 * d + d * c + c,
        "da": dual(d, 384, c),
        "da_small": dual(d, 120, c),
        "resnet": 1536 * (4 * d + 1) + 34_486_560 + 97 * c,
        "unet": 5 * 576 * (2 * d + 1) + 34_674_732 + 37 * c,
        "unet_small": 5 * 240 * (2 * d + 1) + 6_028_485 + 16 * c,
        "sam": 3_511_756 + 140_064 * c + before,
        "sam_fpe": 3_511_756 + 140_064 * c + before - 6_220,
        "hqsam": 3_894_701 + 140_321 * c + before + early,
        "hsam": 7_954_232 + 408_115 * c + before + along(224 // patch),
        "hqhsam": 8_473_130 + 408_115 * c + before + early + along(224 // patch),
    }[head] - NEVER_SEEN.get(head, lambda c: 0)(c)


def dual(d, c, classes):
    return (
        2 * (36 * d * c + 2 * c) + 2 * (9 * c * c + 2 * c) + 3 * (c * c + c) + 2 + 3 * (c * classes + classes)
    )


DEPTHS = {"dinov2_s": 12, "dinov2_g": 40} | {f"{name}_b": 12 for name in ("dinov2", "sam", "mae", "medsam")}
DEPTHS |= {f"{name}_l": 24 for name in ("dinov2", "sam", "mae")} | {
    f"{name}_h": 32 for name in ("sam", "mae")
}


def tuning_form(tuning, backbone, d):
    depth = DEPTHS[backbone]
    shared = 2 * (d**2 + d) + 1
    if tuning == "frozen":
        return 0
    if tuning.startswith("rein"):
        return (100 * depth * d if tuning == "rein" else 1600 * depth + 16 * depth * d) + shared
    # DINOv2-S without its mask token, or ResNet-34 up to its third stage; two rungs: early, and last or neck.
    side, early, last = (22_056_192, 384, 384) if tuning == "ladder_d" else (8_170_304, 64, 256)
    neck_width = 256 if backbone.startswith(("sam", "medsam")) else d
    return side + rung(early, d) + rung(last, neck_width)


def rung(side, big):
    """A 1 × 1 convolution and batch norm where channels differ, and a gate."""
    return (0 if side == big else (side + 3) * big) + 1


def form(line):
    """The default count of a line, from dimensions alone."""
    part, backbone, tuning, head, c = key(line)
    d, patch = int(line["width"]), int(line["patch"])
    if backbone == "unet":
        return 31_037_568 + 65 * c
    if backbone == "swin_unet":
        return 27_168_036 + 96 * c
    if backbone == "resnet101":  # seven blocks' maps of 1,024 channels get a convolution and a batch norm
        exits = 7 * (1024 * 2048 + 3 * 2048)
        return head_form(head, 2048, 32, c) + exits + (42_500_160 if part == "model" else 0)
    if part == "tuning":
        return tuning_form(tuning, backbone, d)
    of_sam = backbone.startswith(("sam", "medsam"))
    ladder = tuning.startswith("ladder") and of_sam
    count = head_form(head, d, patch, c, own_neck=ladder or (of_sam and head in ("sam", "sam_fpe")))
    return count + (tuning_form(tuning, backbone, d) if part == "model" else 0)


def test_the_default_column_follows_from_the_dimensions(table):
    def width(line):  # behind a ladder over SAM the last map is the neck's
        return {**line, "width": "768"} if line["width"] == "256" else line

    found = {one: int(line["default"]) for one, line in table.items()}
    assert found == {one: form(width(line)) for one, line in table.items()}


# ---- the file as a whole -----------------------------------------------------------------------------------


def test_each_difference_has_its_reason_to_the_last_parameter(table):
    for line in table.values():
        difference = int(line["original"]) - int(line["default"])
        reasons = [one for one in line["reason"].split("; ") if one.startswith(("frozen: ", "left out: "))]
        sizes = [int(n.replace(",", "")) for one in reasons for n in re.findall(r"\(([\d,]+)\)", one)]
        assert sum(sizes) == difference, line
        assert "added" not in line["reason"]


def test_each_printed_number_agrees_or_says_why(table):
    for line in table.values():
        for printed, letter in re.findall(r"([\d.]+)([MK]) \(", line["printed"]):
            unit = {"M": 1e6, "K": 1e3}[letter]
            if f"printed {printed}{letter}: " not in line["reason"]:
                # The thesis rounds or truncates to one or two decimals.
                assert abs(float(printed) * unit - int(line["original"])) <= 0.05 * unit, line


def test_the_file_is_what_the_generator_writes(table, config, counter):
    """All lines are asked for; those of 15 classes are counted anew, the others follow them above."""
    parameters = load("parameters_table")
    rows = parameters.rows()
    assert list(table) == [tuple(row) for row in rows]
    for row in rows:
        if row.classes in (15, None) and not (row.part == "model" and row.tuning.startswith("rein")):
            written = [str(cell) for cell in parameters._line(config, counter, row)]
            assert written == list(table[tuple(row)].values())


# ---- models.md ---------------------------------------------------------------------------------------------

BACKBONES = {  # without the mask token that DINOv2's files hold; SAM's with its neck
    "dinov2_s": 22_056_576 - 384,
    "dinov2_b": 86_580_480 - 768,
    "dinov2_l": 304_368_640 - 1024,
    "dinov2_g": 1_136_480_768 - 1536,
    "sam_b": 86_624_512,
    "sam_l": 303_380_480 + 852_992,
    "sam_h": 631_051_520 + 918_528,
    "medsam_b": 86_624_512,
    "mae_b": 85_798_656,
    "resnet101": 42_500_160 + 14_723_072,
    "unet": 31_038_543 - 15 * 65,
    "swin_unet": 27_169_476 - 15 * 96,
}


def test_the_page_is_what_the_generator_writes_and_counts_every_entry(config, counter):
    page = (DOCS / "models.md").read_text()
    assert load("models_page").text(config, counter) == page, "run: python docs/generate.py"
    sections = re.split(r"^## ", page, flags=re.M)
    for part, section in zip(("backbones", "tunings", "heads"), sections[1:], strict=True):
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        sizes = {cells[0].strip("| `"): [cell.replace(",", "") for cell in cells[2:]] for cells in rows}
        there = {name for name, entry in getattr(config, part).items() if not entry.planned}
        assert set(sizes) == there
        for name, cells in sizes.items():
            assert name == "frozen" or max(int(cell) for cell in cells if cell.isdigit()) > 0
        if part == "backbones":
            assert {name: int(sizes[name][0]) for name in BACKBONES} == BACKBONES
    drawn = set(re.findall(r"^### Head module `(\w+)`$", page, re.M))
    assert drawn == {entry.module for entry in config.heads.values() if not entry.planned}
    assert page.count("```mermaid") == len(drawn)


def test_shapes_in_a_diagram_are_the_heads(config):
    """Four maps of MAE-B to logits, and the sixteenfold growth of the ResNet head."""
    page = (DOCS / "models.md").read_text()
    linear, resnet = (
        page.split(f"### Head module `{name}`")[1].split("### ")[0] for name in ("linear", "resnet")
    )
    assert re.findall(r"\d+×\d+×\d+", linear) == ["768×14×14", "3072×14×14", "15×14×14"]
    assert re.findall(r"\d+×\d+×\d+", resnet)[1:] == [
        *("1536×14×14", "768×28×28", "384×56×56", "192×112×112", "96×224×224", "15×224×224"),
    ]
