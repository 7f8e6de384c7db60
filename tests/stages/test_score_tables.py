"""Models of which only masks are known: tracked, ranked, and marked where leakage was not looked for."""

import json
import shutil

import numpy as np
import pytest
from tests.stages.masks_of_others import changed, exported, say

from segshift.errors import SegShiftError
from segshift.stages import plan, score, status, tabulate, track


def test_no_other_verb_takes_them_for_ours(made, capsys):
    say(made, "score", exported(made) / "labelsTs", "--dataset", "one", "--name", "blurred")
    cell = "one/blurred/external/external/0"
    for verb in ("evaluate", "rerun"):
        say(made, verb, cell, code=1)
        assert "was made by another tool" in capsys.readouterr().err
    say(made, "why", cell)
    assert "another tool made it: nothing makes it again here" in capsys.readouterr().out
    assert (made.results.run(cell) / "run.json").exists()
    say(made, "import-runs", made.config / "no.csv", "--origin", "external", code=1)
    assert "that of segshift score" in capsys.readouterr().err


def test_external_models_are_tracked_and_ranked_like_others(made, tmp_path, capsys):
    shutil.rmtree(made.results.run("one/nnunet_2d"), ignore_errors=True)
    track.run(made.config, made.results)
    with pytest.raises(
        SegShiftError, match=r"nnunet_2d.* on one \(its masks are not scored yet: segshift score"
    ):
        tabulate.run(made.config, made.results, "shift")
    for name, axis in (("nnunet_2d", None), ("blurred", 1)):
        for dataset in ("one", "two"):
            labels = exported(made, dataset) / "labelsTs"
            change = np.array if axis is None else lambda array: np.roll(array, 1, axis=1)
            masks = changed(labels, tmp_path / name / dataset, change)
            say(made, "score", masks, "--dataset", dataset, "--name", name, "--source", "one")
    assert "no experiment shows it" not in capsys.readouterr().out
    track.run(made.config, made.results)
    table = tabulate.run(made.config, made.results, "shift")
    assert table.column("backbone") == ["nnunet_2d", "blurred"]
    assert table.column("trainable") == [30_600_000, None]
    assert table.column("ov")[0].value == 100
    assert [number.value for number in table.column("ranks")] == [1, 2]
    assert "cannot be told" not in (made.results.tables / "shift.md").read_text()
    assert "pretrained on is unknown" in (made.results.tables / "shift.md").read_text()
    tags = dict(made.sql("select key, value from tags where key in ('origin', 'segshift.superseded')"))
    assert tags == {"origin": "external", "segshift.superseded": "false"}
    status.run(made.config, made.results, ["shift"])
    assert "2 done" in capsys.readouterr().out
    say(made, "cells", "shift")
    assert "2 done" in capsys.readouterr().out
    say(made, "report")
    assert "nnunet_2d" in made.results.report.read_text()
    before = made.points()
    say(
        made,
        "score",
        tmp_path / "blurred" / "two",
        "--dataset",
        "two",
        "--name",
        "blurred",
        "--source",
        "one",
    )
    track.run(made.config, made.results)
    assert made.points() == before  # the same masks again change nothing


def test_leakage_that_could_not_be_looked_for_is_asked_for_and_said(made, tmp_path, capsys):
    """Without its source nobody knows which patients a model was trained on."""
    labels = exported(made, "two") / "labelsTs"
    for name in ("nnunet_2d", "blurred"):
        score.run(made.config, made.results, exported(made) / "labelsTs", "one", name)
        score.run(made.config, made.results, labels, "two", name, source="one")
    manifest = made.results.data("one") / "manifest.json"
    away = manifest.rename(tmp_path / "manifest.json")
    words = ("score", labels, "--dataset", "two", "--name", "nnunet_2d", "--source", "one")
    try:
        capsys.readouterr()
        say(made, *words, code=1)
        assert "one is not prepared here" in (said := capsys.readouterr().err) and "--unchecked" in said
        say(made, *words, "--unchecked")
    finally:
        away.rename(manifest)
    record = json.loads((made.results.run("one/nnunet_2d/external/external/0") / "run.json").read_text())
    assert record["leakage_checked"] == ["one"]
    track.run(made.config, made.results)
    capsys.readouterr()
    table = tabulate.run(made.config, made.results, "shift")
    marked = {
        (row.axes["backbone"], key)
        for row in table.rows
        for key, notes in row.notes.items()
        if any("leakage" in note for note in notes)
    }
    assert marked == {("nnunet_2d", "dg"), ("nnunet_2d", "ov")}
    told = "Not checked for leakage, so test patients may be among those that the model was trained on: "
    told += "one/nnunet_2d/external/external/0 on two."
    for ending, text in (("md", told), ("html", told), ("tex", told.partition(":")[0])):
        assert text in (made.results.tables / f"shift.{ending}").read_text(), ending
    say(made, "compare", "nnunet_2d/external/external", "blurred/external/external", "--paragraph")
    assert told in capsys.readouterr().out
    say(made, *words)  # with the source the mark goes
    track.run(made.config, made.results)
    assert not any("leakage" in remark for remark in tabulate.run(made.config, made.results, "shift").remarks)


def test_a_patient_that_the_source_trains_on_stops_it_with_or_without_the_option(made):
    manifest = made.results.data("one") / "manifest.json"
    before = manifest.read_text()
    content = json.loads(before)
    content["splits"]["train"]["volumes"][1]["patient"] = content["splits"]["test"]["volumes"][2]["patient"]
    manifest.write_text(json.dumps(content))
    try:
        for unchecked in (False, True):
            with pytest.raises(SegShiftError, match=r"patient one:s0_test2 is in the train split of one, .*"):
                score.run(
                    made.config, made.results, exported(made) / "labelsTs", "one", "seen", unchecked=unchecked
                )
    finally:
        manifest.write_text(before)
    assert not made.results.run("one/seen").exists()


def test_masks_that_were_scored_before_their_dataset_changed_are_in_no_table(made, capsys):
    """No job scores them again, so old test volumes would stand beside new ones."""
    score.run(made.config, made.results, exported(made) / "labelsTs", "one", "nnunet_2d", source="one")
    cell = made.results.run("one/nnunet_2d/external/external/0")
    file = made.results.data("one") / "manifest.json"
    before = file.read_text()
    file.write_text(before.replace(json.loads(before)["sha256"], "0" * 64))
    try:
        track.run(made.config, made.results)
        with pytest.raises(SegShiftError, match="its masks were scored before one changed: segshift score"):
            tabulate.run(made.config, made.results, "shift")
        capsys.readouterr()
        status.run(made.config, made.results, [], as_json=True)
        (known,) = [
            one
            for one in json.loads(capsys.readouterr().out)["experiments"]["shift"]["cells"]
            if one["cell"] == "one/nnunet_2d/external/external/0"
        ]
        assert known["state"] == "changed" and "scored before one changed" in known["note"]
        plan.run(made.config, made.results, ["shift"], as_json=True)
        priced = json.loads(capsys.readouterr().out)  # no job makes it
        assert priced["cells"] == priced["scorings"] == []
    finally:
        file.write_text(before)
    assert json.loads((cell / "run.json").read_text())["scored"]["one"] == json.loads(before)["sha256"]


@pytest.mark.parametrize("verb", ["settings", "parameters"])
def test_nothing_is_said_of_settings_that_nobody_knows(made, capsys, verb):
    say(made, verb, "one/nnunet_2d/external/external/0", code=1)
    assert "was made by another tool: nothing is known of its settings" in capsys.readouterr().err
