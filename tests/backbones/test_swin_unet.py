"""Swin-UNet: the thesis's counts, the authors' numbers, any input size, and what is refused."""

import re

import pytest
import torch

from segshift.backbones import swin_unet, unet
from segshift.contracts import Map
from segshift.errors import SegShiftError
from segshift.heads import own


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("classes", "parameters"), [(15, 27_169_476), (6, 27_168_612), (3, 27_168_324)])
def test_counts(classes, parameters):
    with torch.device("meta"):
        backbone = swin_unet.build(image_size=224)
        head = own.build(backbone.maps, classes)
    assert sum(one.numel() for part in (backbone, head) for one in part.parameters()) == parameters


def original_name(name):
    """The authors' name of one of our tensors."""
    name = re.sub(r"encoder\.stages\.(\d)", r"layers.\1", name)
    name = re.sub(r"encoder\.merges\.(\d)", r"layers.\1.downsample", name)
    name = re.sub(r"decoder\.stages\.(\d)", lambda found: f"layers_up.{int(found[1]) + 1}", name)
    name = re.sub(r"decoder\.join\.(\d)", lambda found: f"concat_back_dim.{int(found[1]) + 1}", name)
    name = name.replace("decoder.grow.0", "layers_up.0")
    name = re.sub(r"decoder\.grow\.(\d)", r"layers_up.\1.upsample", name)
    name = name.replace("encoder.norm", "norm").replace("decoder.norm", "norm_up")
    return name.replace("classify", "output")


@torch.no_grad()
def test_it_gives_the_authors_numbers(reference):
    file = reference.read("09_swin_unet_n3")
    backbone = swin_unet.build(image_size=224).eval()
    head = own.build(backbone.maps, 3)
    unused = reference.fill(backbone, original_name, file) & reference.fill(head, original_name, file)
    assert {name for name in unused if not name.endswith(("attn_mask", "relative_position_index"))} == set()
    backbone, head = backbone.double(), head.double()
    images = reference.image((1, 3, 224, 224))
    tokens, skips = backbone.encoder(backbone.patch_embed(images))
    expected = file["outputs"]
    reference.check(tokens.flatten(1, 2), expected["bottleneck"])
    assert len(skips) == 4
    for index, skip in enumerate(skips):
        reference.check(skip.flatten(1, 2), expected[f"skip{index}"])
    reference.check(backbone.decoder(tokens, skips).flatten(1, 2), expected["decoder_tokens"])
    reference.check(head(backbone(images, [0]))[0], expected["logits"])


@torch.no_grad()
def test_unet_gives_all_the_originals_numbers(reference):
    file = reference.read("09_unet_n3")

    def name_of(name):
        if name.startswith("classify."):
            return f"outc.conv.{name.partition('.')[2]}"
        part, stage, *rest = name.split(".")
        if part == "grow":
            return f"up{int(stage) + 1}.up.{rest[0]}"
        layer = 3 * int(rest[0]) + int(rest[1])
        place = "inc" if stage == "0" else f"down{stage}.maxpool_conv.1"
        place = f"up{int(stage) + 1}.conv" if part == "up" else place
        return f"{place}.double_conv.{layer}.{rest[2]}"

    backbone = unet.build(image_size=224).eval()
    head = own.build(backbone.maps, 3)
    assert reference.fill(backbone, name_of, file) & reference.fill(head, name_of, file) == set()
    found = {}
    for name, part in (("down1", backbone.down[1]), ("down4", backbone.down[4]), ("up1", backbone.up[0])):
        part.register_forward_hook(lambda part, inputs, output, name=name: found.update({name: output}))
    maps = backbone.double()(reference.image((1, 3, 224, 224)), [0])
    found["logits"] = head.double()(maps)[0]
    assert found.keys() == file["outputs"].keys()
    for name, one in found.items():
        reference.check(one, file["outputs"][name])


@pytest.mark.parametrize("image_size", [32, 64, 96, 256])
def test_any_size_that_halves(image_size):
    backbone = swin_unet.build(image_size=image_size, width=8, attention_heads=(1, 2, 2, 4)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (features,) = backbone(torch.rand(1, 3, 50, 50), [0])
    assert backbone.maps == [Map(8, 1, (image_size, image_size), bias=False)]
    assert features.shape == (1, 8, image_size, image_size)
    assert len(backbone.blocks) == 14


def test_what_is_refused():
    with pytest.raises(SegShiftError, match="backbone swin_unet: image_size 100 is not divisible by 32"):
        swin_unet.build(image_size=100)
    with pytest.raises(SegShiftError, match="2 depths but 4 attention_heads"):
        swin_unet.build(image_size=64, depths=(2, 2))
    with pytest.raises(SegShiftError, match="5 attention_heads do not divide the width 96 of stage 0"):
        swin_unet.build(image_size=64, depths=(2, 2), attention_heads=(5, 6))
