"""What is made again after a change, and what is not: dry runs on the finished micro workflow."""

import os

import pytest

from segshift import checking, entries, grid
from segshift.paths import Results
from segshift.tables import plan

pytestmark = pytest.mark.workflow

UNET_T1, UNET_T2 = "t1_a/unet/full/own/0", "t2/unet/full/own/0"
FROZEN = "t1_a/lite_medsam_random/frozen/linear/0"
ADAPTED = f"{FROZEN}/finetune/t2"
CELLS = [UNET_T1, UNET_T2, FROZEN, ADAPTED]


def table(experiment):
    """The jobs that follow a new score of an experiment."""
    return ["report", f"tabulate {experiment}", f"track {experiment}"]


def test_first_run(micro):
    assert sorted(micro.before_models) == sorted(f"runs/{cell}/model.ckpt" for cell in CELLS)
    tables = {"tables/shift.csv", "tables/shift.md", "tables/adaptation.csv", "tables/adaptation.md"}
    assert set(micro.before_numbers) == tables | {f"runs/{cell}/scores.csv" for cell in CELLS}
    assert "16 of 16 steps (100%) done" in micro.first_output
    assert (micro.results / "report.html").exists()


def test_second_run_does_nothing(micro):
    assert "Nothing to be done" in micro.snakemake()


def test_touch_comment_and_indentation_of_config(micro):
    files = list(micro.config.glob("*.yaml"))
    texts = [file.read_text() for file in files]
    for file in files:
        file.write_text("# a comment\n" + file.read_text().replace("{module", "{  module") + "\n# another\n")
    assert micro.planned() == []
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)  # a touch: the content is as it was, the time is new
    assert micro.planned() == []


def test_learning_rate_of_one_tuning(micro):
    line = "- where: {tuning: frozen}\n  use: {cache_features: float32"
    with micro.edited("training.yaml", line, f"{line}, learning_rate: 0.02"):
        jobs = [f"train {FROZEN}", f"adapt {ADAPTED}", f"evaluate {FROZEN}", f"evaluate {ADAPTED}"]
        assert micro.planned() == sorted([*jobs, *table("adaptation")])
    assert micro.planned() == []  # undone: the files are new, their content is not


def test_learning_rate_of_one_adaptation(micro):
    with micro.edited("training.yaml", "learning_rate: 0.003", "learning_rate: 0.004"):
        assert micro.planned() == sorted([f"adapt {ADAPTED}", f"evaluate {ADAPTED}", *table("adaptation")])


def test_labels_and_titles_renew_tables_alone(micro):
    with micro.edited("labels.yaml", "U-Net", "The U-Net"):
        assert micro.planned() == ["report", "tabulate adaptation", "tabulate shift"]
    with micro.edited("experiments.yaml", "From one", "From some"):
        assert micro.planned() == ["report", "tabulate shift"]


def test_more_metrics_score_again_and_train_nothing(micro):
    with micro.edited("project.yaml", "seeds: [0]", "seeds: [0]\nevaluation: {metrics: [hd95]}"):
        jobs = {f"evaluate {cell}" for cell in CELLS}
        assert micro.planned() == sorted(jobs | {*table("adaptation"), *table("shift")})
    with micro.edited("project.yaml", "seeds: [0]", "seeds: [0]\nevaluation: {metrics: [iou], tolerance: 3}"):
        assert micro.planned() == []  # nothing that is not computed already


def test_table_notices_other_scores_of_known_models(micro):
    """Where another experiment needs all of a score file, that file does not change with these targets."""
    before = grid.read(micro.config)
    with micro.edited("experiments.yaml", "brain: [t1_a, t2]", "brain: [t1_a]"):
        after = grid.read(micro.config)
    assert plan.experiment_digest(before, "adaptation") != plan.experiment_digest(after, "adaptation")
    assert plan.experiment_digest(before, "shift") == plan.experiment_digest(after, "shift")


def test_new_optional_setting_changes_no_settings(micro, monkeypatch):
    class Training(entries.Training):
        dropout: float = 0.0

    results = Results(micro.results)
    for module in (checking, grid):
        monkeypatch.setattr(module, "Training", Training)
    assert grid.write_settings(grid.read(micro.config), results) == []
    with micro.edited("training.yaml", "epochs: 2", "epochs: 2, dropout: 0.1"):
        changed = grid.write_settings(grid.read(micro.config), results)
    assert sorted(changed) == sorted(results.run(cell) / "settings.yaml" for cell in CELLS)
    grid.write_settings(grid.read(micro.config), results)


def test_touched_and_prepared_again(micro):
    for file in micro.results.glob("data/*/*.*"):
        os.utime(file)
    assert micro.planned() == []
    micro.snakemake("results/data/t2/manifest.json", "--forcerun", "prepare")
    assert micro.planned() == []
    for file in micro.results.glob("data/*/settings.yaml"):  # newer than what was prepared from it
        os.utime(file)
    assert micro.planned() == []


def test_dataset_entry_changed(micro):
    """Other preprocessing is other data: one run prepares it and makes all again that saw it."""
    with micro.edited("datasets.yaml", "modality: T2-like", "modality: T2-like, version: 2"):
        jobs = [f"train {UNET_T2}", f"adapt {ADAPTED}", *(f"evaluate {cell}" for cell in CELLS)]
        assert micro.planned() == sorted(
            ["prepare t2", *jobs, "report"]
            + [f"{rule} {name}" for rule in ("track", "tabulate") for name in ("shift", "adaptation")]
        )


def test_what_may_pass_makes_nothing_again(micro):
    """`lost_labels` and `accept` decide whether data are accepted, not what they are."""
    with micro.edited("datasets.yaml", "modality: T2-like", "modality: T2-like, accept: [spacing]"):
        assert micro.planned() == []


def test_deleted_score(micro):
    with micro.without(f"runs/{UNET_T2}/scores.csv"):
        assert micro.planned() == sorted([f"evaluate {UNET_T2}", *table("shift")])


def test_one_cell_as_target(micro):
    score = f"results/runs/{ADAPTED}/scores.csv"
    gone = [f"runs/{ADAPTED}/{name}" for name in ("model.ckpt", "run.json", "scores.csv")]
    with micro.without(*gone, f"runs/{UNET_T1}/scores.csv"):
        assert micro.planned(score) == sorted([f"adapt {ADAPTED}", f"evaluate {ADAPTED}"])
    with micro.without(f"runs/{UNET_T1}/scores.csv"):
        assert micro.planned(f"results/runs/{UNET_T1}/scores.csv") == [f"evaluate {UNET_T1}"]


def test_new_experiment_over_known_cells(micro):
    text = "  grid: {source: [t1_a, t2], backbone: [unet], tuning: [full], head: [own]}\n"
    more = f"again:\n  title: The same cells in another table\n{text}"
    with micro.edited("experiments.yaml", text, text + more):
        assert micro.planned() == sorted(table("again"))
    assert micro.planned() == []
