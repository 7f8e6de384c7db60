"""The thesis's grid: counts, what is left out, learning rates and epochs by hand, and golden settings."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from segshift import config as configuration
from segshift import entries, grid
from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.paths import Results, locate

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "config"
GOLDEN = ROOT / "tests" / "golden"
CELLS = {
    "abide_c_dinov2_b_frozen_linear": "abide_c/dinov2_b/frozen/linear/42",
    "hcp1_unet_full_own_self_training_hcp2": "hcp1/unet/full/own/42/self_training/hcp2",
    "nci_sam_b_ladder_d_hqhsam": "nci/sam_b/ladder_d/hqhsam/42",
}


@pytest.fixture(scope="module")
def thesis():
    return grid.read(CONFIG)


PICTURES = ("verse", "mrsegv")  # of the spine


def change(thesis, **experiments):
    """The thesis's configuration with other experiments."""
    made = {name: entries.Experiment(title=name, **values) for name, values in experiments.items()}
    return grid.Grid(thesis.config.model_copy(update={"experiments": made}))


# ---- counts of the thesis ------------------------------------------------------------------------


def test_scores_of_the_thesis(thesis):
    count = {name: len(expanded.scores) for name, expanded in thesis.experiments.items()}
    assert (count["heads"], count["tunings"], count["generalization"]) == (372, 368, 356)
    for name in ("self_training", "entropy_min"):
        adapted = [score for score in thesis.experiments[name].scores if score.model.adapt]
        assert len(adapted) == 176
        assert all(model.target == target for model, target in adapted)


def test_distinct_trainings_and_scores(thesis):
    models = thesis.models([name for name, one in thesis.config.experiments.items() if one.in_all])
    assert Counter(model.adapt for model in models) == {None: 349, "self_training": 176, "entropy_min": 176}
    names = ("heads", "tunings", "generalization")
    assert len({score for name in names for score in thesis.experiments[name].scores}) == 974
    # an adaptation starts from a cell that the generalization experiment trains
    trained = set(thesis.models(["generalization"]))
    assert {model.cell for model in models if model.adapt} <= trained


def test_adapted_models_of_the_thesis(thesis):
    adapted = {model for model in thesis.models(["self_training"]) if model.adapt}
    rows = Counter((model.backbone, model.tuning, model.head) for model in adapted)
    foundation = [(f"{name}_{size}", tuning, "hqhsam") for size in "bl" for name, tuning in
                  (("dinov2", "rein_lora"), ("sam", "rein"), ("mae", "frozen"))]  # fmt: skip
    others = [("resnet101", "full", "unet_small"), ("unet", "full", "own"), ("swin_unet", "full", "own")]
    assert rows == dict.fromkeys(foundation + others, 18) | {("medsam_b", "ladder_d", "hqhsam"): 14}


# ---- left out and not yet possible ---------------------------------------------------------------


def test_heads_leave_out_one_score_and_keep_the_cell(thesis):
    left_out = thesis.experiments["heads"].left_out
    assert len(left_out) == 12
    assert {(model.source, model.backbone, target, reason) for model, target, reason in left_out} == {
        ("usz", "medsam_b", "nci", "medsam_vit_b was pretrained on nci")
    }
    kept = [
        target
        for model, target in thesis.experiments["heads"].scores
        if model.path.startswith("usz/medsam_b")
    ]
    assert kept == ["usz"] * 12


@pytest.mark.parametrize(
    ("experiment", "sources"),
    [
        ("tunings", {"nci", "usz"}),
        ("generalization", {"nci", "usz", "brats_t1", "brats_flair"}),
        ("self_training", {"nci", "usz", "brats_t1", "brats_flair"}),
        ("entropy_min", {"nci", "usz", "brats_t1", "brats_flair"}),
    ],
)
def test_whole_anatomies_left_out(thesis, experiment, sources):
    left_out = thesis.experiments[experiment].left_out
    assert {model.backbone for model, _, _ in left_out} == {"medsam_b"}
    assert {model.source for model, _, _ in left_out} == sources
    scored = {m.source for m, _ in thesis.experiments[experiment].scores if m.backbone == "medsam_b"}
    assert scored == {"hcp1", "hcp2", "abide_c", "abide_s", "verse", "mrsegv"}
    reasons = {reason for model, _, reason in left_out if model.source in ("nci", "usz")}
    assert reasons == {"medsam_vit_b was pretrained on nci, so its prostate is left out"}


