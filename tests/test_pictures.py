"""Pictures: colours, contours and errors, pixel by pixel."""

import numpy as np
import pytest
from PIL import Image

from segshift import pictures


def test_every_class_has_its_own_colour():
    for classes in (2, 8, 15, 30):
        colours = pictures.palette(classes)
        assert colours.shape == (classes, 3)
        assert len({tuple(one) for one in colours.tolist()}) == classes


def test_a_slice_is_enlarged_by_whole_pixels():
    image = np.array([[0.0, 0.5], [1.0, np.nan]])
    panel = pictures.gray(image)
    assert panel.shape == (208, 208, 3)
    assert panel[::104, ::104, 0].tolist() == [[0, 128], [255, 0]]
    assert (panel[:104, :104] == 0).all()
    assert pictures.gray(np.zeros((512, 256))).shape == (512, 256, 3)


def test_contours_lie_on_the_inner_border(monkeypatch):
    monkeypatch.setattr(pictures, "PANEL", 5)
    label = np.zeros((5, 5), np.uint8)
    label[1:4, 1:4] = 1
    drawn = pictures.contoured(np.zeros((5, 5)), label, 2)
    expected = np.zeros((5, 5), bool)
    expected[1:4, 1:4] = True
    expected[2, 2] = False
    assert ((drawn == pictures.palette(2)[1]).all(-1) == expected).all()


def test_errors_have_three_colours(monkeypatch):
    monkeypatch.setattr(pictures, "PANEL", 4)
    truth, prediction = np.array([[0, 1, 1, 0]] * 4), np.array([[0, 1, 2, 1]] * 4)
    drawn = pictures.errors(np.ones((4, 4)), truth, prediction)
    assert drawn[0].tolist() == [[127] * 3, [127] * 3, list(pictures.CONFUSED), list(pictures.INVENTED)]
    missed = pictures.errors(np.ones((4, 4)), truth, np.zeros_like(truth))
    assert missed[0, 1].tolist() == list(pictures.MISSED)


def test_classes_are_mixed_over_the_slice(monkeypatch):
    monkeypatch.setattr(pictures, "PANEL", 2)
    drawn = pictures.filled(np.ones((2, 2)), np.array([[0, 1], [0, 0]], np.uint8), 2)
    assert drawn[0, 0].tolist() == [255, 255, 255]
    assert drawn[0, 1].tolist() == pytest.approx(0.45 * 255 + 0.55 * pictures.palette(2)[1], abs=1)


def test_a_sheet_holds_all_panels_and_is_the_same_again(tmp_path):
    red = np.full((30, 40, 3), (255, 0, 0), np.uint8)
    for name in ("one", "two"):
        picture = pictures.sheet("title", [("first", [red, red]), ("second", [red])], ["left", "right"])
        pictures.save(picture, tmp_path / name / "sheet.png")
    with Image.open(tmp_path / "one" / "sheet.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert (pixels == (255, 0, 0)).all(-1).sum() == 3 * 30 * 40
    assert (tmp_path / "one" / "sheet.png").read_bytes() == (tmp_path / "two" / "sheet.png").read_bytes()
    bars = pictures.bars(["a", "b"], {"share": [1.0, 0.0]}, 160)
    blue = (bars == (0x7F, 0x9F, 0xBF)).all(-1).sum(1)
    assert blue.max() == 101
    assert blue[40:].max() <= 1
