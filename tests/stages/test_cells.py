"""What ``cells`` and ``settings`` print about the thesis's grid."""

import json
from pathlib import Path

import pytest

from segshift import grid
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.settings import code_digest
from segshift.stages import cells, rerun, settings

CONFIG = Path(__file__).parents[2] / "config"
LINEAR = "abide_c/dinov2_b/frozen/linear/42"
UNET = "usz/unet/full/own/42"


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


def finish(results, path, *names):
    folder = results.run(path)
    folder.mkdir(parents=True)
    for name in names or ("model.ckpt", "run.json", "scores.csv"):
        (folder / name).write_text("{}")


def states(results, experiment):
    return {(row.cell, row.target): row for row in cells.cells(grid.read(CONFIG), results, experiment)}


def test_summaries_of_the_thesis(results, capsys):
    cells.run(CONFIG, results, [])
    lines = capsys.readouterr().out.splitlines()
    summaries = {line.partition(":")[0]: line.partition(": ")[2] for line in lines[-6:]}
    assert summaries["heads"].startswith("144 trainings, 372 scores; 0 done,")
    assert summaries["tunings"].startswith("120 trainings, 368 scores; 0 done,")
    assert summaries["generalization"].startswith("126 trainings, 356 scores; 0 done,")
    assert summaries["self_training"].startswith("96 trainings, 96 scores, 176 adaptations; 0 done,")
    assert summaries["entropy_min"].startswith("96 trainings, 96 scores, 176 adaptations; 0 done,")
    assert summaries["all"].startswith("349 trainings, 974 scores, 176 + 176 adaptations; 0 done,")


def test_a_cell_is_done_when_all_its_files_are_there(results):
    finish(results, LINEAR)
    finish(results, "usz/dinov2_b/frozen/linear/42", "model.ckpt", "run.json")
    rows = states(results, "heads")
    assert rows[LINEAR, None].state == "done"
    half = rows["usz/dinov2_b/frozen/linear/42", None]
    assert (half.state, half.reason) == ("missing", "lacks scores.csv")
    assert rows["usz/mae_b/frozen/linear/42", None][2:] == ("missing", "")


def test_a_model_of_older_code_is_marked_and_forgotten_when_asked(results, capsys):
    expanded = grid.read(CONFIG)
    today = code_digest(expanded.settings(expanded.jobs[UNET]))
    for path, code in ((LINEAR, "of another day"), (UNET, today)):
        finish(results, path)
        (results.run(path) / "run.json").write_text(json.dumps({"code": code}))
    rows = {row.cell: row for name in expanded.experiments for row in cells.cells(expanded, results, name)}
    assert rows[LINEAR][2:] == ("done", "made by older code")
    assert rows[UNET][2:] == ("done", "")
    rerun.run([], str(results.root), outdated=True, config=CONFIG)
    assert not (results.run(LINEAR) / "model.ckpt").exists()
    assert (results.run(UNET) / "model.ckpt").exists()
    assert LINEAR in capsys.readouterr().out


def test_reasons(results):
    rows = states(results, "heads")
    assert rows["usz/medsam_b/frozen/sam/42", "nci"][2:] == ("left out", "medsam_vit_b was pretrained on nci")
    left_out = {
        key: row.reason for key, row in states(results, "self_training").items() if row.state == "left out"
    }
    prostate = "medsam_vit_b was pretrained on nci, so its prostate is left out"
    tumor = "medsam_vit_b was pretrained on brats_t1, so its tumor is left out"
    pairs = {"nci": ("usz", prostate), "usz": ("nci", prostate)}
    pairs |= {"brats_t1": ("brats_flair", tumor), "brats_flair": ("brats_t1", tumor)}
    expected = {
        (f"{source}/medsam_b/ladder_d/hqhsam/42", None): reason for source, (_, reason) in pairs.items()
    }
    expected |= {
        (f"{source}/medsam_b/ladder_d/hqhsam/42/self_training/{target}", None): reason
        for source, (target, reason) in pairs.items()
    }
    assert left_out == expected


def test_planned_entries_are_named(results):
    expanded = grid.read(CONFIG)
    for row in cells.cells(expanded, results, "generalization"):
        planned = [] if row.state == "left out" else expanded.planned(grid.Model.parse(row.cell))
        assert (row.state == "not yet possible") == bool(planned)
        assert row.reason == f"{', '.join(planned)} planned" or not planned