def test_what_a_cell_had_seen_is_a_union(thesis):
    weights = thesis.weights(Model.parse("usz/sam_b/ladder_d/hqhsam/42"))
    assert weights == ["sam_vit_b", "dinov2_vits14"]  # the head's prompt encoder is in the backbone's file
    assert thesis.pretrained_on(Model.parse("usz/medsam_b/frozen/linear/42")) == dict.fromkeys(
        ("nci", "brats_t1", "brats_flair"), "medsam_vit_b"
    )
    assert thesis.pretrained_on(Model.parse("usz/lite_medsam/frozen/pyramid/42")) == "unknown"
    assert thesis.pretrained_on(Model.parse("usz/unet/full/own/42")) == {}


def test_unknown_pretraining_leaves_nothing_out(thesis):
    cells = {
        "source": ["usz", "brats_t1"],
        "backbone": ["lite_medsam"],
        "tuning": ["frozen"],
        "head": ["pyramid"],
    }
    expanded = change(thesis, ours={"grid": cells, "contaminated": "drop_anatomy"}).experiments["ours"]
    assert len(expanded.scores) == 4
    assert expanded.left_out == []


def test_planned_names_are_no_error_and_make_no_job(thesis):
    datasets = thesis.config.datasets
    planned = {"datasets": datasets | {"verse": datasets["verse"].model_copy(update={"planned": True})}}
    thesis = grid.Grid(thesis.config.model_copy(update=planned))
    model = Model.parse("verse/sam_b/ladder_d/hqhsam/42")
    assert thesis.planned(model) == ["source verse"]
    assert thesis.planned(Model.parse("abide_c/dinov2_b/frozen/linear/42")) == []
    assert model not in thesis.jobs.values()
    assert "abide_c/dinov2_b/frozen/linear/42" in thesis.jobs
    assert not any(thesis.planned(job) for job in thesis.jobs.values())
    assert thesis.targets["abide_c/dinov2_b/frozen/linear/42"] == ["abide_c", "hcp1", "hcp2", "abide_s"]


def test_forms_of_one_dataset_are_not_siblings(thesis):
    """The lab's copy and the public form hold the same people: one of them is a target, not both."""
    cells = {"source": ["hcp1", "hcp1_public"], "backbone": ["unet"], "tuning": ["full"], "head": ["own"]}
    expanded = change(thesis, ours={"grid": cells, "targets": "siblings"}).experiments["ours"]
    targets = {}
    for model, target in expanded.scores:
        targets.setdefault(model.source, []).append(target)
    others = ["hcp2", "abide_c", "abide_s"]
    assert targets == {"hcp1": ["hcp1", *others], "hcp1_public": ["hcp1_public", *others]}
    cells |= {"source": ["usz"], "backbone": ["medsam_b"], "tuning": ["frozen"], "head": ["linear"]}
    entry = {"grid": cells, "contaminated": "drop_target", "targets": {"prostate": ["usz", "nci_public"]}}
    (left_out,) = change(thesis, ours=entry).experiments["ours"].left_out
    assert left_out[1:] == ("nci_public", "medsam_vit_b was pretrained on nci")


def test_a_public_form_under_the_name_of_the_thesis(tmp_path):
    """`hcp1: {like: hcp1_public}` runs the thesis's experiments on it."""
    folder = shutil.copytree(CONFIG, tmp_path / "config")
    file = folder / "datasets.yaml"
    datasets = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(datasets | {"hcp1": {"like": "hcp1_public"}}, sort_keys=False))
    expanded = grid.read(folder)
    settings = expanded.dataset_settings("hcp1")
    assert settings["reader"]["label_files"] == "{id}/T1w/aparc+aseg.nii.gz"
    assert settings["labels"][1035] == "cerebral gray" and settings["patients"] == "hcp"
    assert expanded.config.datasets["hcp1"].folder == "public/hcp"
    assert expanded.form("hcp1") == "hcp1"


