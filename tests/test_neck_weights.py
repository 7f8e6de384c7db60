"""Which weights a head's own neck starts from: the backbone's, else SAM's of its width, else none."""

import shutil
from pathlib import Path

import pytest

from segshift import grid

CONFIG = Path(__file__).parents[1] / "config"


@pytest.fixture(scope="module")
def thesis():
    return grid.read(CONFIG)


@pytest.mark.parametrize(
    ("backbone", "neck"),
    [
        ("sam_l", "sam_vit_l"),
        ("medsam_b", "medsam_vit_b"),
        ("lite_medsam", "lite_medsam"),
        ("dinov2_b", "sam_vit_b"),
        ("dinov2_l_reg", "sam_vit_l"),
        ("mae_h", "sam_vit_h"),
        ("dinov2_s", None),
        ("resnet18", None),
    ],
)
def test_a_neck_starts_from_the_weights_that_the_backbone_names(thesis, backbone, neck):
    model = grid.Model.parse(f"nci/{backbone}/frozen/hqhsam/42")
    settings = thesis.settings(model)
    assert settings["head"]["init"] == {"prompt_encoder": "sam_vit_b", "neck": neck}
    assert "neck" not in settings["backbone"]
    named = {thesis.config.backbones[backbone].weights, "sam_vit_b", neck}
    assert set(thesis.weights(model)) == named - {None}


def test_a_head_without_a_neck_asks_for_none(thesis):
    model = grid.Model.parse("nci/sam_l/frozen/linear/42")
    assert "init" not in thesis.settings(model)["head"]
    assert thesis.weights(model) == ["sam_vit_l"]


def test_an_unknown_neck_is_named(tmp_path):
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    text = (CONFIG / "backbones.yaml").read_text()
    (tmp_path / "backbones.yaml").write_text(text.replace("neck: sam_vit_h", "neck: sam_vit_g", 1))
    with pytest.raises(grid.SegShiftError, match="backbones.yaml: .*: neck: unknown weights 'sam_vit_g'"):
        grid.read(tmp_path)
