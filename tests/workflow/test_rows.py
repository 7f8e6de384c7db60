"""The micro workflow with three heads on one frozen backbone, trained in a row and alone."""

import json
import shutil

import pytest

pytestmark = pytest.mark.workflow

HEADS = ("linear", "narrow", "wide")
CELLS = [f"t1_a/lite_medsam_random/frozen/{head}/0" for head in HEADS]
ROW = "row_t1_a_lite_medsam_random_frozen_0"
EXPERIMENT = """
heads:
  title: Three heads
  grid: {source: [t1_a], backbone: [lite_medsam_random], tuning: [frozen], head: [linear, narrow, wide]}
  targets: {brain: [t1_a, t2]}
"""
SITE = "row: {heads: %d}\n"


def three_heads(made, heads):
    """The micro configuration with three heads instead of its own experiments, and rows on or off."""
    (made.config / "experiments.yaml").write_text(EXPERIMENT)
    with (made.config / "heads.yaml").open("a") as file:
        file.write("narrow: {module: segformer, width: 4}\nwide: {module: segformer, width: 8}\n")
    with (made.config / "site.yaml").open("a") as file:
        file.write(SITE % heads)
    return made


@pytest.fixture(scope="module")
def apart(new_micro):
    """Rows are off."""
    made = three_heads(new_micro(), 0)
    made.output = made.snakemake()
    made.before_models, made.before_numbers = made.models(), made.numbers()
    return made


@pytest.fixture(scope="module")
def together(new_micro):
    """Rows are on, and the row is killed once."""
    made = three_heads(new_micro(), 12)
    where = "segshift.cell:Cell.step"
    made.fault("killed", "train --row results/rows/wanted", where, call=5, do="kill -9 $JOB")
    made.output = made.snakemake()
    assert made.struck(made.output) == ["killed"]
    return made


def words(made, cell):
    return (made.results / f"runs/{cell}/train.log").read_text()


def test_rows_change_no_bit(apart, together):
    assert together.models() == apart.before_models
    assert together.numbers() == apart.before_numbers
    for cell in CELLS:
        assert f"{cell}: is finished" in words(together, cell)
        assert "is finished" not in words(apart, cell)
        assert f"{cell}: epoch 2 of 2" in (together.results / f"runs/{cell}/row.log").read_text()
        record = json.loads((together.results / f"runs/{cell}/run.json").read_text())
        assert record["together"] == 3
    assert ROW not in apart.output
    assert together.planned() == []
    assert apart.planned() == []


def test_to_switch_rows_on_a_finished_grid_does_nothing(together, apart):
    with together.edited("site.yaml", SITE % 12, SITE % 0):
        assert together.planned() == []
    with apart.edited("site.yaml", SITE % 0, SITE % 12):
        assert apart.planned() == []
    for marker in (together.results / "rows").rglob("*.done"):  # lost: nobody's loss
        marker.unlink()
    assert together.planned() == []


def test_one_cell_trains_one_cell(together):
    """Of a row that waits, only the head that was asked for; then those that are left, in a row."""
    together.segshift("rerun", *CELLS)
    score = f"results/runs/{CELLS[0]}/scores.csv"
    jobs = [f"evaluate {CELLS[0]}", ROW, f"train {CELLS[0]}"]
    assert together.planned(score) == sorted(jobs)
    together.snakemake(score)
    for cell in CELLS[1:]:
        assert not (together.results / f"runs/{cell}/run.json").exists()
    assert "one is trained alone" in (together.results / f"rows/{ROW}.log").read_text()
    planned = together.planned()
    assert ROW in planned
    assert f"train {CELLS[0]}" not in planned
    assert f"train {CELLS[1]}" in planned


def test_a_head_that_fails_costs_the_others_nothing(together, apart):
    """In the row and alone; what is mended then is trained alone, and no finished head again."""
    for name, where in (("in_row", "--row results/rows/wanted"), ("alone", f"results/runs/{CELLS[1]}")):
        together.fault(name, f"train {where}", "segshift.cell:Cell.step", **{"raise": "no memory left"})
    output = together.snakemake(rc=1)
    assert together.struck(output) == ["alone", "in_row"]
    assert "1 failed." in output
    assert f"train results/runs/{CELLS[1]}" in output.replace(str(together.folder) + "/", "")
    assert (together.results / f"runs/{CELLS[2]}/scores.csv").exists()
    failed = together.segshift("status", "--config", "config")
    assert "no memory left" in failed
    assert ROW not in together.planned()
    together.snakemake()
    assert together.models() == apart.before_models
    assert together.numbers() == apart.before_numbers


def test_another_learning_rate_of_all_is_a_row_again(together):
    """A change of settings that all finished heads must follow; so are adaptations of finished heads."""
    with together.edited("training.yaml", "learning_rate: 0.01", "learning_rate: 0.02"):
        planned = together.planned()
        assert [job for job in planned if job.startswith(("row", "train"))] == sorted(
            [ROW, *(f"train {cell}" for cell in CELLS)]
        )
    assert together.planned() == []
    adapt = "head: [linear, narrow, wide]"
    with together.edited("experiments.yaml", adapt, f"{adapt}, adapt: [none, finetune]"):
        planned = [job.split()[0] for job in together.planned() if job.startswith(("row", "adapt"))]
        assert planned == ["adapt"] * 3 + [f"{ROW}_finetune_t2"]


def forget_markers(made):
    """As if the models had been made before rows had markers."""
    for file in (made.folder / ".snakemake" / "metadata").rglob("*"):
        if file.is_file() and "results/rows/" in file.read_text():
            content = json.loads(file.read_text())
            content["input"] = [name for name in content["input"] if not name.startswith("results/rows/")]
            file.write_text(json.dumps(content))


def test_results_from_before_there_were_rows(apart):
    """Their trainings run once more and find them finished; where they could not, `--touch` is asked for."""
    forget_markers(apart)
    jobs = [*(f"train {cell}" for cell in CELLS), *(f"evaluate {cell}" for cell in CELLS)]
    assert [job for job in apart.planned() if job.startswith(("train", "eval"))] == sorted(jobs)
    attempts = set((apart.results / "runs").rglob("journal/*.jsonl"))
    apart.snakemake()
    assert apart.planned() == []
    assert set((apart.results / "runs").rglob("journal/*.jsonl")) == attempts  # nobody trained
    forget_markers(apart)
    for folder in (apart.results / "runs").rglob("resume/ready"):
        shutil.rmtree(folder)
    said = apart.snakemake(rc=1)
    assert "3 finished models would be trained again, such as results/runs/t1_a" in said
    assert apart.models() == apart.before_models
    apart.snakemake("--touch")
    assert apart.planned() == []
    assert apart.models() == apart.before_models
    assert apart.numbers() == apart.before_numbers
