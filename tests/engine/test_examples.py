"""The worst, median and best test volume of a target: which they are, and their picture beside the scores."""

import pytest
import torch
from PIL import Image
from tests.engine.conftest import UNET

from segshift import examples, pictures
from segshift.scores import Row
from segshift.stages import evaluate


def rows(volumes):
    """Rows of test volumes: Dice of their classes; None where a class is absent."""
    return [
        Row("b", "test", "model", volume, volume, f"c{number}", 1, 1, 1, dice, None, None, "m", "d")
        for volume, dices in volumes.items()
        for number, dice in enumerate(dices)
    ]


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ({"x": [10, 30], "y": [90, None], "z": [50, 52]}, [("x", 20), ("z", 51), ("y", 90)]),
        ({"x": [40, 60], "y": [10, 10], "z": [70, 70], "w": [20, 20]}, [("y", 10), ("w", 20), ("z", 70)]),
        ({"x": [5, 7]}, [("x", 6)] * 3),
        ({"x": [None, None], "y": [1, 3]}, [("y", 2)] * 3),
    ],
)
def test_which_volumes(volumes, expected):
    found = examples.chosen(rows(volumes), "b")
    assert [found[name] for name in ("worst", "median", "best")] == expected
    assert examples.chosen(rows(volumes), "a") == {}


def test_a_picture_lies_beside_the_scores_of_each_target(trained, monkeypatch):
    shown, real = {}, pictures.sheet
    monkeypatch.setattr(
        pictures, "sheet", lambda title, made, heads: shown.update({title: made}) or real(title, made, heads)
    )
    evaluate.run(UNET, ["a", "b"], str(trained.root), device="cpu")
    folder = trained.folder(UNET) / "scores"
    made = ["a.csv", "a.png", "b.csv", "b.png", "seconds.json"]
    assert sorted(file.name for file in folder.iterdir()) == made
    with Image.open(folder / "b.png") as picture:
        assert picture.width > 4 * 190
    assert list(shown) == [f"{UNET} on a", f"{UNET} on b"]
    worst, median, best = (caption for caption, _ in shown[f"{UNET} on b"])
    for name, caption in (("worst", worst), ("median", median), ("best", best)):
        assert caption.startswith(f"{name}: test")
    assert all(len(panels) == 4 for made in shown.values() for _, panels in made)
    before = (folder / "b.png").stat().st_mtime_ns
    evaluate.run(UNET, ["a", "b"], str(trained.root), device="cpu")
    assert (folder / "b.png").stat().st_mtime_ns == before  # as its scores, not made again
    assert torch.is_grad_enabled()
