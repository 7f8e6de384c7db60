"""Which models can share a pass, which of them a workflow trains in a row, and seeds that share sampling."""

import json
import shutil
from pathlib import Path

import pytest

from segshift import grid, row_plan, rows, site
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.settings import digest
from segshift.stages.settings import lines
from segshift.tables import asked

MICRO = Path(__file__).parent / "workflow" / "micro"
EXAMPLE = Path(__file__).parents[1] / "config" / "site.example.yaml"
EXPERIMENTS = """
heads:
  title: Heads
  grid:
    {source: [t1_a], backbone: [lite_medsam_random], tuning: [frozen], head: [%s], adapt: [none, finetune]}
  targets: {brain: [t1_a, t2]}
"""
HEADS = ["one", "two", "three", "four", "five"]
CELLS = [f"t1_a/lite_medsam_random/frozen/{name}/0" for name in HEADS]
ROW = "row_t1_a_lite_medsam_random_frozen_0"


@pytest.fixture
def config(tmp_path):
    """The micro configuration with five heads on one frozen backbone."""
    folder = tmp_path / "config"
    shutil.copytree(MICRO, folder)
    (folder / "experiments.yaml").write_text(EXPERIMENTS % ", ".join(HEADS))
    heads = "".join(f"{name}: {{module: linear, dropout: 0.{at}}}\n" for at, name in enumerate(HEADS))
    (folder / "heads.yaml").write_text(heads)
    return folder


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def add(config, name, text):
    with (config / name).open("a") as file:
        file.write(text)


def planned(config, results, heads=12, changed=()):
    expanded = grid.read(config)
    grid.write_settings(expanded, results)
    return row_plan.make(expanded, results, heads, changed)


def finish(config, results, *paths):
    """Finished models, as far as a plan looks at them."""
    expanded = grid.read(config)
    for path in paths:
        record = {"settings": digest(expanded.settings(expanded.jobs[path]))}
        (results.run(path) / "run.json").write_text(json.dumps(record))


def markers(results):
    return {str(file.relative_to(results.rows)) for file in results.rows.rglob("*.done")}


# ---- what fits together ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "together"),
    [
        ("{learning_rate: 0.5, loss: dice, optimizer: sgd, early_stopping: 2}", True),
        ("{epochs: 3}", False),
        ("{batch_size: 2}", False),
        ("{sampling: rare_class}", False),
        ("{cache_features: none}", False),
        ("{accumulate: 1, precision: float32}", True),  # as written nowhere
    ],
)
def test_what_all_see_must_be_equal(config, line, together):
    add(config, "training.yaml", f"- where: {{head: two}}\n  use: {line}\n")
    expanded = grid.read(config)
    one, two = (expanded.settings(expanded.jobs[path]) for path in CELLS[:2])
    assert (rows.key(one) == rows.key(two)) == together
    assert (rows.difference(one, two) is None) == together


def test_a_backbone_that_learns_is_shared_by_nobody():
    expanded = grid.read(MICRO)
    assert rows.key(expanded.settings(expanded.jobs["t1_a/unet/full/own/0"])) is None


@pytest.mark.parametrize(
    ("number", "heads", "sizes"),
    [(12, 12, [12]), (13, 12, [7, 6]), (5, 2, [2, 2, 1]), (3, 0, [1, 1, 1]), (0, 0, []), (2, 9, [2])],
)
def test_chunks(number, heads, sizes):
    parts = list(rows.chunks(list(range(number)), heads))
    assert [len(part) for part in parts] == sizes
    assert [one for part in parts for one in part] == list(range(number))


# ---- what a workflow plans ---------------------------------------------------------------------------------


def test_all_wait(config, results):
    found = planned(config, results)
    assert found[ROW] == row_plan.Row(CELLS, [], [])
    adapted = [f"{path}/finetune/t2" for path in CELLS]
    assert found[f"{ROW}_finetune_t2"] == row_plan.Row(adapted, [], CELLS)  # after their sources
    assert (found[ROW].verb, found[f"{ROW}_finetune_t2"].verb) == ("train", "adapt")
    assert markers(results) == set()
    row_plan.write(results, found)
    assert row_plan.read(results) == found


def test_off(config, results):
    assert planned(config, results, heads=0) == {}
    assert len(markers(results)) == 2 * len(CELLS)


