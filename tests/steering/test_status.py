"""`segshift status`: every state of a cell from its folder, the matrix, and totals."""

import json
import os

import pytest

from segshift import grid, row_plan, slurm
from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.steering import matrix, overview, workflows
from segshift.steering.states import State, States

UNET, OTHER = "one/unet/full/own/0", "one/other/full/own/0"
TWO, TWO_OTHER = "two/unet/full/own/0", "two/other/full/own/0"
ADAPTED = f"{UNET}/finetune/two"


def state(made, path, jobs=()):
    return States(made.grid, made.results, jobs).of(Model.parse(path))


def age(file, seconds=100):
    """Make a file older."""
    status = file.stat()
    os.utime(file, (status.st_atime - seconds, status.st_mtime - seconds))


def test_done_and_what_is_not_quite(made):
    made.finish(UNET)
    assert state(made, UNET) == State("done", "", 7200.0)
    made.finish(UNET, code="of another day")
    assert state(made, UNET).state == "older"
    (made.results.run(UNET) / "scores.csv").unlink()
    assert state(made, UNET) == State("trained", "no scores yet", 7200.0)
    (made.results.run(UNET) / "run.json").unlink()
    assert state(made, UNET) == State("missing", "lacks run.json, scores.csv")
    assert state(made, TWO) == State("missing")


def test_scores_of_an_older_model_or_without_a_target_do_not_count(made):
    made.finish(UNET)
    made.score(UNET, model="o" * 16)
    age(made.results.run(UNET) / "scores.csv")
    assert state(made, UNET) == State("trained", "its scores are of an older model", 7200.0)
    made.score(UNET)
    (made.results.run(UNET) / "scores/two.csv").unlink()
    assert state(made, UNET) == State("trained", "not scored on two", 7200.0)


def test_changed_settings_are_seen_by_content(made):
    made.finish(UNET)
    file = made.results.run(UNET) / "settings.yaml"
    age(made.results.run(UNET) / "run.json")
    assert state(made, UNET).state == "done"  # younger, but it says the same
    file.write_text(file.read_text().replace("epochs: 10", "epochs: 11"))
    assert state(made, UNET).state == "changed"


def test_running_with_epoch_and_time_left(made):
    made.journal(UNET, steps=(0, 9, 19))
    made.alive(UNET)
    seen = state(made, UNET)
    # 20 of 100 steps in 19 seconds from step 0 to step 19: a second each, 80 to go
    assert (seen.state, seen.epoch, seen.epochs, seen.left) == ("running", 2, 10, 80.0)
    assert seen.seconds == 19.0


def test_stopped_failed_and_died_without_a_word(made):
    made.journal(UNET, status="KILLED", error="SIGTERM")
    assert state(made, UNET).note == "SIGTERM; nothing was saved, so it begins again"
    (made.results.run(UNET) / "resume").mkdir()
    (made.results.run(UNET) / "resume/state.ckpt").write_text("")
    assert state(made, UNET).note == "SIGTERM; goes on from its last state"
    made.journal(TWO, status="FAILED", error="ValueError: the loss\nis not finite")
    assert state(made, TWO).note == "ValueError: the loss is not finite"
    made.journal(OTHER)  # it has no end, and nobody lives
    assert state(made, OTHER).state == "stopped"
    words = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0"
    file = made.slurm(OTHER, "train", f"Building DAG of jobs...\n{words}\nTrying to restart\n")
    os.utime(file, (2e9, 2e9))
    seen = state(made, OTHER)
    assert (seen.state, seen.note, seen.log) == ("failed", words, str(file))


def test_a_row_that_slurm_ended_without_a_word(made, capsys):
    row_plan.write(made.results, {"row_one_unet_frozen_0": row_plan.Row([OTHER, UNET], [], [])})
    made.journal(OTHER)
    words = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0"
    file = made.results.slurm / "rule_row_one_unet_frozen_0" / "7.log"
    file.parent.mkdir(parents=True)
    file.write_text(f"Building DAG of jobs...\n{words}\n")
    os.utime(file, (2e9, 2e9))
    for path in (OTHER, UNET):
        seen = state(made, path)
        assert (seen.state, seen.note, seen.log) == ("failed", words, str(file))
    assert main(["log", UNET, "--results", str(made.results.root)]) == 0
    said = capsys.readouterr().out
    assert "row, as Slurm tells it, job 7" in said and words in said


