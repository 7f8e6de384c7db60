"""SAM's image encoder: the original's numbers, maps, counts, what is dropped, loaded and refused."""

import pytest
import torch

from segshift.backbones import sam
from segshift.errors import SegShiftError
from segshift.layers.images import resize

TINY = sam.EXAMPLE
PREFIX = "image_encoder."


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def count(part):
    return sum(one.numel() for one in part.parameters())


def shapes(size, side=64, **more):
    """Keys and shapes of an official file's encoder at 1,024 px, or with a position table of another side."""
    with torch.device("meta"):
        state = sam.build(image_size=16 * side, size=size, **more).net.state_dict()
    return {PREFIX + name: tuple(one.shape) for name, one in state.items()}


@pytest.fixture(scope="module")
def weights(reference):
    """The rule's values of SAM-B's file, rounded to float32 as the rule says."""
    return {name: reference.weight(name, shape).float() for name, shape in shapes("base").items()}


@torch.no_grad()
def test_the_encoder_at_224_px_gives_the_originals_numbers(reference, weights):
    file = reference.read("02_sam_encoder_vitb_224")
    assert {name: list(one.shape) for name, one in weights.items()} == dict(file["state_dict"])
    backbone = sam.build(image_size=224, normalize="none")
    sam.load(backbone, weights)
    assert count(backbone) == file["parameters"]
    outputs = file["outputs"]
    reference.check(backbone.net.pos_embed, outputs["pos_embed_used"])
    reference.check(backbone.net.blocks[2].attn.rel_pos_h, outputs["rel_pos_h_used.block2"])
    *blocks, neck = backbone.double().eval()(reference.image((1, 3, 224, 224)), [0, 2, 5, 8, 11, 12])
    reference.check(neck, outputs["neck"])
    for index, one in zip((0, 2, 5, 8, 11), blocks, strict=True):
        reference.check(one.permute(0, 2, 3, 1), outputs[f"block{index}"])


@torch.no_grad()
def test_padded_windows_at_1024_px_give_the_originals_numbers(reference, weights):
    """The first block: 64 tokens a side are padded to 70 for windows of 14."""
    backbone = sam.build(image_size=1024, normalize="none")
    backbone.use([0])
    sam.load(backbone, weights)
    (block,) = backbone.double().eval()(reference.image((1, 3, 1024, 1024)), [0])
    expected = reference.read("02_sam_encoder_vitb_1024")["outputs"]["block0"]
    reference.check(block.permute(0, 2, 3, 1), expected)


@pytest.mark.gpu
@torch.no_grad()
def test_all_blocks_at_1024_px_give_the_originals_numbers(reference, weights):
    """With a GPU only: a minute and more of a processor's time."""
    file = reference.read("02_sam_encoder_vitb_1024")
    assert {name: list(one.shape) for name, one in weights.items()} == dict(file["state_dict"])
    backbone = sam.build(image_size=1024, normalize="none")
    sam.load(backbone, weights)
    assert count(backbone) == file["parameters"]
    images = reference.image((1, 3, 1024, 1024)).cuda()
    *blocks, neck = backbone.double().eval().cuda()(images, [0, 2, 5, 8, 11, 12])
    reference.check(neck.cpu(), file["outputs"]["neck"])
    for index, one in zip((0, 2, 5, 8, 11), blocks, strict=True):
        reference.check(one.cpu().permute(0, 2, 3, 1), file["outputs"][f"block{index}"])


@pytest.mark.parametrize(
    ("size", "without_neck", "neck", "early"),
    [
        ("base", 85_837_056, 787_456, 2),
        ("large", 303_380_480, 852_992, 5),
        ("huge", 631_051_520, 918_528, 7),
    ],
)
def test_the_thesiss_counts(size, without_neck, neck, early):
    with torch.device("meta"):
        backbone = sam.build(image_size=224, size=size)
    assert count(backbone) == without_neck + neck
    assert (backbone.early, backbone.last) == (early, len(backbone.blocks) - 1)
    assert backbone.maps[backbone.neck][:3] == (256, 16, (14, 14))
    backbone.use([backbone.last])
    assert count(backbone) == without_neck


@pytest.mark.parametrize("image_size", [16, 48, 240])
@torch.no_grad()
def test_maps_are_as_announced_at_any_multiple_of_the_patch(image_size):
    backbone = sam.build(**TINY | {"image_size": image_size}).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = backbone(torch.rand(1, 3, 20, 24), [3, 0, 2])
    announced = [backbone.maps[tap] for tap in (3, 0, 2)]
    assert [tuple(one.shape[1:]) for one in maps] == [(one.channels, *one.grid) for one in announced]
    assert all(one.isfinite().all() for one in maps)