def test_a_few_at_once(config, results):
    found = planned(config, results, heads=2)
    assert [found[name].models for name in (ROW, f"{ROW}_2")] == [CELLS[:2], CELLS[2:4]]
    assert {f"{CELLS[4]}.done", f"{CELLS[4]}/finetune/t2.done"} == markers(results)  # alone
    assert found[f"{ROW}_finetune_t2"].sources == CELLS[:2]  # of one row, so that no other row keeps them


def test_finished_ones_hang_on_no_row(config, results):
    planned(config, results)
    finish(config, results, *CELLS[:3])
    found = planned(config, results)
    assert found[ROW].models == CELLS[3:]
    assert found[f"{ROW}_finetune_t2"] == row_plan.Row([f"{path}/finetune/t2" for path in CELLS[:3]], [], [])
    assert {f"{path}.done" for path in CELLS[:3]} == markers(results)
    finish(config, results, CELLS[3])
    assert ROW not in planned(config, results)  # one is no row
    assert f"{CELLS[4]}.done" in markers(results)


def test_other_settings_wait_and_an_archived_model_does_not(config, results):
    planned(config, results)
    finish(config, results, *CELLS)
    (results.run(CELLS[0]) / "run.json").unlink()
    (results.run(CELLS[0]) / "scores.csv").touch()  # weights and record are elsewhere, its scores are here
    assert ROW not in planned(config, results)
    add(config, "training.yaml", "- use: {learning_rate: 0.5}\n")
    assert planned(config, results)[ROW].models == CELLS[1:]
    changed = {str(results.data("t1_a") / "manifest.json")}
    assert planned(config, results, changed=changed)[ROW].models == CELLS[1:]


def test_changed_data_wait(config, results):
    planned(config, results)
    finish(config, results, *CELLS)
    changed = {str(results.data("t1_a") / "manifest.json")}
    assert planned(config, results, changed=changed)[ROW].models == CELLS
    assert ROW not in planned(config, results)


def test_a_head_that_waits_for_weights_keeps_no_other(config, results):
    """One that starts from a file which is not there yet waits for it with those that need it too."""
    weights = "w: {file: w.pth, url: 'https://example.org/w', licence: MIT, pretrained_on: unknown}\n"
    (config / "weights.yaml").write_text(weights)
    file = config / "heads.yaml"
    starts = "module: sam, init: {neck: w, decoder: w}"
    text = file.read_text().replace("module: linear, dropout: 0.1", starts)
    file.write_text(text.replace("module: linear, dropout: 0.2", starts))
    found = planned(config, results)
    waiting = [row for row in found.values() if row.weights and row.verb == "train"]
    assert [(row.models, row.weights) for row in waiting] == [(CELLS[1:3], ["w"])]
    others = [row.models for row in found.values() if not row.weights and row.verb == "train"]
    assert others == [[CELLS[0], *CELLS[3:]]]


@pytest.mark.parametrize(
    ("more", "together"),
    [
        ("", CELLS[:2]),
        (", outputs: thesis", CELLS[:2]),
        (", outputs: pyramid", CELLS),
        (", skip_last: true", CELLS),  # perhaps: the row finds out
    ],
)
def test_a_frozen_backbone_with_parts_that_learn(config, results, more, together):
    """All heads but those on the last map alone need convolutions that learn."""
    entry = f"{{module: resnet, model: resnet18, image_size: 32, weights: null, init_seed: 0{more}}}"
    (config / "backbones.yaml").write_text(f"lite_medsam_random: {entry}\n")
    heads = ["linear_last", "linear_last, dropout: 0.2", "linear_last, blocks: [0]", "linear", "segformer"]
    lines = (f"{name}: {{module: {head}}}\n" for name, head in zip(HEADS, heads, strict=True))
    (config / "heads.yaml").write_text("".join(lines))
    found = planned(config, results)
    assert [row.models for row in found.values()] == [together, [f"{path}/finetune/t2" for path in together]]
    alone = [path for path in CELLS if path not in together]
    assert markers(results) == {f"{path}{end}.done" for path in alone for end in ("", "/finetune/t2")}


