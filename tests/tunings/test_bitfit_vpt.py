"""BitFit and visual prompt tuning: counts, what learns, the papers' behaviour, and what is refused."""

import pytest
import torch

from segshift.backbones import lite_medsam, resnet, swin_unet, timm, unet
from segshift.contracts import set_mode
from segshift.errors import SegShiftError
from segshift.tunings import bitfit, vpt

VIT = timm.EXAMPLE


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def trainable(part):
    return {name: one for name, one in part.named_parameters() if one.requires_grad}


def count(part):
    return sum(one.numel() for one in trainable(part).values())


def test_bitfits_count_at_base_size():
    """A block has 11 biases of the width (2 norms, 3 + 1 of attention, 4 + 1 of the perceptron); one is the
    patch embedding's, one the final norm's."""
    with torch.device("meta"):
        backbone = bitfit.build(timm.build(image_size=224, model="vit_base_patch16_224"))
    assert count(backbone) == (12 * 11 + 2) * 768 == 102_912


def test_bitfit_trains_biases_only_and_keeps_statistics():
    backbone = bitfit.build(resnet.build(**resnet.EXAMPLE, outputs="pyramid"))
    assert all(name.endswith("bias") for name in trainable(backbone))
    set_mode(backbone, True)
    before = backbone.net.bn1.running_mean.clone()
    backbone(torch.rand(2, 3, 64, 64), [4])[0].sum().backward()
    assert torch.equal(backbone.net.bn1.running_mean, before)
    assert {name for name, one in backbone.named_parameters() if one.grad is not None} == set(
        trainable(backbone)
    )


def test_bitfit_needs_a_bias():
    backbone = unet.build(**unet.EXAMPLE).requires_grad_(False)
    with pytest.raises(SegShiftError, match="tuning bitfit finds no bias in backbone unet"):
        bitfit.build(backbone)
    with pytest.raises(SegShiftError, match="tuning bitfit takes no side network"):
        bitfit.build(unet.build(**unet.EXAMPLE), side=backbone)


@pytest.mark.parametrize("length", [1, 50])
def test_vpts_count(length):
    with torch.device("meta"):
        backbone = vpt.build(timm.build(image_size=224, model="vit_base_patch16_224"), length=length)
    assert count(backbone) == 12 * length * 768


@torch.no_grad()
def test_prompts_are_deep_the_papers_formula():
    entry = {**VIT, "options": {**VIT["options"], "reg_tokens": 2}}
    plain = timm.build(**entry).eval()
    backbone = vpt.build(timm.build(**entry), length=3)
    for ours, theirs in zip(backbone.blocks, plain.net.blocks, strict=True):
        ours.block.load_state_dict(theirs.state_dict())
    for name in ("patch_embed", "norm"):
        getattr(backbone.net, name).load_state_dict(getattr(plain.net, name).state_dict())
    for name in ("cls_token", "reg_token", "pos_embed"):
        getattr(backbone.net, name).copy_(getattr(plain.net, name))
    images = torch.rand(2, 3, 32, 32)
    tokens, _ = plain._embed(plain.prepare(images))
    for ours, block in zip(backbone.blocks, plain.net.blocks, strict=True):
        # [x_i, _, E_i] = L_i([x_{i-1}, P_{i-1}, E_{i-1}]), equation 6; attention does not mind the order.
        mixed = torch.cat([tokens[:, :3], ours.prompts.expand(2, -1, -1), tokens[:, 3:]], dim=1)
        mixed = block(mixed)
        tokens = torch.cat([mixed[:, :3], mixed[:, 6:]], dim=1)
    expected = plain._to_map(tokens, 4)
    assert torch.allclose(backbone(images, [4])[0], expected, atol=1e-5)


def test_rotary_positions_turn_patches_only():
    """Behind the class token, where they are not turned by construction, prompts give the same."""
    backbone = vpt.build(timm.build(**timm.EXAMPLES[2]).eval(), length=3)
    prepared = backbone.prepare(torch.rand(1, 3, 32, 32))
    tokens, rotation = backbone._embed(prepared)
    ours = backbone.blocks[0]
    prompts = ours.prompts
    mixed = torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], dim=1)
    mixed = ours.block(mixed, rope=rotation[0])
    expected = torch.cat([mixed[:, :1], mixed[:, 4:]], dim=1)
    assert ours.block.attn.num_prefix_tokens == 4
    assert torch.allclose(ours(tokens, rope=rotation[0]), expected, atol=1e-5)


def test_blocks_behind_the_last_tap_go_with_their_prompts():
    backbone = vpt.build(timm.build(**VIT), length=3)
    backbone.use([1, 0])
    assert count(backbone) == 2 * 3 * 24
    (features,) = backbone(torch.rand(1, 3, 20, 20), [1])
    features.sum().backward()
    assert all(one.grad.abs().max() > 0 for one in trainable(backbone).values())
    with torch.autocast("cpu", torch.bfloat16):
        assert backbone(torch.rand(1, 3, 20, 20), [1])[0].isfinite().all()


@pytest.mark.parametrize("module", [lite_medsam, resnet, swin_unet, unet])
def test_vpt_is_refused_where_blocks_work_on_maps(module):
    name = module.__name__.rpartition(".")[2]
    with pytest.raises(SegShiftError, match=f"tuning vpt needs blocks .* backbone {name} cannot take it"):
        vpt.build(module.build(**module.EXAMPLE))