# ---- training settings by hand -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "rate", "epochs", "sampling"),
    [
        ("abide_c/dinov2_b/frozen/linear/42", 2e-5, 120, "rare_class"),
        ("hcp1/dinov2_b/frozen/hqhsam/42", 1e-5, 120, "rare_class"),
        ("hcp2/dinov2_b/frozen/hqhsam/42", 1e-5, 120, "rare_class"),
        ("verse/dinov2_l/frozen/hqhsam/42", 1e-5, 100, "rare_class"),
        ("hcp1/dinov2_b/rein_lora/hqhsam/42", 2e-5, 120, "rare_class"),
        ("hcp1/dinov2_g/rein/hqhsam/42", 2e-5, 120, "rare_class"),
        ("hcp2/dinov2_b/ladder_d/hqhsam/42", 2e-5, 120, "rare_class"),
        ("hcp1/dinov2_b/ladder_d/hqhsam/42", 1e-5, 120, "rare_class"),
        ("verse/mae_b/ladder_d/hqhsam/42", 1e-5, 100, "rare_class"),
        ("nci/medsam_b/ladder_d/hqhsam/42", 2e-5, 120, "rare_class"),
        ("nci/medsam_b/ladder_r/hqhsam/42", 5e-5, 120, "rare_class"),
        ("usz/sam_b/frozen/sam/42", 5e-5, 120, "rare_class"),
        ("usz/sam_h/rein/hqhsam/42", 2e-5, 120, "rare_class"),
        ("mrsegv/mae_h/frozen/hqhsam/42", 5e-5, 120, "rare_class"),
        ("brats_t1/mae_b/frozen/hqhsam/42", 5e-5, 80, "rare_class"),
        ("brats_flair/dinov2_b/rein_lora/hqhsam/42", 2e-5, 80, "rare_class"),
        ("brats_t1/resnet101/full/unet_small/42", 5e-4, 80, "rare_class"),
        ("hcp1/resnet101/full/unet/42", 5e-5, 120, "rare_class"),
        ("verse/unet/full/own/42", 5e-5, 100, "rare_class"),
        # an adaptation follows its target
        ("abide_c/dinov2_b/frozen/linear/42/self_training/hcp1", 1e-5, 20, "uniform"),
        ("hcp1/dinov2_b/frozen/linear/42/self_training/abide_c", 2e-5, 20, "uniform"),
        ("hcp1/dinov2_b/frozen/linear/42/finetune/abide_c", 2e-5, 20, "uniform"),
        ("mrsegv/medsam_b/ladder_d/hqhsam/42/entropy_min/verse", 1e-5, 2, "uniform"),
        ("brats_t1/unet/full/own/42/entropy_min/brats_flair", 5e-5, 2, "uniform"),
    ],
)
def test_training_by_hand(thesis, cell, rate, epochs, sampling):
    training = thesis.training(Model.parse(cell))
    assert (training["learning_rate"], training["epochs"], training["sampling"]) == (rate, epochs, sampling)


def test_what_all_trainings_share(thesis):
    shared = {
        "batch_size": 4,
        "optimizer": "adamw",
        "weight_decay": 1e-5,
        "warm_up": 0.05,
    }
    shared |= {"loss": "cross_entropy"}
    structural = {"probability": 0.25, "translate": 10, "rotate": 10, "scale": [0.9, 1.1]}
    augment = {
        "elastic": {"probability": 0.25, "sigma": 20, "alpha": 1000},
        "structural": structural,
        "photometric": {"probability": 0.5, "brightness": pytest.approx(32 / 255), "contrast": [0.5, 1.5]},
    }
    for model in thesis.models():
        training = thesis.training(model)
        # The thesis's code draws its structural transforms apart, and its rate ends at one half.
        original = model.backbone.endswith("_original")
        apart = {"separate": True} if original else {}
        assert training["schedule"] == ("linear_to_half" if original else "linear")
        drawn = "class_count" if original else "rare_class"
        if not model.adapt:
            assert training["sampling"] == drawn
        augment["structural"] = {**structural, **apart}
        assert {key: training[key] for key in shared} == shared
        assert training["augment"] == augment
        assert list(training["augment"]) == list(augment)