def test_failed_before_the_first_line_of_a_journal(made):
    said = "segshift train: no results/data/one/manifest.json; run: segshift prepare one"
    log = made.log(UNET, "train", f"{said}\n")
    assert state(made, UNET) == State("failed", said, log=str(log))


def test_an_evaluation_that_failed(made):
    made.finish(UNET, scored=False)
    log = made.log(UNET, "evaluate", "one: test Dice 50.00\nsegshift evaluate: two is not prepared\n")
    assert state(made, UNET) == State(
        "failed", "segshift evaluate: two is not prepared", 7200.0, log=str(log)
    )


def test_an_evaluation_that_runs_under_a_workflow(made):
    made.finish(UNET, scored=False)
    made.log(UNET, "evaluate", "one: test Dice 50.00\n")
    assert state(made, UNET).state == "trained"
    (made.results.root / ".lock").write_text(f"process {os.getpid()} on {os.uname().nodename}")
    assert state(made, UNET) == State(
        "running", "is being scored", 7200.0, log=f"{made.results.run(UNET)}/evaluate.log"
    )
    (made.results.root / ".lock").write_text(f"process {2**22 + 1} on {os.uname().nodename}")
    assert state(made, UNET).state == "trained"


@pytest.mark.parametrize(
    ("word", "what", "said"),
    [("PENDING", "queued", "waits (pending)"), ("RUNNING", "running", "runs (running)")],
)
def test_what_slurm_has(made, word, what, said):
    job = slurm.Job("12", word, "adapt_one_unet_full_own_0_finetune_two")
    seen = state(made, ADAPTED, [job])
    assert (seen.state, seen.note) == (what, f"adapt: Slurm job 12 {said}")
    assert state(made, UNET, [job]).state == "missing"


def test_slurm_is_asked_only_where_jobs_were_submitted_and_never_long(made, monkeypatch):
    monkeypatch.setattr(slurm, "jobs", lambda folder: [slurm.Job("1", "RUNNING", str(folder))])
    assert workflows.jobs(made.results) == ([], "")
    made.results.slurm.mkdir(parents=True)
    assert workflows.jobs(made.results)[0][0].about == str(made.results.root.resolve().parent)

    def refuses(folder):
        raise SegShiftError("Slurm cannot say which jobs of this folder run: down")

    monkeypatch.setattr(slurm, "jobs", refuses)
    assert workflows.jobs(made.results) == ([], "Slurm cannot say which jobs of this folder run: down")


def test_planned_and_left_out(made):
    content = {"module": "nothing_yet", "planned": True, "image_size": 32}
    config = {"unet": {"module": "unet", "image_size": 32}, "other": content}
    made.write("backbones", config)
    assert state(made, OTHER) == State("planned", "backbone other planned")


# ---- what is printed ---------------------------------------------------------------------------------------


