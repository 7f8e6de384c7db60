"""`segshift why` and `segshift log`: evidence for one cell."""

import json
import os
import re

import yaml

from segshift.grid import Model
from segshift.steering import reasons
from segshift.steering.differences import Difference, differences

UNET, TWO = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{UNET}/finetune/two"


def why(made, capsys, *cells):
    assert made.run("why", *cells) == 0
    return capsys.readouterr().out


def training(made, path):
    return reasons.of_training(made.grid, made.results, Model.parse(path))


def edit(file, **more):
    """Change what a JSON file says."""
    file.write_text(json.dumps(json.loads(file.read_text()) | more))


def test_nothing_to_do(made, capsys):
    made.prepare()
    made.finish(UNET)
    made.finish(ADAPTED)
    said = why(made, capsys, UNET, ADAPTED)
    assert f"{UNET}: done\ntrain: not again, nothing that decides it has changed\n" in said
    assert f"{ADAPTED}: done\nadapt: not again" in said
    assert said.count("evaluate: not again, all targets are scored, with this model and this data") == 2
    assert f"{TWO}: missing\ntrain: for the first time\nevaluate: after it\n" == why(made, capsys, TWO)


def test_a_changed_setting_old_and_new_side_by_side(made, capsys):
    made.prepare()
    made.finish(UNET)
    made.finish(ADAPTED)
    training = yaml.safe_load((made.config / "training.yaml").read_text())
    training.append({"where": {"adapt": "none"}, "use": {"learning_rate": 0.02, "loss": "dice"}})
    made.write("training", training)
    said = why(made, capsys, UNET, ADAPTED)
    assert re.search(r"training\.learning_rate \(entry 3 of training\.yaml\) +0\.01 +0\.02\n", said)
    assert re.search(r"training\.loss \(entry 3 of training\.yaml\) +not set +dice\n", said)
    first, second = said.split("\n\n")
    assert "train: again\n" in first and "evaluate: after it" in first
    # The adapted model's own settings are as they were; what it starts from is not.
    assert f"the model that it starts from: segshift why {UNET}" in second and "0.02" not in second


def test_lost_files_data_weights_and_code(made):
    made.prepare()
    made.finish(UNET, versions={"numpy": "0.1", "cuda": "9"}, code="c" * 16)
    (made.results.run(UNET) / "lowest_loss.ckpt").unlink()
    edit(made.results.data("one") / "manifest.json", sha256="f" * 64)
    found = {one.what: one for one in training(made, UNET)}
    assert found["lowest_loss.ckpt"][2:] == ("made", "missing")
    assert found["data of one"] == ("refused", "data of one", ("one" * 21)[:16], "f" * 16)
    assert found["code"].effect == "kept" and found["code"].then == "c" * 16
    assert found["version of numpy"].effect == "kept" and found["version of numpy"].then == "0.1"
    assert "version of cuda" not in found
    (made.results.data("one") / "manifest.json").unlink()
    found = {one.what: one for one in training(made, UNET)}
    assert found["data of one"].now == "not there: segshift prepare one"
    (made.results.run(UNET) / "run.json").write_text("{")
    assert "is no record of a training" in {one.what: one for one in training(made, UNET)}["run.json"].now


def test_code_that_is_younger_than_the_model_is_named(made, monkeypatch):
    made.finish(UNET, code="c" * 16, ended=2_000_000_000_000)
    first = reasons.code_files(made.grid.settings(Model.parse(UNET)))[0]
    real = type(first).stat

    def stat(self, **more):
        status = real(self, **more)
        return os.stat_result([*status[:8], 2_000_000_001, *status[9:10]]) if self == first else status

    monkeypatch.setattr(type(first), "stat", stat)
    said = [one for one in training(made, UNET) if one.what.startswith("code: of")]
    assert [one.now for one in said] == [first.name]


def test_an_entry_of_a_dataset_that_changed(made, capsys):
    made.prepare()
    made.finish(UNET)
    made.finish(TWO)
    datasets = yaml.safe_load((made.config / "datasets.yaml").read_text())
    datasets["two"]["version"] = 2
    made.write("datasets", datasets)
    said = why(made, capsys, TWO)
    assert re.search(r"entry of two in datasets\.yaml +as prepared +changed", said)
    assert re.search(r"target\.version|source\.version +not set +2\n", said)
    said = why(made, capsys, UNET)
    assert "train: not again" in said
    assert re.search(r"evaluate: again\n.*\n +scores on two: entry of two +as prepared +changed\n", said)