@pytest.mark.parametrize("name", ["heads", "tunings", "generalization", "self_training", "entropy_min"])
def test_what_the_thesiss_code_did_is_an_experiment_of_the_same_cells_that_all_leaves_out(thesis, name):
    """Names lead back to the thesis's; learning rates and epochs are its own but for the spine."""

    def plain(model):
        axes = (part.removesuffix("_original") for part in model[1:4])
        adapt = model.adapt and model.adapt.removesuffix("_slices").removesuffix("_original")
        return Model(model.source, *axes, model.seed, adapt, model.target)

    ours, theirs = thesis.experiments[name], thesis.experiments[f"{name}_original"]
    assert not thesis.config.experiments[f"{name}_original"].in_all
    assert {(plain(model), target) for model, target in theirs.scores} == set(ours.scores)
    assert {(plain(one.model), one.target) for one in theirs.left_out} == {one[:2] for one in ours.left_out}
    for model in thesis.models([f"{name}_original"]):
        assert model.backbone.endswith("_original")
        training, expected = thesis.training(model), thesis.training(plain(model))
        assert training["learning_rate"] == expected["learning_rate"]
        if model.adapt:
            assert (training["epochs"], training["sampling"]) == (expected["epochs"], "uniform")
            assert model.adapt.endswith("_slices") == (name == "self_training" and model.source in PICTURES)
            continue
        spine = {
            "sam_b frozen": 50, "medsam_b frozen": 85, "unet full": 120, "swin_unet full": 120
        }.get(f"{plain(model).backbone} {plain(model).tuning}", 90)  # fmt: skip
        assert training["epochs"] == (spine if model.source == "verse" else expected["epochs"])


def test_each_value_names_the_entry_that_set_it(thesis):
    explained = thesis.explained(Model.parse("hcp1/dinov2_b/frozen/linear/42"))
    where = thesis.config.training[explained["learning_rate"][1] - 1].where
    assert where == {"backbone": "dinov2_*", "dataset": ["hcp1", "hcp2", "verse"]}
    assert explained["batch_size"][1] == 1


# ---- settings.yaml -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_settings_stay_as_they_were(thesis, name):
    """A new setting changes no cell that does not use it. Renew these files only if models shall retrain."""
    settings = grid.render(thesis.settings(Model.parse(CELLS[name])))
    assert settings == (GOLDEN / f"{name}.yaml").read_text()


def test_write_settings_touches_only_what_changed(thesis, tmp_path):
    results = Results(tmp_path)
    written = grid.write_settings(thesis, results)
    assert len(written) == len(thesis.jobs) + len(thesis.datasets())
    assert grid.write_settings(thesis, results) == []
    file = results.run("usz/unet/full/own/42") / "settings.yaml"
    assert yaml.safe_load(file.read_text())["training"]["learning_rate"] == 5e-5
    line = entries.Line(where={"dataset": "usz", "backbone": "unet"}, use={"learning_rate": 3e-5})
    training = [*thesis.config.training, line]
    changed = grid.write_settings(grid.Grid(thesis.config.model_copy(update={"training": training})), results)
    cells = {f"usz/unet/full/own/{path}" for path in ("42",)}
    cells |= {f"nci/unet/full/own/42/{adapt}/usz" for adapt in ("self_training", "entropy_min", "finetune")}
    assert {str(path.parent.relative_to(results.root / "runs")) for path in changed} == cells
    assert not list(tmp_path.rglob("*.part"))


def test_copy_config_replaces_the_older_copy(tmp_path):
    results = Results(tmp_path)
    (results.config / "old").mkdir(parents=True)
    (results.config / "old" / "gone.yaml").write_text("a: 1\n")
    grid.copy_config(CONFIG, results)
    assert not (results.config / "old").exists()
    assert configuration.read(results.config).experiments == configuration.read(CONFIG).experiments


# ---- mistakes in experiments ---------------------------------------------------------------------

