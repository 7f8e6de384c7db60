import json
import os
import random

import pytest

from segshift import scores, summaries
from segshift.errors import SegShiftError
from segshift.scores import Row


@pytest.fixture
def file(tmp_path):
    """Scores of two targets with every kind of row, volumes and classes in no order."""
    draw, rows = random.Random(1), []
    for target in ("one", "two"):
        for split in scores.SPLITS:
            for checkpoint in ("model", "lowest_loss"):
                for volume in range(7):
                    one = (target, split, checkpoint, f"v{volume}", f"p{volume // 2}")
                    for name in ("gray", "white", "none"):
                        dice = None if name == "none" or volume == 3 else 100 * draw.random()
                        rows.append(Row(*one, name, 1, 2, 3, dice, dice, None, "m" * 16, "d" * 16))
                    rows.append(Row(*one, "all", None, None, None, None, None, 0.5, "m" * 16, "d" * 16))
    draw.shuffle(rows)
    scores.write(tmp_path / "scores.csv", rows)
    return tmp_path / "scores.csv"


def test_dice_is_that_of_all_rows_to_the_bit(file):
    rows, summary = scores.read(file), summaries.read(file)
    assert set(summary.targets) == set(scores.targets(rows))
    for target in ("one", "two"):
        assert summary.dice(target) == scores.dice(rows, target, "test")
        assert [name for name, _, _ in summary.targets[target]] == scores.volumes(rows, target, "test")
        assert {(name, patient) for name, patient, _ in summary.targets[target]} == {
            (f"v{n}", f"p{n // 2}") for n in range(7) if n != 3
        }
    assert summary.models == ["m" * 16]


def test_a_file_is_read_again_only_when_it_changed(file, tmp_path, monkeypatch):
    read = []
    whole = summaries.read
    monkeypatch.setattr(summaries, "read", lambda one: read.append(one) or whole(one))
    memory = summaries.Memory(tmp_path / "memory.json")
    first = memory.read(file, "a")
    memory.write()
    again = summaries.Memory(tmp_path / "memory.json")
    assert again.read(file, "a").dice("one") == first.dice("one")
    assert len(read) == 1
    file.write_text(file.read_text().replace("lowest_loss", "lowest_lost"))
    again.read(file, "a")
    assert len(read) == 1 + 1
    os.utime(file, ns=(1, 1))
    again.read(file, "a")
    assert len(read) == 1 + 2


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"version": 0, "files": {"a": 1}})])
def test_a_memory_that_is_broken_or_older_is_forgotten(file, tmp_path, content):
    (tmp_path / "memory.json").write_text(content)
    memory = summaries.Memory(tmp_path / "memory.json")
    assert memory.read(file, "a").models == ["m" * 16]
    memory.write()
    assert summaries.Memory(tmp_path / "memory.json").known.keys() == {"a"}


def test_what_two_processes_read_is_kept_of_both(file, tmp_path):
    one, other = (summaries.Memory(tmp_path / "memory.json") for _ in range(2))
    one.read(file, "a")
    other.read(file, "b")
    one.write()
    other.write()
    assert summaries.Memory(tmp_path / "memory.json").known.keys() == {"a", "b"}


def test_mistakes_name_the_line(file, tmp_path):
    lines = file.read_text().splitlines()
    at = next(
        i
        for i, line in enumerate(lines)
        if ",test,model," in line and ",gray," in line and ",v3," not in line
    )
    cells = lines[at].split(",")
    cells[scores.COLUMNS.index("dice")] = "much"
    file.write_text("\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]))
    with pytest.raises(
        SegShiftError, match=rf"scores\.csv: line {at + 1}: dice is 'much', which is no number"
    ):
        summaries.read(file)
    file.write_text("\n".join([*lines[:5], "one,test"]))
    with pytest.raises(SegShiftError, match=r"line 6 has 2 cells"):
        summaries.read(file)
    with pytest.raises(SegShiftError, match="is missing"):
        summaries.read(tmp_path / "nothing.csv")
