"""Mistakes among training settings that one value alone does not show."""

import shutil
from pathlib import Path

import pytest
import yaml

from segshift import grid
from segshift.errors import SegShiftError

CONFIG = Path(__file__).parents[1] / "config"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(CONFIG, tmp_path / "config"))


def training(folder, use):
    file = folder / "training.yaml"
    file.write_text(f"{file.read_text()}\n{yaml.safe_dump([{'use': use}])}")
    return grid.read(folder).training(grid.Model.parse("usz/unet/full/own/42"))


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            {"loss": "dice", "label_smoothing": 0.1},
            "label_smoothing: does nothing with loss: dice, only with cross_entropy or dice_cross_entropy",
        ),
        ({"momentum": 0.9}, "momentum: does nothing with optimizer: adamw, only with sgd or rmsprop"),
        ({"power": 2}, "power: does nothing with schedule: linear, only with polynomial"),
        ({"focal_gamma": 1}, "focal_gamma: does nothing with loss: cross_entropy, only with focal"),
        (
            {"class_weights": {"zoone": 2}},
            "class_weights: unknown class 'zoone'; did you mean 'peripheral zone'|known:",
        ),
        ({"class_weights": {"background": -1}}, "class_weights: input should be greater than or equal to 0"),
        ({"clip_gradients": 0}, "clip_gradients: input should be greater than 0"),
        ({"precision": "float16"}, "precision: input should be 'float32' or 'bfloat16'"),
        ({"accumulate": 0}, "accumulate: input should be greater than 0"),
        ({"early_stopping": -3}, "early_stopping: input should be greater than 0"),
    ],
)
def test_mistakes(folder, use, sentence):
    with pytest.raises(SegShiftError, match=rf"training.yaml: entry \d+: {sentence}"):
        training(folder, use)


def test_what_goes_together(folder):
    use = {
        "optimizer": "sgd", "momentum": 0.9, "schedule": "polynomial", "power": 2, "loss": "focal_dice",
        "focal_gamma": 1, "class_weights": {"background": 0.5}, "early_stopping": None, "clip_gradients": 1,
    }  # fmt: skip
    found = training(folder, use)
    assert found.items() >= use.items()
    assert grid.read(folder).settings(grid.Model.parse("usz/unet/full/own/42"))["training"] == found
