"""Masks that are pictures, of datasets that were read from pictures: a file a volume, or a file a slice."""

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.stages.masks_of_others import dice, rows_of, say

from segshift import mask_files, scores
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import score

PICTURES = {
    "module": "png",
    "image_files": "{split}/images/{id}.png",
    "label_files": "{split}/labels/{id}.png",
    "anatomy": "brain",
    "modality": "fundus",
    "plane": "axial",
    "labels": {0: "background", 128: "gray", 255: "white"},
    "lost_labels": 1.0,
}
DATASETS = {
    "fundus": PICTURES | {"preprocess": [{"resize": {"size": [16, 14]}}]},
    "stack": PICTURES | {"volume": "^(.*)_", "preprocess": []},
}
SLICES = 11  # of a volume of `stack`: by letters 10 would come before 2
SIZE = {"fundus": (24, 20), "stack": (14, 18)}
VALUES = np.array([0, 128, 255], np.uint8)


def blob(random, shape):
    label = np.zeros(shape, np.uint8)
    y, x = random.integers(1, 5, 2)
    label[y : y + 8, x : x + 9] = 1
    label[y + 1 : y + 4, x : x + 5] = 2
    return label


def write(folder, name, seed):
    """Pictures of two volumes a split."""
    for number, split in enumerate(("train", "validation", "test")):
        for what in ("images", "labels"):
            (folder / split / what).mkdir(parents=True)
        for index in range(2):
            for z in range(SLICES if name == "stack" else 1):
                random = np.random.default_rng([seed, number, index, z])
                label = blob(random, SIZE[name])
                image = (label * 60 + random.integers(0, 60, label.shape)).astype(np.uint8)
                colours = np.stack([image, image // 2, image // 3], -1)
                stem = f"{split}{index}" + (f"_{z}" if name == "stack" else "")
                Image.fromarray(colours).save(folder / split / "images" / f"{stem}.png")
                Image.fromarray(VALUES[label]).save(folder / split / "labels" / f"{stem}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory, project_class):
    """Two prepared datasets: one picture a volume, and several."""
    root = tmp_path_factory.mktemp("pictures")
    made = project_class(root)
    (made.config / "datasets.yaml").write_text(yaml.safe_dump(DATASETS))
    (made.config / "experiments.yaml").write_text("{}")
    for seed, name in enumerate(DATASETS):
        write(root / "data" / name, name, seed)
    say(made, "settings", "--write")
    say(made, "prepare", *DATASETS)
    return made


def moved(project, name, out, values=None):
    """Masks: the true labels one row lower. By stem of a file: true classes and the mask's."""
    out.mkdir()
    made = {}
    for file in (project.config.parent / "data" / name / "test" / "labels").glob("*.png"):
        truth = np.searchsorted(VALUES, np.asarray(Image.open(file)))
        mask = np.roll(truth, 1, axis=0).astype(np.uint8)
        Image.fromarray(mask if values is None else values[mask]).save(out / file.name)
        made[file.stem] = truth, mask
    return made


def expected(pairs):
    """Dice of the two classes."""
    truth, mask = (np.concatenate([pair[which] for pair in pairs]) for which in (0, 1))
    return [dice(truth == index, mask == index) for index in (1, 2)]


@pytest.mark.parametrize("values", ["classes", "raw"])
def test_a_picture_has_the_dice_that_is_computed_apart_on_its_pixels(project, tmp_path, values):
    made = moved(project, "fundus", tmp_path / "masks", VALUES if values == "raw" else None)
    words = ["--dataset", "fundus", "--name", f"net_{values}", "--spaces", "native", "--values", values]
    say(project, "score", tmp_path / "masks", *words)
    rows = rows_of(project, f"net_{values}", "fundus")
    found = [row.dice for row in scores.select(rows, "fundus", "test", space="native")]
    assert found == pytest.approx([value for stem in sorted(made) for value in expected([made[stem]])])
    assert max(found) < 95
    info = Prepared(project.results.data("fundus")).volumes("test")[0]
    assert info.shape == (16, 14) and info.raw_shape == (1, 24, 20)  # the prepared grid is another one


@pytest.mark.parametrize("form", ["slices", "pages"])
def test_slices_are_taken_in_the_order_of_their_images(project, tmp_path, form):
    made = moved(project, "stack", tmp_path / "masks")
    volumes = {f"test{index}": [made[f"test{index}_{z}"] for z in range(SLICES)] for index in range(2)}
    folder = tmp_path / "masks"
    if form == "pages":
        folder = tmp_path / "volumes"
        folder.mkdir()
        for name, pairs in volumes.items():
            first, *others = (Image.fromarray(mask) for _, mask in pairs)
            first.save(folder / f"{name}.tif", save_all=True, append_images=others)
    say(project, "score", folder, "--dataset", "stack", "--name", form)
    found = [row.dice for row in scores.select(rows_of(project, form, "stack"), "stack", "test")]
    assert found == pytest.approx([value for name in sorted(volumes) for value in expected(volumes[name])])


def test_what_is_missing_twice_or_of_another_size_is_one_sentence(project, tmp_path):
    def refused(name, sentence, **options):
        with pytest.raises(SegShiftError, match=sentence):
            score.run(project.config, project.results, tmp_path / name, name, "x", **options)

    one, many = tmp_path / "fundus", tmp_path / "stack"
    moved(project, "fundus", one)
    moved(project, "stack", many)
    (many / "test1_4.png").rename(tmp_path / "kept.png")
    refused("stack", r"1 of 2 masks are missing: test1_4 of test1 \(.*\.png, \.tif, \.tiff\)")
    Image.fromarray(np.zeros((18, 14), np.uint8)).save(many / "test1_4.png")
    refused("stack", r"test1_4\.png: .* has 1 × 18 × 14 \(pages, .*test1_4\.png has 1 × 14 × 18")
    (tmp_path / "kept.png").rename(many / "test1_4.png")
    (many / "test1_4.tif").write_bytes(b"")
    refused("stack", r"test1_4\.png and test1_4\.tif are one volume's")
    refused("fundus", "the label holds the value 1, which is no class", raw=True)
    Image.fromarray(np.zeros((16, 14), np.uint8)).save(one / "test0.png")  # as prepared
    refused("fundus", r"test0\.png: .* its raw image, 1 × 24 × 20 .* has 1 × 16 × 14")
    Image.fromarray(np.full((24, 20), 255, np.uint8)).save(one / "test0.png")
    refused("fundus", r"test0\.png: the mask holds the value 255, which is no class; known: 0 backgr")
    Image.fromarray(np.random.default_rng(0).integers(0, 3, (24, 20, 3), np.uint8)).save(one / "test0.png")
    refused("fundus", r"test0\.png is a colour image")
    (one / "test0.png").rename(one / "test0.jpg")
    refused("fundus", r"1 of 2 masks are missing: test0 \(")


def test_images_of_one_name_do_not_tell_whose_a_mask_is(tmp_path):
    images = {"a": [tmp_path / "a" / "1.png", tmp_path / "a" / "2.png"], "b": [tmp_path / "b" / "1.png"]}
    masks = [tmp_path / "masks" / f"{number}.png" for number in (1, 2)]
    for file in [file for own in (*images.values(), masks) for file in own]:
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(file)
    with pytest.raises(
        SegShiftError, match="2 images are called 1, so that nobody can tell whose mask 1.png"
    ):
        mask_files.find(tmp_path / "masks", {"a": "a", "b": "b"}, lambda: images)
    with pytest.raises(
        SegShiftError, match="2 of 2 masks are missing.*; pictures, such as 1.png, hold no pla"
    ):
        mask_files.find(tmp_path / "masks", {"a": "a", "b": "b"})