@torch.no_grad()
def test_unused_parts_are_dropped_without_changing_a_map():
    backbone = sam.build(**TINY).eval()
    images = torch.rand(1, 3, 32, 32)
    (before,) = backbone(images, [1])
    backbone.after["2"] = torch.nn.Identity()
    backbone.use([1])
    assert (len(backbone.blocks), len(backbone.hooks), len(backbone.after)) == (2, 2, 0)
    assert backbone.net.neck is None
    assert torch.equal(backbone(images, [1])[0], before)


@torch.no_grad()
def test_a_hook_sees_patch_tokens_and_acts_on_what_follows():
    backbone = sam.build(**TINY).eval()
    images = torch.rand(2, 3, 32, 32)
    before = backbone(images, [1, 2, 3])
    seen = []

    class Double(torch.nn.Module):
        def forward(self, tokens):
            seen.append(tuple(tokens.shape))
            return 2 * tokens

    backbone.after["1"] = Double()
    after = backbone(images, [1, 2, 3])
    assert seen == [(2, 4, 24)]
    assert torch.allclose(after[0], 2 * before[0])
    assert not any(torch.allclose(one, other) for one, other in zip(after[1:], before[1:], strict=True))


def tiny_file(**changes):
    state = {name: torch.randn(shape) for name, shape in shapes(TINY["size"]).items()}
    return state | {"prompt_encoder.x": torch.ones(1), "mask_decoder.y": torch.ones(1)} | changes


def test_loading_is_strict_even_for_parts_that_are_dropped():
    backbone = sam.build(**TINY)
    backbone.use([0])
    state = tiny_file()
    sam.load(backbone, state)
    assert torch.equal(backbone.net.blocks[0].mlp.lin1.bias, state[f"{PREFIX}blocks.0.mlp.lin1.bias"])
    broken = tiny_file(**{f"{PREFIX}odd": torch.ones(1), f"{PREFIX}pos_embed": torch.ones(1, 8, 8, 12)})
    del broken[f"{PREFIX}blocks.2.attn.rel_pos_w"]
    with pytest.raises(SegShiftError) as caught:
        sam.load(backbone, broken)
    for word in (
        "backbone sam: the weights do not fit",
        "missing: blocks.2.attn.rel_pos_w",
        "unexpected: odd",
        "misshaped: pos_embed (1, 2, 2, 12) instead of (1, 2, 2, 24)",
    ):
        assert word in str(caught.value)


def test_tables_are_resized_bilinearly_when_weights_are_loaded():
    backbone = sam.build(**TINY | {"image_size": 64})
    ramp = torch.arange(64.0)[None, :, None, None].expand(1, 64, 64, 24)
    relative = torch.arange(127.0)[:, None].expand(127, 12)
    table = f"{PREFIX}blocks.1.attn.rel_pos_h"
    state = tiny_file(**{f"{PREFIX}pos_embed": ramp, table: relative})
    sam.load(backbone, state)
    assert backbone.net.pos_embed[0, :, 0, 0].tolist() == [7.5, 23.5, 39.5, 55.5]
    assert backbone.net.blocks[1].attn.rel_pos_h[[0, 3, 6], 0].tolist() == pytest.approx(
        [127 / 14 - 0.5, 63, 127 - 127 / 14 - 0.5]
    )
    windowed = f"{PREFIX}blocks.0.attn.rel_pos_h"
    assert torch.equal(backbone.net.blocks[0].attn.rel_pos_h, state[windowed])


def test_medsam_sees_images_between_0_and_1_and_sam_sees_imagenets_scale():
    images = torch.rand(2, 1, 32, 32).expand(-1, 3, -1, -1) * 0.5 + 0.2
    unit = sam.build(**TINY, normalize="unit").prepare(images)
    assert (unit.amin((1, 2, 3)).tolist(), unit.amax((1, 2, 3)).tolist()) == ([0, 0], [1, 1])
    by_imagenet = sam.build(**TINY).prepare(images)
    assert torch.allclose(by_imagenet[:, 0], (images[:, 0] - 0.485) / 0.229)


def test_area_averages_where_images_shrink():
    images = torch.rand(1, 3, 64, 64)
    backbone = sam.build(**TINY, normalize="none", resize="area")
    assert torch.allclose(backbone.prepare(images), torch.nn.functional.avg_pool2d(images, 2))
    small = torch.rand(1, 3, 16, 16)
    assert torch.equal(backbone.prepare(small), resize(small, (32, 32)))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 40}, "backbone sam: image_size 40 is not divisible by its patch, 16"),
        ({"size": "bass"}, "unknown size 'bass'; did you mean 'base'? known: base, large, huge"),
        ({"size": {"width": 24, "depth": 1, "attention_heads": 2}}, "key of size 'global_blocks'"),
        ({"normalize": "unti"}, "backbone sam: unknown normalize 'unti'; did you mean 'unit'"),
        ({"resize": "cubic"}, "backbone sam: unknown resize 'cubic'"),
    ],
)
def test_what_is_refused(changes, sentence):
    with pytest.raises(SegShiftError) as caught:
        sam.build(**TINY | changes)
    assert sentence in str(caught.value)
