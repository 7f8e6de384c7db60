"""What is one volume, colours, pages and palettes of the picture reader, and what is said of broken files."""

import csv

import numpy as np
import pytest
from PIL import Image

from segshift.datasets import png
from segshift.errors import SegShiftError

PATTERNS = {"image_files": "images/{id}.png", "label_files": "labels/{id}_labelTrainIds.png"}
SPLIT = {"image_files": "images/{split}/{id}.png", "label_files": "labels/{split}/{id}_labelTrainIds.png"}
LISTED = {
    "image_files": "images/{id}.png",
    "label_files": "labels/{id}_labelTrainIds.png",
    "table": "who.csv",
}


def array(*shape, seed=0, high=256, kind=np.uint8):
    return np.random.default_rng(seed).integers(0, high, shape).astype(kind)


def save(folder, name, image, label=None, split="", suffix="png"):
    label = array(*image.shape[:2], seed=9, high=3) if label is None else label
    for kind, end, content in (("images", "", image), ("labels", "_labelTrainIds", label)):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(folder / kind / split / f"{name}{end}.{suffix}")
    return label


def table(folder, rows):
    with (folder / "who.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_depth_cuts_each_split_into_volumes_by_name(tmp_path):
    """Numbers in names count by their value: s2 comes before s10."""
    images = {}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for number in range(count):
            images[split, number] = array(5, 6, seed=100 * count + number)
            save(tmp_path, f"s{number}", images[split, number], split=split)
    cases = png.cases(tmp_path, **SPLIT, depth=4, split_names={"validation": "val"}, pixel=0.7, thickness=3)
    assert [(case.id, case.patient, case.split) for case in cases] == [
        ("test_000", "test_000", "test"),
        *((f"train_00{index}", f"train_00{index}", "train") for index in range(3)),
        ("validation_000", "validation_000", "validation"),
    ]
    volume = png.read(cases[3])  # slices 8 to 11 of training
    expected = np.stack([images["train", number] for number in range(8, 12)]) / 255
    np.testing.assert_array_equal(volume.image, expected.astype(np.float32))
    assert volume.image.dtype == np.float32 and volume.spacing == (3, 0.7, 0.7)
    assert volume.affine @ [1, 2, 3, 1] == pytest.approx(
        [3 * 0.7, 2 * 0.7, 3, 1]
    )  # (z, y, x) -> (x, y, z) mm


def test_a_regular_expression_says_what_is_one_volume(tmp_path):
    for name in ("p1_b_10", "p1_b_2", "p1_a_1", "p2_a_1"):
        save(tmp_path, name, array(4, 4, seed=len(name)))
    cases = png.cases(tmp_path, **PATTERNS, volume=r"^(p\d_\w)_", patient=r"^(p\d)")
    assert [(case.id, case.patient, case.split) for case in cases] == [
        ("p1_a", "p1", None),
        ("p1_b", "p1", None),
        ("p2_a", "p2", None),
    ]
    assert [file.stem for file in cases[1].where["images"]] == ["p1_b_2", "p1_b_10"]
    alone = png.cases(tmp_path, **PATTERNS)
    assert [case.id for case in alone] == ["p1_a_1", "p1_b_2", "p1_b_10", "p2_a_1"]


def test_a_table_says_it(tmp_path):
    for name in "abcde":
        save(tmp_path, name, array(4, 4, seed=ord(name)))
    rows = [
        ("a", "v1", "p1", "train"),
        ("b", "v1", "p1", "train"),
        ("c", "v2", "p1", "train"),
        ("d", "v3", "p2", "test"),
    ]
    table(tmp_path, [dict(zip(("id", "scan", "patient", "split"), row, strict=True)) for row in rows])
    cases = png.cases(tmp_path, **LISTED, volume="scan")
    assert [(case.id, case.patient, case.split) for case in cases] == [
        ("v3", "p2", "test"),
        ("v1", "p1", "train"),
        ("v2", "p1", "train"),
    ]
    assert [file.stem for file in cases[1].where["images"]] == ["a", "b"]


def test_colours_stay_and_what_is_gray_is_gray(tmp_path):
    colour, palette = array(4, 5, 3), array(4, 5, high=3, seed=2)
    save(tmp_path, "a", colour)
    (case,) = png.cases(tmp_path, **PATTERNS)
    assert png.describe(case) == {"channels": 3, "type": "uint8"}
    indexed = Image.new("P", (5, 4))
    indexed.putpalette([value for entry in ((9, 9, 9), (200, 0, 0), (0, 200, 0)) for value in entry])
    indexed.putdata(palette.ravel().tolist())
    indexed.save(case.where["labels"][0])
    volume = png.read(case)
    np.testing.assert_array_equal(volume.image, (colour[None] / 255).astype(np.float32))
    np.testing.assert_array_equal(volume.label[0], palette)  # a palette's indices are the classes
    for mode, value in (("RGBA", (10, 20, 30, 128)), ("P", None)):
        picture = Image.new(mode, (5, 4), value) if value else Image.fromarray(colour).quantize(4)
        picture.save(case.where["images"][0])
        assert png.read(case).image.shape == (1, 4, 5, 3)
    Image.fromarray(np.stack([palette] * 3, -1)).save(case.where["labels"][0])  # three equal channels
    np.testing.assert_array_equal(png.read(case).label[0], palette)
    Image.fromarray(colour).save(case.where["labels"][0])
    with pytest.raises(
        SegShiftError, match="a_labelTrainIds.png is a colour image; a label holds class numbers"
    ):
        png.read(case)


@pytest.mark.parametrize(("kind", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_divided_by_the_largest_of_their_type(tmp_path, kind, largest):
    image = array(4, 5, high=largest + 1, kind=kind)
    save(tmp_path, "a", image)
    (case,) = png.cases(tmp_path, **PATTERNS)
    np.testing.assert_array_equal(png.read(case).image[0], (image / largest).astype(np.float32))
    (case,) = png.cases(tmp_path, **PATTERNS, scale=1000)
    np.testing.assert_array_equal(png.read(case).image[0], (image / 1000).astype(np.float32))


def test_tiff_in_floating_point_and_with_pages(tmp_path):
    patterns = {key: value.replace("png", "tif") for key, value in PATTERNS.items()}
    image = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    save(tmp_path, "a", image, suffix="tif")
    pages, labels = array(3, 4, 5), array(3, 4, 5, high=3)
    for kind, end, content in (("images", "", pages), ("labels", "_labelTrainIds", labels)):
        first, *others = [Image.fromarray(page) for page in content]
        first.save(tmp_path / kind / f"b{end}.tif", save_all=True, append_images=others)
    one, several = (png.read(case) for case in png.cases(tmp_path, **patterns))
    np.testing.assert_array_equal(one.image, image[None])  # as it is
    np.testing.assert_array_equal(several.image, (pages / 255).astype(np.float32))
    np.testing.assert_array_equal(several.label, labels)


def same(folder):
    """Nothing is damaged."""


ROWS = [{"id": "a1", "volume": 1, "patient": "p"}, {"id": "a2", "volume": 1, "patient": "q"}]
BAD = {
    "depth": (same, SPLIT | {"depth": 2}, "split train: 3 images are no multiple of depth 2"),
    "no depth": (same, SPLIT | {"depth": 0}, "depth 0 must be a positive number"),
    "both": (same, SPLIT | {"depth": 3, "volume": "(a)"}, "`depth` and `volume` or `table` both say"),
    "expression": (same, SPLIT | {"volume": "(x)"}, "volume: .* finds no group in the id 'a1'"),
    "no expression": (same, SPLIT | {"volume": "(a"}, "volume: '\\(a' is no regular expression"),
    "no folder": (same, {**SPLIT, "image_files": "img/{split}/{id}.png"}, "holds no file that matches"),
    "name": (same, {**SPLIT, "label_files": "{mask}/{id}.png"}, "{mask}, which image_files does not"),
    "no label": (
        lambda f: (f / "labels/train/a1_labelTrainIds.png").unlink(),
        SPLIT,
        "no such file: .*a1_labelTrainIds.png, the label of a1.png",
    ),
    "no table": (same, {**SPLIT, "table": "who.csv"}, "no such file: .*who.csv"),
    "column": (
        lambda f: table(f, [{"id": "a1", "volum": 1}]),
        {**SPLIT, "table": "who.csv"},
        "who.csv: no column 'volume'; did you mean 'volum'",
    ),
    "row": (
        lambda f: table(f, [{"id": "z", "volume": 1}]),
        {**SPLIT, "table": "who.csv"},
        "who.csv lists z, but no image has this id",
    ),
    "two patients": (
        lambda f: table(f, ROWS),
        {**SPLIT, "table": "who.csv"},
        "volume 1 is of two patients, p and q",
    ),
    "skip": (same, {**SPLIT, "unlabelled": "drop"}, "unlabelled 'drop'; .*known: error, skip"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_found(tmp_path, name):
    for number in (1, 2, 3):
        save(tmp_path, f"a{number}", array(4, 4), split="train")
    damage, parameters, sentence = BAD[name]
    damage(tmp_path)
    with pytest.raises(SegShiftError, match=sentence):
        png.cases(tmp_path, **parameters)
    if name == "no label":
        (case,) = png.cases(tmp_path, **SPLIT, unlabelled="skip", depth=2)
        assert [file.stem for file in case.where["images"]] == ["a2", "a3"]


BROKEN = {
    "text": (
        lambda image, label: image.write_text("no image"),
        "b.png cannot be read as PNG, it is truncated or",
    ),
    "half": (
        lambda image, label: image.write_bytes(image.read_bytes()[:60]),
        "b.png cannot be read as PNG, it is truncated or of another format",
    ),
    "size": (
        lambda image, label: Image.fromarray(array(4, 5)).save(label),
        "b.png and its label b_labelTrainIds.png differ in size: 4 × 4 and 5 × 4",
    ),
    "slices": (
        lambda image, label: [Image.fromarray(array(3, 4)).save(file) for file in (image, label)],
        "b.png is 4 × 3 uint8, a.png of its volume is 4 × 4 uint8",
    ),
    "type": (
        lambda image, label: Image.fromarray(array(4, 4, kind=np.uint16)).save(image),
        "b.png is 4 × 4 uint16, a.png of its volume is 4 × 4 uint8",
    ),
    "gone": (lambda image, label: label.unlink(), "no such file: .*b_labelTrainIds.png"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_picture(tmp_path, name):
    for stem in "ab":
        save(tmp_path, stem, array(4, 4))
    (case,) = png.cases(tmp_path, **PATTERNS, depth=2)
    damage, sentence = BROKEN[name]
    damage(case.where["images"][1], case.where["labels"][1])
    with pytest.raises(SegShiftError, match=sentence):
        png.read(case)
