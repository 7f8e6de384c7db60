"""`segshift rerun`: which cells are meant, what follows from them, who is asked."""

import json
import re
import sys

import pytest

UNET, OTHER = "one/unet/full/own/0", "one/other/full/own/0"
TWO, TWO_OTHER = "two/unet/full/own/0", "two/other/full/own/0"
ADAPTED = f"{UNET}/finetune/two"


@pytest.fixture
def finished(made):
    for path in (UNET, OTHER, TWO, ADAPTED):
        made.finish(path)
        made.journal(path, status="FINISHED")
    return made


def there(made):
    return {path for path in (UNET, OTHER, TWO, ADAPTED) if (made.results.run(path) / "model.ckpt").exists()}


def test_what_follows_is_listed_first_and_not_touched(finished, capsys):
    assert finished.run("rerun", UNET) == 0
    said = capsys.readouterr().out
    assert said == (
        f"to be made again: 1\n  {UNET}\nadapted from them, so made again as well: 1\n  {ADAPTED}\n"
        f"tables that show them: shift, adapted\n{UNET}: forgotten; `snakemake` makes it again\n"
    )
    assert there(finished) == {OTHER, TWO, ADAPTED}
    left = sorted(file.name for file in finished.results.run(UNET).iterdir())
    assert left == ["finetune", "journal", "resume", "settings.yaml"]


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("one/*/full", {UNET, OTHER}),
        ("*/unet/*", {UNET, TWO}),
        ("one/unet/full/own/0/*", {ADAPTED}),
        ("*/*/*/*/*/fine*/two", {ADAPTED}),
        ("results/runs/[ot]*/other", {OTHER}),  # of two/other there is nothing to forget
    ],
)
def test_patterns(finished, pattern, gone):
    assert finished.run("rerun", pattern, "--yes") == 0
    assert {UNET, OTHER, TWO, ADAPTED} - there(finished) == gone


def test_a_pattern_that_fits_nothing(finished, capsys):
    assert finished.run("rerun", "three/*", UNET, "--yes") == 1
    assert "no cell of the experiments is as three/*" in capsys.readouterr().err
    assert there(finished) == {UNET, OTHER, TWO, ADAPTED}


def test_many_are_asked_about(finished, capsys, monkeypatch):
    assert finished.run("rerun", "one/*") == 1
    assert "nobody is here to be asked; say --yes" in capsys.readouterr().err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    asked = []
    for answer, left in (("n", 4), ("", 4), ("y", 2)):
        monkeypatch.setattr("builtins.input", lambda text, answer=answer: asked.append(text) or answer)
        assert finished.run("rerun", "one/*") == 0
        assert len(there(finished)) == left
    assert set(asked) == {"Forget these 2? [y/N] "}


def test_one_that_is_being_trained_stops_all(finished, capsys):
    finished.alive(TWO)
    assert finished.run("rerun", UNET, TWO) == 1
    assert re.search(rf"{TWO} is being trained; nothing was forgotten", capsys.readouterr().err)
    assert there(finished) == {UNET, OTHER, TWO, ADAPTED}


def test_outdated_ones_each_once(finished, capsys):
    file = finished.results.run(OTHER) / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"code": "of another day"}))
    assert finished.run("rerun", OTHER, "--outdated", "--yes") == 0
    said = capsys.readouterr().out
    assert said.count(f"{OTHER}: forgotten") == 1 and "to be made again: 1\n" in said
    assert there(finished) == {UNET, TWO, ADAPTED}
    assert finished.run("rerun", "--outdated", "--yes") == 0
    assert capsys.readouterr().out == "nothing to forget\n"