def test_every_model_and_every_left_out_score_has_its_row(results):
    expanded = grid.read(CONFIG)
    for name in expanded.experiments:
        rows = list(cells.cells(expanded, results, name))
        models = {row.cell for row in rows if row.state != "left out"}
        assert models == {model.path for model in expanded.models([name])}
        assert len(rows) == len({row[:2] for row in rows})


def test_columns_and_json_say_the_same(results, capsys):
    finish(results, UNET)
    cells.run(CONFIG, results, ["generalization", "heads"])
    text = capsys.readouterr().out
    cells.run(CONFIG, results, ["generalization", "heads"], True)
    document = json.loads(capsys.readouterr().out)
    assert list(document["experiments"]) == ["generalization", "heads"]
    rows = document["experiments"]["generalization"]["cells"]
    assert {"cell": UNET, "target": None, "state": "done", "reason": ""} in rows
    assert document["total"]["states"]["done"] == 1
    listed = [line for line in text.splitlines() if line.startswith("  ")]
    assert len(listed) == sum(len(one["cells"]) for one in document["experiments"].values())
    state_column = next(line.index("  done") for line in listed if f"  {UNET} " in line)
    assert all(line[state_column + 2 :].startswith(cells.STATES) for line in listed)
    total = document["total"]
    assert f"all: {total['trainings']} trainings, {total['scores']} scores; 1 done" in text


def test_unknown_experiment(results):
    with pytest.raises(SegShiftError, match="unknown experiment 'haeds'; did you mean 'heads'"):
        cells.run(CONFIG, results, ["haeds"])


# ---- settings ------------------------------------------------------------------------------------


def test_settings_name_the_line_that_set_each_value(results, capsys):
    settings.run(
        CONFIG, results, f"{results.root}/runs/hcp1/dinov2_b/rein_lora/linear/42/self_training/abide_c"
    )
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    source = (CONFIG / "training.yaml").read_text().splitlines()
    for key, expected in (
        ("learning_rate", "2.0e-5"),
        ("epochs", "20"),
        ("batch_size", "4"),
        ("augment", ""),
    ):
        words = next(words for words in printed if words[:1] == [key])
        place = next(word for word in words if word.startswith("training.yaml:"))
        line = source[int(place.removeprefix("training.yaml:").rstrip(",")) - 1]
        assert f"{key}: {expected}".strip() in line
        assert line.strip().split() == words[-len(line.split()) :]  # the text of the line itself
    assert ["rank:", "16"] in printed
    assert ["confidence:", "0.9"] in printed
    assert ["clip_gradients", "null", "default"] in printed
    assert ["precision", "float32", "default"] in printed
    assert next(words for words in printed if words[:1] == ["learning_rate"])[1] == "2.0e-05"


def test_settings_say_who_asks_and_what_is_planned(results, capsys):
    settings.run(CONFIG, results, "hcp1/dinov2_b/ladder_d/linear/42")
    printed = capsys.readouterr().out
    assert "experiments: none asks for it" in printed
    planned = grid.read(CONFIG).planned(grid.Model.parse("hcp1/dinov2_b/ladder_d/linear/42"))
    assert (f"not yet possible: {', '.join(planned)} planned" in printed) == bool(planned)
    settings.run(CONFIG, results, LINEAR)
    assert "experiments: heads\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("hcp1/dinov2/frozen/linear/42", "unknown backbone 'dinov2'; did you mean 'dinov2_"),
        ("hcp1/unet/full/own/42/finetne/hcp2", "unknown adapt 'finetne'; did you mean 'finetune'"),
        ("hcp1/unet/full/own/42/finetune/usz", "hcp1 has no sibling 'usz'; known: hcp2, abide_c, abide_s"),
        ("hcp1/unet", "hcp1/unet is no cell"),
        (None, "name a cell: source/backbone"),
    ],
)
def test_settings_of_no_cell(results, cell, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        settings.run(CONFIG, results, cell)


def test_write(results, capsys):
    settings.run(CONFIG, results, None, write=True)
    settings.run(CONFIG, results, None, write=True)
    first, second = capsys.readouterr().out.splitlines()
    total = len(grid.read(CONFIG).jobs) + len(grid.read(CONFIG).datasets())
    assert first == f"{total} of {total} settings.yaml written, the others were up to date"
    assert second == f"0 of {total} settings.yaml written, the others were up to date"
    assert (results.run(UNET) / "settings.yaml").exists()
    assert (results.config / "training.yaml").read_text() == (CONFIG / "training.yaml").read_text()
