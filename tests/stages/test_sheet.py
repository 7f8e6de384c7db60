"""`segshift show CELL`: the sheet, and that nothing half-written is left."""

import json

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from segshift import config as configuration
from segshift import pictures
from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.prepared import SPLITS, PreparedVolume, VolumeInfo, total_digest
from segshift.stages import check, sheet

CELL = "one/unet/full/own/0"
SIZE = 32


@pytest.fixture
def prepared(project):
    """Dataset `one`: squares of two classes, of which the second is rare."""
    folder, splits = project.results.data("one"), {}
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for split in SPLITS:
        with h5py.File(folder / f"{split}.h5", "w") as file:
            label = np.zeros((6, SIZE, SIZE), np.uint8)
            label[:, 8:20, 8:20] = 1
            label[:2, 22:26, 22:26] = 2
            image = (0.2 + 0.3 * label + random.normal(0, 0.02, label.shape)).astype(np.float16)
            counts = np.stack([(label == one).sum((1, 2)) for one in range(3)], 1).astype(np.uint32)
            shape = (6, SIZE, SIZE)
            info = VolumeInfo("v0", f"p{split}", 6, shape[1:], (3.0, 1.0, 1.0), np.eye(4), shape, np.eye(4))
            splits[split] = [PreparedVolume(info, image, label, counts).write(file)]
    manifest = {"sha256": total_digest(splits), "classes": ["background", "gray", "white"]}
    manifest["splits"] = {split: {"volumes": entries} for split, entries in splits.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return project


def show(project, *more):
    return main(
        ["show", CELL, "--config", str(project.config), "--results", str(project.results.root), *more]
    )


def test_the_sheet_is_written_beside_the_model(prepared, capsys):
    assert show(prepared) == 0
    file = prepared.folder(CELL) / "sheet.png"
    assert capsys.readouterr().out.strip() == str(file)
    with Image.open(file) as picture:
        assert picture.width > 6 * 190
        assert picture.height > 3 * 190
    first = file.read_bytes()
    assert show(prepared) == 0
    assert file.read_bytes() == first  # what is drawn is a function of the seed
    assert list(prepared.results.root.rglob("*.part")) == []


def test_the_sheet_shows_what_training_sees(prepared, monkeypatch):
    """Rows and their captions, from the very tensors."""
    seen = {}
    monkeypatch.setattr(pictures, "sheet", lambda title, rows, *_: seen.update(title=title, rows=rows))
    line = {"use": {"sampling": "rare_class", "augment": {"structural": {"probability": 1}}}}
    text = json.dumps([{"use": {"learning_rate": 0.01, "epochs": 1, "batch_size": 2}}, line])
    (prepared.config / "training.yaml").write_text(text)
    monkeypatch.setattr(pictures, "save", lambda picture, file: None)
    sheet.run(CELL, prepared.config, prepared.results)
    captions = [caption for caption, _ in seen["rows"]]
    assert seen["title"] == CELL
    assert captions[0].startswith("drawn first, as prepared (32 x 32): v0 slice ")
    assert captions[1].startswith("what the backbone gets (normalize: none, resize: bilinear): 32 x 32, ")
    assert captions[2].startswith("augmented, with the contours of their labels: ")
    assert captions[2].count(" deg x") == 6
    assert captions[3] == "sampling: rare_class; 6 draws an epoch of 6 slices"
    assert [len(panels) for _, panels in seen["rows"]] == [6, 6, 6, 1]


def test_frequencies_are_those_of_the_formula(prepared, monkeypatch):
    from segshift import grid
    from segshift.prepared import Prepared

    shown = {}
    monkeypatch.setattr(
        pictures, "bars", lambda names, columns: shown.update(columns) or np.zeros((1, 1, 3), "u1")
    )
    expanded = grid.Grid(configuration.read(prepared.config))
    settings = expanded.settings(grid.Model.parse(CELL))
    settings["training"]["sampling"] = "rare_class"
    sheet.sheet(settings, Prepared(prepared.results.data("one")))
    gray, white = 144 / 1024, 16 / 1024
    share = [1 - gray - white / 3, gray, white / 3]
    weight = np.exp((1 - np.array(share)) / 0.1)
    assert shown["share of all labelled pixels"] == pytest.approx(share)
    assert shown["labelled slices with at least 4 of its pixels"] == pytest.approx([1, 1, 1 / 3])
    assert shown["chance that a draw looks for it"] == pytest.approx(weight / weight.sum())


def test_the_entrance_of_a_backbone_is_rebuilt_without_weights(prepared):
    from segshift import grid

    expanded = grid.read(prepared.config)
    settings = expanded.settings(grid.Model.parse(CELL))
    ((what, entrance),) = sheet._entrances(check.build(settings))
    assert "backbone gets (normalize: none" in what
    images = torch.rand(2, 3, 20, 20)
    assert entrance(images).shape == (2, 3, 32, 32)


def test_bad_input_leaves_nothing(prepared, capsys):
    assert show(prepared, "-o", str(prepared.results.root / "sheet.jpg")) == 1
    assert "a sheet is a PNG; give it a name that ends in .png" in capsys.readouterr().err
    for cell, sentence in (
        ("one/unet/full/own/0/finetune/three", "no .*three/manifest.json; run: segshift prepare three"),
        ("one/unt/full/own/0", "unknown backbone 'unt'; did you mean 'unet'"),
    ):
        with pytest.raises(SegShiftError, match=sentence):
            sheet.run(cell, prepared.config, Results(prepared.results.root))
    assert list(prepared.results.root.rglob("*.png*")) == []


def test_a_failed_write_leaves_no_half_picture(tmp_path, monkeypatch):
    picture = Image.new("RGB", (4, 4))
    pictures.save(picture, tmp_path / "one.png")
    before = (tmp_path / "one.png").read_bytes()

    def torn(self, file, **more):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", torn)
    with pytest.raises(OSError, match="no space left"):
        pictures.save(Image.new("RGB", (8, 8)), tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == before
