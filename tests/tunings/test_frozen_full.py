"""The two plain tunings."""

import pytest
import torch

from segshift.backbones import timm, unet
from segshift.contracts import is_frozen, set_mode
from segshift.errors import SegShiftError
from segshift.tunings import frozen, full


def test_frozen_learns_nothing_and_keeps_its_statistics():
    backbone = frozen.build(unet.build(**unet.EXAMPLE))
    assert is_frozen(backbone)
    set_mode(backbone, True)
    before = {name: one.clone() for name, one in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 16, 16), [0])
    assert all(torch.equal(one, before[name]) for name, one in backbone.state_dict().items())


def test_full_learns_all_but_a_fixed_position_table():
    backbone = full.build(timm.build(**timm.EXAMPLE, fixed_position=True))
    assert [name for name, one in backbone.named_parameters() if not one.requires_grad] == ["net.pos_embed"]
    learned = full.build(timm.build(**timm.EXAMPLE))
    assert all(one.requires_grad for one in learned.parameters())


def test_a_fixed_position_table_must_exist():
    with pytest.raises(SegShiftError, match="resnet10t has none"):
        timm.build(image_size=32, model="resnet10t", fixed_position=True)


@pytest.mark.parametrize("tuning", [frozen, full])
def test_a_side_network_is_refused(tuning):
    with pytest.raises(SegShiftError, match="takes no side network"):
        tuning.build(unet.build(**unet.EXAMPLE), side=unet.build(**unet.EXAMPLE))
