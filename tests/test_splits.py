"""Drawing patients, and what files below config/splits may say."""

import hashlib
import shutil

import pytest

from segshift import splits
from segshift.cli import main
from segshift.errors import SegShiftError

RULE = {"seed": 42, "train": 3, "validation": 1, "test": 2}
PEOPLE = [f"p{number}" for number in range(9)]


def test_who_is_drawn_follows_from_seed_and_name_alone():
    def place(name):
        return hashlib.sha256(f"42 {name}".encode()).hexdigest()

    order = sorted(PEOPLE, key=place)
    lists = splits.draw(reversed([*PEOPLE, "p3"]), RULE)
    assert lists == {
        "train": sorted(order[3:6]),
        "validation": [order[2]],
        "test": sorted(order[:2]),
        "unused": sorted(order[6:]),
    }
    # one more person takes at most one place of each split
    more = splits.draw([*PEOPLE, "new"], RULE)
    for split in ("train", "validation", "test"):
        assert len(set(more[split]) - set(lists[split])) <= 1
    assert splits.draw(PEOPLE, RULE | {"seed": 43}) != lists
    rest = splits.draw(PEOPLE, RULE | {"train": "rest"})
    assert (len(rest["train"]), rest["test"], "unused" in rest) == (6, lists["test"], False)


def test_too_few():
    with pytest.raises(
        SegShiftError, match="there are 5 patients; 3 train, 1 validation, 2 test are asked for"
    ):
        splits.draw(PEOPLE[:5], RULE)
    with pytest.raises(SegShiftError, match="there are 3 patients; rest train"):
        splits.draw(PEOPLE[:3], RULE | {"train": "rest"})


BAD = {
    "val: [a]": "split 'val'; .*known: train, validation, test",
    "train: a": "train is 'a', not a list of patients",
    "- a": "does not hold {split: ",
    "draw: 3": "draw: 3 does not say seed",
    "draw: {seed: 1, train: 1, validation: 1}": "draw: test is None, not a number",
    "draw: {seed: 1, train: -1, validation: 1, test: 1}": "draw: train is -1",
    "draw: {seed: 1, train: rest, validation: rest, test: 1}": "only one split can have the rest",
    "draw: {seed: 1, trian: 1}": "draw 'trian'; did you mean 'train'",
    "train: [": "is not valid YAML",
}


@pytest.mark.parametrize("text", BAD)
def test_bad_files_of_splits(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SegShiftError, match=f"mine.yaml.*{BAD[text]}"):
        splits.read(file)


def test_a_rule_is_what_it_says_until_lists_are_there(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("# why\ndraw: {seed: 42, train: 3, validation: 1, test: 2}\n")
    assert splits.read(file) == {"draw": RULE} and splits.rule(file) == RULE
    file.write_text(file.read_text() + "train: [1, x]\nvalidation: [2]\ntest: [3]\n")
    assert splits.read(file) == {"train": ["1", "x"], "validation": ["2"], "test": ["3"]}
    file.write_text("train: [1]\n")
    with pytest.raises(SegShiftError, match="mine.yaml has no `draw"):
        splits.rule(file)


def test_label_maps(tmp_path):
    file = tmp_path / "labels.yaml"
    file.write_text("background: [0, 7-9]\nliver: 1\n")
    assert splits.label_map(file) == {
        0: "background",
        1: "liver",
        7: "background",
        8: "background",
        9: "background",
    }
    for text, sentence in (
        ("liver: [1, a]", "liver: 'a' is neither a value nor a range"),
        ("liver: 1\nspleen: [0-3]", "1 is both liver and spleen"),
        ("[1, 2]", "does not hold {class: "),
    ):
        file.write_text(text)
        with pytest.raises(SegShiftError, match=f"labels.yaml.*{sentence}"):
            splits.label_map(file)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("split hcp1", "hcp1 names no file of `splits`; its files tell them"),
        (
            "split hcp1_public brats_t1_public",
            "have different files of splits (hcp1_public splits/hcp.yaml, brats",
        ),
        ("split hcp1_public", "no such folder: "),
        ("split hpc1_public", "unknown dataset 'hpc1_public'; did you mean 'hcp1_public'"),
        ("look hcp1_public", "no such folder: "),
        ("add-dataset . --classes 1", "--classes '1' is not VALUE=CLASS, such as 1=kidney"),
    ],
)
def test_commands_that_cannot_work(tmp_path, capsys, words, sentence, request):
    config = request.config.rootpath / "config"
    assert main([*words.split(), "--config", str(config), "--results", str(tmp_path / "results")]) == 1
    assert sentence in capsys.readouterr().err


def test_a_split_is_drawn_once(tmp_path, capsys, request):
    """The second time is refused, and what is there stays."""
    config = shutil.copytree(request.config.rootpath / "config", tmp_path / "config")
    for number in range(1, 31):
        folder = tmp_path / f"data/public/mrspineseg/train/MR/Case{number}.nii.gz"
        mask = tmp_path / f"data/public/mrspineseg/train/Mask/mask_case{number}.nii.gz"
        for file in (folder, mask):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()  # who is there is told by names alone
    words = ["split", "mrsegv_public", "--config", str(config), "--results", str(tmp_path / "results")]
    assert main(words) == 1 and "there are 30 patients; rest train, 20" in capsys.readouterr().err
    rule = (config / "splits/mrsegv.yaml").read_text()
    (config / "splits/mrsegv.yaml").write_text(rule.replace("20", "5"))
    assert main(words) == 0
    text = (config / "splits/mrsegv.yaml").read_text()
    assert text.startswith(rule.replace("20", "5"))
    lists = splits.read(config / "splits/mrsegv.yaml")
    assert {split: len(who) for split, who in lists.items()} == {"train": 20, "validation": 5, "test": 5}
    assert main(words) == 1 and "lists its patients already; remove the lists" in capsys.readouterr().err
    assert (config / "splits/mrsegv.yaml").read_text() == text