def test_the_whole_grid_as_text_and_as_json(made, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made.prepare()
    made.finish(UNET)
    made.journal(TWO, status="FAILED", error="out of memory")
    made.log(TWO, "train", "out of memory\n")
    assert made.run("status") == 0
    said = capsys.readouterr().out
    assert "shift: Shift\n         one  two\n  unet   #    F\n  other  .    .\n" in said
    assert "adapted: Adapted\n        one\n  unet  #.\n" in said
    assert "  1 done, 1 failed, 2 missing\n" in said
    assert (
        f"\nfailed\n  {TWO}: epoch 2 of 10, out of memory\n    log: {made.results.run(TWO)}/train.log\n"
        in said
    )
    assert "not in all, see segshift status NAME: aside" in said
    assert "all: 5 cells, 1 done, 1 failed, 3 missing" in said
    # One finished cell: 7200 s for 100 slices × 10 epochs, 7.2 s each. To go, of those that learn from a
    # source: 50 × 10 + 100 × 20 + 50 × 20 = 3500, so 7 hours; nothing is known of adaptation.
    assert "2.0 device-hours spent, about 7.0 to go, and 1 cells of unknown cost (segshift plan)" in said
    assert made.run("status", "shift", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"done": 1, "failed": 1, "missing": 2}
    (failed,) = [one for one in content["experiments"]["shift"]["cells"] if one["state"] == "failed"]
    assert (failed["cell"], failed["note"], failed["epoch"]) == (TWO, "out of memory", 2)
    assert content["spent_seconds"] == 7200 + 19 and content["to_go"]["seconds"] == 25200
    assert made.run("status", "shft") == 1
    assert "unknown experiment 'shft'; did you mean 'shift'?" in capsys.readouterr().err


def test_a_narrow_terminal_puts_columns_below_each_other():
    model = Model("", "backbone_of_a_long_name", "full", "own", 0)
    cells = {
        model._replace(source=f"dataset_{n}", head=head): State("done") for n in "abc" for head in ("x", "y")
    }
    wide = list(matrix.lines(cells, 100))
    assert wide[0].split() == ["dataset_a", "dataset_b", "dataset_c"] and len(wide) == 3
    narrow = list(matrix.lines(cells, 30))
    assert max(map(len, narrow)) <= 30
    assert [word for line in narrow for word in line.split() if word.startswith("dataset")] == wide[0].split()
    assert [line.split()[0] for line in narrow if "#" in line] == ["x", "y"] * 2
    tiny = list(matrix.lines(cells, 16))
    assert sum("#" in line for line in tiny) == 6
    assert all("\033[32m#\033[0m" in line for line in list(matrix.lines(cells, 100, colour=True))[1:])


def test_a_cell_that_one_experiment_leaves_out_is_in_the_state_of_the_other(made):
    seen = overview.look(made.grid, made.results, [])
    model = Model.parse(UNET)
    seen.experiments = {"a": {model: State("left out", "seen")}, "b": {model: State("done")}}
    assert seen.cells == {model: State("done")}


def test_digests_of_code_are_remembered_and_renewed(made, monkeypatch):
    made.finish(UNET)
    first = States(made.grid, made.results)
    assert first.of(Model.parse(UNET)).state == "done"
    first.code.remember()
    again = States(made.grid, made.results)
    assert again.code.known == first.code.known and again.code.known
    monkeypatch.setattr("segshift.steering.code._stamp", lambda package: "another day")
    assert States(made.grid, made.results).code.known == {}


@pytest.mark.parametrize("how", ["by a process", "by Slurm"])
def test_a_changed_model_that_is_trained_again_in_a_row_is_still_to_do(made, monkeypatch, how):
    """A row leaves its old record in place until its own job takes it."""
    made.prepare()
    for path in (UNET, TWO, OTHER):
        made.finish(path)
    made.write("training", [{"use": {"learning_rate": 0.02, "epochs": 10, "batch_size": 2}}])
    for path in (UNET, TWO, OTHER):
        age(made.results.run(path) / "run.json")
    grid.write_settings(made.grid, made.results)
    if how == "by Slurm":
        row_plan.write(made.results, {"row_one": row_plan.Row([UNET, TWO], [], [])})
        monkeypatch.setattr(workflows, "jobs", lambda results: ([slurm.Job("1", "PENDING", "row_one")], ""))
    else:
        made.alive(UNET)
        made.alive(TWO)
    seen = overview.look(made.grid, made.results, ["shift"])
    states = {model.path: state.state for model, state in seen.cells.items()}
    assert states[UNET] == states[TWO] == ("queued" if how == "by Slurm" else "running")
    assert states[OTHER] == "changed"
    assert {UNET, TWO, OTHER, TWO_OTHER} == {model.path for model in seen.to_do}


def test_one_that_is_trained_again_for_its_data_is_to_do_and_one_that_is_scored_again_is_not(
    made, monkeypatch
):
    made.prepare()
    for path in (UNET, TWO):
        made.finish(path)
    made.alive(TWO)
    job = slurm.Job("1", "RUNNING", f"evaluate_{UNET.replace('/', '_')}")
    monkeypatch.setattr(workflows, "jobs", lambda results: ([job], ""))
    seen = overview.look(made.grid, made.results, ["shift"])
    assert seen.cells[Model.parse(UNET)].state == "running"
    assert {TWO, OTHER, TWO_OTHER} == {model.path for model in seen.to_do}
    assert UNET in {one.model.path for one in seen.to_score}
