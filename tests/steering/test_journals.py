"""A glance at journals, from their ends alone."""

import pytest

from segshift.steering.journals import glance, without_end
from segshift.tracking import Journal


def attempt(folder, status=None, error=None):
    journal = Journal(folder)
    journal.start("first", {"steps": 100, "epochs": 10}, {})
    journal.log(49, {"train/loss": 1.0})
    if status:
        journal.end(status, error)
    return journal.file


@pytest.mark.parametrize("length", [10, 5_000, 8_192, 50_000])
def test_however_long_an_error_is(tmp_path, length):
    """Every missing, unexpected and misshaped key of a checkpoint may stand there."""
    file = attempt(tmp_path, "FAILED", "k" * length)
    seen = glance(tmp_path)
    assert (seen.status, len(seen.error), seen.epoch) == ("FAILED", length, 5)
    with file.open("a") as stream:
        stream.write('{"torn": ' + "x" * length)
    assert glance(tmp_path) == seen


def test_attempts_without_an_end(tmp_path):
    assert without_end(tmp_path, 3) == 0
    attempt(tmp_path)
    assert without_end(tmp_path, 3) == 1
    attempt(tmp_path, "KILLED", "k" * 20_000)
    assert without_end(tmp_path, 3) == 0
    for number in (1, 2, 3):
        attempt(tmp_path)
        assert without_end(tmp_path, 3) == number
    attempt(tmp_path)
    assert without_end(tmp_path, 3) == 3
    (tmp_path / "journal" / "999.jsonl").touch()  # died before the first line
    assert without_end(tmp_path, 9) == 5
    (tmp_path / "journal" / "1000.jsonl").write_text("half a li{\n")
    assert without_end(tmp_path, 9) == 6
    attempt(tmp_path, "FINISHED")
    assert without_end(tmp_path, 9) == 0
