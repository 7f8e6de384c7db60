"""Learning rates and epochs of the thesis's five grids, cell by cell, against a table written by hand."""

from pathlib import Path

import pytest

from segshift import grid
from segshift.grid import Model

CONFIG = Path(__file__).parents[1] / "config"
GRIDS = ("heads", "tunings", "generalization", "self_training", "entropy_min")

# Learning rates in units of 1e-5, by hand from section 4.2.3; "." where no grid has such a model. Rows:
# backbone and tuning; columns: the dataset that is learned from, an adaptation's target.
RATES = """
                      hcp1 hcp2 abide_c abide_s nci usz verse mrsegv brats_t1 brats_flair
dinov2_b   frozen        1    1       2       2   2   2     1      2        .           .
dinov2_b   rein_lora     2    2       2       2   2   2     2      2        2           2
dinov2_b   rein          2    2       2       2   2   2     2      2        .           .
dinov2_b   ladder_d      1    2       2       2   2   2     1      2        .           .
dinov2_l   rein_lora     2    2       2       2   2   2     2      2        2           2
dinov2_g   rein_lora     2    2       2       2   2   2     2      2        2           2
sam_b      frozen        5    5       5       5   5   5     5      5        .           .
sam_b      rein_lora     2    2       2       2   2   2     2      2        .           .
sam_b      rein          2    2       2       2   2   2     2      2        2           2
sam_b      ladder_d      1    2       2       2   2   2     1      2        .           .
sam_l      rein          2    2       2       2   2   2     2      2        2           2
sam_h      rein          2    2       2       2   2   2     2      2        2           2
medsam_b   frozen        5    5       5       5   .   5     5      5        .           .
medsam_b   rein_lora     2    2       2       2   .   .     2      2        .           .
medsam_b   rein          2    2       2       2   .   .     2      2        .           .
medsam_b   ladder_d      1    2       2       2   .   .     1      2        .           .
mae_b      frozen        5    5       5       5   5   5     5      5        5           5
mae_b      rein_lora     2    2       2       2   2   2     2      2        .           .
mae_b      rein          2    2       2       2   2   2     2      2        .           .
mae_b      ladder_d      1    2       2       2   2   2     1      2        .           .
mae_l      frozen        5    5       5       5   5   5     5      5        5           5
mae_h      frozen        5    5       5       5   5   5     5      5        5           5
resnet101  full         50   50      50      50  50  50    50     50       50          50
unet       full          5    5       5       5   5   5     5      5        5           5
swin_unet  full          5    5       5       5   5   5     5      5        5           5
"""
EPOCHS = {
    "hcp1": 120, "hcp2": 120, "abide_c": 120, "abide_s": 120, "nci": 120, "usz": 120,
    "verse": 100, "mrsegv": 120, "brats_t1": 80, "brats_flair": 80,
}  # fmt: skip
ADAPTED = {"self_training": 20, "entropy_min": 2}


def table():
    """(backbone, tuning, dataset) -> learning rate."""
    head, *rows = [line.split() for line in RATES.strip().splitlines()]
    found = {}
    for backbone, tuning, *cells in rows:
        for dataset, cell in zip(head, cells, strict=True):
            if cell != ".":
                found[backbone, tuning, dataset] = float(cell) * 1e-5
    return found


@pytest.fixture(scope="module")
def thesis():
    return grid.read(CONFIG)


def test_every_learning_rate_and_epoch_count(thesis):
    expected, seen = table(), set()
    models = [model for model in thesis.models(list(GRIDS)) if model.seed == 42]
    assert len(models) == 349 + 2 * 176
    for model in models:
        key = (model.backbone, model.tuning, model.dataset)
        training = thesis.training(model)
        assert training["learning_rate"] == pytest.approx(expected[key], rel=1e-12), model.path
        epochs = ADAPTED[model.adapt] if model.adapt else EPOCHS[model.dataset]
        assert training["epochs"] == epochs, model.path
        seen.add(key)
    assert seen == set(expected)  # and no row of the table is of a model that there is not


def test_every_other_setting_of_the_protocol(thesis):
    """One batch size, optimizer, schedule and loss for all; adaptations draw uniformly."""
    for model in thesis.models(list(GRIDS)):
        training = thesis.training(model)
        assert (training["batch_size"], training["optimizer"], training["weight_decay"]) == (4, "adamw", 1e-5)
        assert (training["schedule"], training["warm_up"], training["loss"]) == (
            "linear",
            0.05,
            "cross_entropy",
        )
        assert training["sampling"] == ("uniform" if model.adapt else "rare_class")
        for name in ("accumulate", "early_stopping", "clip_gradients", "class_weights", "label_smoothing"):
            assert name not in training, "a setting that the thesis does not have is at its default"


def test_any_list_of_seeds(thesis):
    project = thesis.config.project.model_copy(update={"seeds": [42, 7, 0]})
    several = grid.Grid(thesis.config.model_copy(update={"project": project}))
    models = several.models(list(GRIDS))
    assert len(models) == 3 * (349 + 2 * 176)
    assert {model.seed for model in models} == {42, 7, 0}
    one, other = (several.settings(Model.parse(f"usz/unet/full/own/{seed}")) for seed in (42, 7))
    assert (one.pop("seed"), other.pop("seed")) == (42, 7)
    assert (one.pop("cell"), other.pop("cell")) == ("usz/unet/full/own/42", "usz/unet/full/own/7")
    assert one == other
