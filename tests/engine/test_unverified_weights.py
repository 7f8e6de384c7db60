"""Models built from a weights file whose entry has no sha256: the recorded one is held."""

import json

import pytest
import torch

from segshift import records
from segshift.errors import SegShiftError
from segshift.settings import digest, read_settings
from segshift.stages import evaluate
from segshift.weights import sha256

CELL = "a/vit/frozen/linear_last/0"
UNKNOWN = {"weights": {"tiny": None}}


@pytest.fixture
def unverified(project):
    """A project with a copy of the weights, so that they can be changed, and their record."""
    content = project.results.weights("tiny").read_bytes()
    (project.root / "weights").unlink()
    (project.root / "weights").mkdir()
    project.results.weights("tiny").write_bytes(content)
    records.write(project.results, "tiny", sha256(project.results.weights("tiny")))
    project.add(CELL, training={"epochs": 1}, **UNKNOWN)
    return project


def score(project):
    evaluate.run(CELL, ["b"], str(project.root), device="cpu")


def test_what_was_recorded_stands_in_the_record_of_the_training_and_not_in_its_settings(unverified):
    assert unverified.fit(CELL) == 0
    record = json.loads((unverified.folder(CELL) / "run.json").read_text())
    assert record["files"] == {"tiny": records.read(unverified.results, "tiny")}
    assert record["configuration"]["weights"] == {"tiny": None}
    assert record["settings"] == digest(read_settings(unverified.folder(CELL)))
    score(unverified)


def test_without_a_record_nothing_is_built(unverified):
    records.write(unverified.results, "tiny", None)
    with pytest.raises(SegShiftError, match="tiny has no recorded sha256, nor has its entry.*fetch tiny"):
        unverified.fit(CELL)


def test_another_file_under_the_same_name_is_refused(unverified):
    torch.save({}, unverified.results.weights("tiny"))
    with pytest.raises(
        SegShiftError, match="has sha256 .*, what was fetched first had .*: segshift fetch tiny"
    ):
        unverified.fit(CELL)


def test_a_model_is_never_completed_with_other_weights_than_its_own(unverified, capsys):
    """Its checkpoint holds the head alone; the record and the file were replaced since."""
    assert unverified.fit(CELL) == 0
    other = torch.load(unverified.results.weights("tiny"), weights_only=True)
    other["norm.bias"] += 1
    torch.save(other, unverified.results.weights("tiny"))
    records.write(unverified.results, "tiny", sha256(unverified.results.weights("tiny")))
    with pytest.raises(SegShiftError, match=f"{CELL} was trained with other weights tiny .*segshift rerun"):
        score(unverified)
    records.write(unverified.results, "tiny", None)
    unverified.results.weights("tiny").unlink()
    capsys.readouterr()
    assert unverified.fit(CELL) == 0  # finished is finished, though the file is gone
    assert "is finished" in capsys.readouterr().out
