from dataclasses import replace

import pytest

from segshift import scores
from segshift.errors import SegShiftError
from segshift.scores import Row


def row(volume, class_, dice, target="two", split="test", checkpoint="model", loss=None):
    return Row(target, split, checkpoint, volume, f"p{volume}", class_, 1, 2, 3, dice, dice, loss, "m", "d")


def test_rows_read_back_to_the_last_bit(tmp_path):
    rows = [row("v", "gray", 100 / 3), row("v", "white", None), row("v", "all", None, loss=0.1 + 0.2)]
    scores.write(tmp_path / "s.csv", rows)
    assert scores.read(tmp_path / "s.csv") == rows
    text = (tmp_path / "s.csv").read_text()
    assert text.startswith("target,split,checkpoint,volume,patient,class,tp,fp,fn,dice,iou,loss,model,data\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "s.csv"]


def test_columns_are_there_where_a_row_has_something_to_say(tmp_path):
    """And read back, with what is empty in other rows."""
    plain = row("v", "gray", 50.0)
    measured = replace(plain, hd95=1 / 3, nsd=None, tolerance=1.0, missed=99.5)
    rows = [measured, replace(plain, space="native"), row("v", "all", None, loss=0.5)]
    scores.write(tmp_path / "s.csv", rows)
    assert scores.read(tmp_path / "s.csv") == rows
    header = (tmp_path / "s.csv").read_text().split("\n", 1)[0]
    assert header == ",".join([*scores.COLUMNS, "space", "hd95", "tolerance", "missed"])
    text = (tmp_path / "s.csv").read_text()
    (tmp_path / "s.csv").write_text(text.replace("space,hd95", "hd95,space"))
    with pytest.raises(SegShiftError, match="its columns are .*hd95,? space"):
        scores.read(tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("counts", "skip", "truth_only", "one"),
    [
        ((3, 1, 2), 100 * 6 / 9, 100 * 6 / 9, 70.0),
        ((0, 0, 0), None, None, 100.0),
        ((0, 4, 0), 0.0, None, 20.0),
        ((0, 0, 4), 0.0, 0.0, 20.0),
    ],
)
def test_rules_for_absent_classes(counts, skip, truth_only, one):
    dice = None if counts == (0, 0, 0) else 200 * counts[0] / (2 * counts[0] + counts[1] + counts[2])
    found = replace(row("v", "gray", dice), tp=counts[0], fp=counts[1], fn=counts[2])
    assert [scores.value(found, "dice", absent) for absent in ("skip", "truth_only", "one")] == [
        skip,
        truth_only,
        one,
    ]


def test_dice_is_the_mean_over_classes_then_over_volumes():
    rows = [row("a", "gray", 40.0), row("a", "white", None), row("b", "gray", 50.0), row("b", "white", 70.0)]
    rows += [row("c", "gray", None), row("c", "white", None), row("a", "all", None, loss=1.0)]
    rows += [row("a", "gray", 1.0, target="one"), row("a", "gray", 2.0, split="validation")]
    rows += [row("a", "gray", 3.0, checkpoint="last")]
    assert scores.dice(rows, "two", "test") == 50.0  # (40 + 60) / 2, not (40 + 50 + 70) / 3
    assert scores.dice(rows, "two", "test", "last") == 3.0
    assert scores.volumes(rows, "two", "test") == ["a", "b"]
    assert scores.targets(rows) == ["two", "one"]


def test_dice_does_not_depend_on_the_order():
    rows = [row(f"v{n}", "gray", 100 / (n + 1)) for n in range(200)]
    assert scores.dice(rows, "two", "test") == scores.dice(rows[::-1], "two", "test")


def test_no_dice_is_an_error():
    with pytest.raises(SegShiftError, match="no Dice of checkpoint model on the test volumes of two"):
        scores.dice([row("a", "gray", None)], "two", "test")
    with pytest.raises(SegShiftError, match="unknown split 'tset'; did you mean 'test'"):
        scores.dice([], "two", "tset")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("dice", "dise"), "its columns are"),
        (lambda text: text.replace("33.3", "x33.3"), "line 2: dice is 'x33.3"),
        (lambda text: text[: text.rindex(",")] + "\n", "line 2 has 13 cells"),
        (lambda text: "", "its columns are"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, sentence):
    file = tmp_path / "s.csv"
    scores.write(file, [row("v", "gray", 33.3)])
    file.write_text(change(file.read_text()))
    with pytest.raises(SegShiftError, match=sentence):
        scores.read(file)
    with pytest.raises(SegShiftError, match="missing"):
        scores.read(tmp_path / "none.csv")