CELL = {"source": ["usz"], "backbone": ["unet"], "tuning": ["full"], "head": ["own"]}


@pytest.mark.parametrize(
    ("grid_", "more", "sentence"),
    [
        (
            CELL | {"backbone": ["dinov2b"]},
            {},
            "unknown backbone 'dinov2b'; did you mean 'dinov2_b'\\? known: dinov2_s",
        ),
        (CELL | {"source": ["uzs"]}, {}, "unknown source 'uzs'; did you mean 'usz'"),
        (CELL | {"tuning": ["ful"]}, {}, "unknown tuning 'ful'; did you mean 'full'"),
        (CELL | {"head": ["hqhsm"]}, {}, "unknown head 'hqhsm'; did you mean 'hqhsam'"),
        (
            CELL | {"adapt": ["self_trainng"]},
            {},
            "unknown adapt 'self_trainng'; did you mean 'self_training'",
        ),
        (CELL | {"bakbone": ["unet"]}, {}, "unknown axis 'bakbone'; did you mean 'backbone'"),
        (CELL | {"seed": ["42"]}, {}, "seed '42' is not a whole number"),
        ({key: CELL[key] for key in ("source", "backbone", "head")}, {}, "the grid has no tuning"),
        (CELL, {"targets": {"prostate": ["nic"]}}, "unknown dataset 'nic'; did you mean 'nci'"),
        (CELL, {"targets": {"prostate": ["hcp1"]}}, "hcp1 shows the brain, not the prostate"),
        (
            CELL,
            {"targets": {"brain": ["hcp1"]}},
            "nothing is named for prostate, the anatomy of its source usz",
        ),
    ],
)
def test_mistakes_in_an_experiment(thesis, grid_, more, sentence):
    with pytest.raises(SegShiftError, match=f"experiments.yaml: ours: .*{sentence}"):
        change(thesis, ours={"grid": grid_, **more})


def test_targets_start_with_the_source_and_cells_are_not_repeated(thesis):
    expanded = change(
        thesis,
        ours={"grid": [CELL | {"seed": [1, 2]}, CELL | {"seed": [2]}], "targets": {"prostate": ["nci"]}},
    )
    assert [(model.seed, target) for model, target in expanded.experiments["ours"].scores] == [
        (1, "usz"), (1, "nci"), (2, "usz"), (2, "nci"),
    ]  # fmt: skip


def test_paths_of_models():
    for path in ("usz/unet/full/own/42", "usz/unet/full/own/42/self_training/nci"):
        assert Model.parse(path).path == path
        results, found = locate(f"somewhere/results/runs/{path}")
        assert (found, results.run(path)) == (path, Path("somewhere/results/runs") / path)
    with pytest.raises(SegShiftError, match="usz/unet is no cell"):
        locate("usz/unet")


# ---- cost ----------------------------------------------------------------------------------------


def test_the_grid_loads_neither_torch_nor_snakemake():
    code = "import sys, segshift.grid, segshift.site, segshift.stages.cells, segshift.stages.settings; "
    code += "print([m for m in ('torch', 'snakemake', 'numpy', 'mlflow', 'pandas') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_section_that_cells_share_is_dumped_once_to_the_same_bytes(monkeypatch):
    thesis, dumped = grid.read(CONFIG), []
    settings = [thesis.settings(model) for model in thesis.models()]
    settings += [{"a": 1, "b": {1: "x"}}, {"a": 1.0, "b": {"1": "x"}}, {"a": True, "b": ["1"]}, {"a": "1"}]
    options = {"Dumper": grid._Dumper, "sort_keys": True, "allow_unicode": True, "width": 110}
    whole = [yaml.dump(one, **options) for one in settings]
    monkeypatch.setattr(grid, "_TEXTS", {})
    dump = yaml.dump
    monkeypatch.setattr(yaml, "dump", lambda *words, **more: dumped.append(1) or dump(*words, **more))
    assert [grid.render(one) for one in settings] == whole
    assert len(set(whole)) == len(settings)  # each names its cell
    assert len(dumped) < 2 * len(settings)  # of nine sections or more each