def test_scores_target_by_target(made, capsys):
    made.prepare()
    made.finish(UNET)
    made.score(UNET, model="o" * 16, two="d" * 16)
    (made.results.run(UNET) / "scores/one.csv").unlink()
    project = yaml.safe_load((made.config / "project.yaml").read_text())
    made.write("project", project | {"evaluation": {"metrics": ["hd95"], "spaces": ["native"]}})
    said = why(made, capsys, UNET)
    assert re.search(r"scores on one +none +asked for\n", said)
    assert re.search(rf"scores on two: model +{'o' * 16} +{'m' * 16}\n", said)
    assert re.search(rf"scores on two: data +{'d' * 16} +{('two' * 21)[:16]}\n", said)
    assert re.search(r"scores on two: hd95 +not computed +asked for\n", said)
    assert re.search(r"scores on two: space native +not computed +asked for\n", said)


def test_what_an_adapted_model_starts_from(made):
    made.prepare()
    made.finish(UNET)
    made.finish(ADAPTED, start="s" * 16)
    (one,) = [one for one in training(made, ADAPTED) if one.effect == "again"]
    assert (one.then, one.now) == ("s" * 16, "m" * 16)


def test_weights_that_are_not_those_of_then(made, capsys):
    made.write("weights", {"w": {"file": "w.pth", "sha256": "b" * 64, "licence": "MIT", "pretrained_on": {}}})
    made.write(
        "backbones",
        {
            "unet": {"module": "unet", "image_size": 32},
            "other": {"module": "timm", "image_size": 32, "model": "resnet18", "weights": "w"},
        },
    )
    path = "one/other/full/own/0"
    made.prepare()
    made.finish(path, files={"w": "a" * 64})
    found = [one for one in training(made, path) if one.what == "weights w"]
    assert found == [("refused", "weights w", "a" * 16, "b" * 16)]


def test_differences_by_hand():
    then = {"a": 1, "b": {"c": [1, 2], "d": None}, "labels": {"1": "x"}}
    now = {"a": 1, "b": {"c": (1, 2), "e": "text"}, "labels": {1: "y"}}
    assert list(differences(then, now)) == [
        Difference("b.d", "null", "not set"),
        Difference("b.e", "not set", "text"),
        Difference("labels.1", "x", "y"),
    ]
    assert next(differences({"a": "x" * 99}, {"a": 1})).then == "x" * 59 + "…"


def test_no_cell_and_one_that_nobody_asks_for(made, capsys):
    assert made.run("why", "one/unet") == 1
    assert "is no cell" in capsys.readouterr().err
    assert "no experiment asks for it" in why(made, capsys, "one/unet/full/own/7")


# ---- logs --------------------------------------------------------------------------------------------------


def log(made, capsys, *words):
    from segshift.cli import main

    assert main(["log", *words, "--results", str(made.results.root)]) == 0
    return capsys.readouterr().out


def test_the_newest_log_and_its_end(made, capsys):
    file = made.log(UNET, "train", "one\ntwo\nthree\n")
    made.log(UNET, "evaluate", "scored\n")
    os.utime(file, (1, 1))
    said = log(made, capsys, UNET)
    assert said == f"==> evaluate, newest attempt: {made.results.run(UNET)}/evaluate.log\nscored\n"
    said = log(made, capsys, UNET, "--all", "-n", "2")
    assert (
        f"==> train, newest attempt: {file}\ntwo\nthree\n==>" in said
        and "one" not in said.split(str(file))[1][:9]
    )


def test_slurms_word_where_the_job_had_none(made, capsys):
    made.log(UNET, "train", "epoch 1 of 10\n")
    made.journal(UNET)
    older = made.slurm(UNET, "train", "older\n", job=7)
    os.utime(older, (1, 1))
    made.slurm(UNET, "train", "slurmstepd: error: *** JOB 8 CANCELLED AT now DUE TO TIME LIMIT ***\n", job=8)
    said = log(made, capsys, UNET)
    assert "epoch 1 of 10\n==> train, as Slurm tells it, job 8:" in said
    assert "DUE TO TIME LIMIT" in said and "older" not in said
    assert "==> its last training has written no last word\n" in said
    made.journal(UNET, status="FAILED", error="ValueError: no")
    assert "Slurm" not in (said := log(made, capsys, UNET))
    assert "==> its last training failed: ValueError: no\n" in said


def test_a_log_that_slurm_alone_has(made, capsys):
    file = made.slurm(ADAPTED, "adapt", "node failure\n")
    assert log(made, capsys, ADAPTED) == f"==> adapt, as Slurm tells it, job 7: {file}\nnode failure\n"


def test_no_log(made, capsys):
    from segshift.cli import main

    assert main(["log", UNET, "--results", str(made.results.root)]) == 1
    assert f"has no log; segshift why {UNET} says what is known" in capsys.readouterr().err


def test_to_follow_a_log_is_tails_work(made, monkeypatch):
    file = made.log(UNET, "train", "one\n")
    called = []
    monkeypatch.setattr(os, "execvp", lambda *words: called.append(words))
    from segshift.cli import main

    main(["log", UNET, "--follow", "--results", str(made.results.root)])
    assert called == [("tail", ["tail", "-n", "0", "-F", str(file)])]
