"""U-Net: the thesis's counts, shapes, and what it refuses."""

import pytest
import torch

from segshift.backbones import unet
from segshift.errors import SegShiftError
from segshift.heads import own


@pytest.mark.parametrize(("classes", "parameters"), [(15, 31_038_543), (6, 31_037_958), (3, 31_037_763)])
def test_counts(classes, parameters):
    with torch.device("meta"):
        backbone = unet.build(image_size=224)
        head = own.build(backbone.maps, classes)
    assert sum(one.numel() for part in (backbone, head) for one in part.parameters()) == parameters


# Logits of the milesial U-Net that the thesis used, 3 classes, and their flat positions.
INDEX = [0, 15996, 16470, 16944, 41005, 41479, 41953, 66014]
LOGITS = [
    0.002708039871, 0.3502827141, -0.307520116, -0.2587034161,
    -0.3829976517, 0.1562519859, 0.4576229301, -0.3531519507,
]  # fmt: skip


def original_name(name):
    """The original's name of one of our tensors."""
    if name.startswith("classify."):
        return f"outc.conv.{name.partition('.')[2]}"
    part, stage, *rest = name.split(".")
    if part == "grow":
        return f"up{int(stage) + 1}.up.{rest[0]}"
    layer = 3 * int(rest[0]) + int(rest[1])  # convolution, norm and ReLU, twice
    if part == "up":
        return f"up{int(stage) + 1}.conv.double_conv.{layer}.{rest[2]}"
    place = "inc" if stage == "0" else f"down{stage}.maxpool_conv.1"
    return f"{place}.double_conv.{layer}.{rest[2]}"


@torch.no_grad()
def test_it_gives_the_originals_numbers(reference):
    backbone = unet.build(image_size=224).eval()
    head = own.build(backbone.maps, 3)
    for name, one in [*backbone.state_dict().items(), *head.state_dict().items()]:
        if one.is_floating_point():
            one.copy_(reference.weight(original_name(name), tuple(one.shape)))
    (logits,) = head(backbone(reference.image((1, 3, 224, 224)).float(), [0]))
    assert logits.flatten()[INDEX].tolist() == pytest.approx(LOGITS, abs=1e-5)


def test_the_map_is_as_announced_and_sees_the_whole_image():
    torch.manual_seed(0)
    backbone = unet.build(image_size=32, width=4, depth=3).eval()
    images = torch.rand(1, 3, 40, 40, requires_grad=True)
    (features,) = backbone(images, [0])
    assert features.shape == (1, backbone.maps[0].channels, *backbone.maps[0].grid) == (1, 4, 32, 32)
    features[0, :, 16, 16].sum().backward()
    assert images.grad[0, 0, 2].abs().sum() > 0  # far above the pixel: it passed the bottom of the U


def test_an_image_size_that_does_not_halve_is_refused():
    with pytest.raises(SegShiftError, match="image_size 56 is not divisible by 16"):
        unet.build(image_size=56)
    assert unet.build(image_size=56, width=4, depth=3).image_size == 56