@pytest.mark.parametrize(
    ("sampling", "verbs"), [("rare_class", ["finetune"]), ("uniform", ["finetune", "teacher"])]
)
def test_adaptations_whose_draws_depend_on_themselves(config, results, sampling, verbs):
    """Every other adaptation, and the same one without estimates, is a row as before."""
    add(config, "adaptations.yaml", "teacher: {module: mean_teacher, labelled: 1}\n")
    file = config / "experiments.yaml"
    file.write_text(file.read_text().replace("[none, finetune]", "[none, finetune, teacher]"))
    add(config, "training.yaml", f"- {{where: {{adapt: teacher}}, use: {{sampling: {sampling}}}}}\n")
    found = planned(config, results)
    assert [row.models for row in found.values() if row.verb == "train"] == [CELLS]
    adapted = [[f"{path}/{verb}/t2" for path in CELLS] for verb in verbs]
    assert [row.models for row in found.values() if row.verb == "adapt"] == adapted


def test_what_is_made_when_it_is_asked_for_leaves_no_gaps(config, results):
    """Where one row is not enough, models of `all` have rows of their own; else all are in one."""
    entry = "%s: {title: T, in_all: %s, targets: {brain: [t1_a]}, grid: {source: [t1_a], head: [%s], %s}}\n"
    axes = "backbone: [lite_medsam_random], tuning: [frozen]"
    parts = [("first", "true", "one, two"), ("aside", "false", "three, four"), ("last", "true", "five")]
    (config / "experiments.yaml").write_text("".join(entry % (*part, axes) for part in parts))
    found = planned(config, results, heads=3)
    assert [row.models for row in found.values()] == [[*CELLS[:2], CELLS[4]], CELLS[2:4]]
    assert [row.models for row in planned(config, results).values()] == [CELLS]


# ---- the machine -------------------------------------------------------------------------------------------


def test_a_row_needs_what_a_training_needs(tmp_path):
    own = tmp_path / "site.yaml"
    own.write_text(
        "all: {slurm_account: lab}\ntrain: {mem_mb: 48000, slurm_partition: long}\nrow: {gpu: 2}\n"
    )
    found = site.read(EXAMPLE, own)
    assert found["row"] == found["train"] | {"gpu": 2, "heads": 12}
    assert found["row"]["slurm_partition"] == "long"
    assert "heads" not in site.needs(found, "row")
    own.write_text("train: {heads: 3}\n")
    with pytest.raises(SegShiftError, match="train: unknown key 'heads'"):
        site.read(EXAMPLE, own)
    own.write_text("row: {heads: -1}\n")
    with pytest.raises(SegShiftError, match="row: heads must be a whole number of at least 0"):
        site.read(EXAMPLE, own)


# ---- seeds that share sampling -----------------------------------------------------------------------------


def seeds(config, where="project.yaml"):
    file = config / "project.yaml"
    file.write_text(file.read_text().replace("seeds: [0]", "seeds: [4, 0, 7]"))
    if where == "project.yaml":
        add(config, where, "seeds_share: sampling\n")
    else:
        file = config / where
        file.write_text(file.read_text().replace("title: Heads", "title: Heads\n  seeds_share: sampling"))


@pytest.mark.parametrize("where", ["project.yaml", "experiments.yaml"])
def test_seeds_share_sampling(config, results, where):
    before = planned(config, results)
    assert "sampling_seed" not in (results.run(CELLS[0]) / "settings.yaml").read_text()
    seeds(config, where)
    found = planned(config, results)
    assert len(found[ROW.removesuffix("0") + "4"].models) == 8  # of 15: seeds and heads together
    assert len([row for row in found.values() if row.verb == "train"]) == 2
    for path in CELLS:
        assert "sampling_seed: 4\n" in (results.run(path) / "settings.yaml").read_text()
    assert before.keys() != found.keys()
    expanded = grid.read(config)
    assert "sampling_seed: 4  seeds_share: sampling" in list(lines(expanded, expanded.jobs[CELLS[1]]))


def test_one_model_has_one_sampling(config):
    seeds(config, "experiments.yaml")
    again = (EXPERIMENTS % "one").replace("heads:", "again:", 1)
    add(config, "experiments.yaml", again)
    cell = "t1_a/lite_medsam_random/frozen/one/4"
    with pytest.raises(
        SegShiftError, match=f"{cell} has the draws of seed 4 in heads and its own in again, but it is one"
    ):
        grid.read(config)


def test_tables_say_what_such_seeds_vary(config):
    expanded = grid.read(config)
    assert asked.one_sampling(asked.of_grid(expanded, ["heads"]), expanded) == []
    seeds(config)
    expanded = grid.read(config)
    (said,) = asked.one_sampling(asked.of_grid(expanded, ["heads"]), expanded)
    assert said.startswith("Seeds 0, 4, 7 share their sampling: they vary the head alone")
