"""`crop: patch` and `resize: area` from a backbone's entry to scores."""

import csv

import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

from segshift import model as models
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.settings import read_settings
from segshift.slices import VolumeChunks, crop
from segshift.stages import evaluate

CELL = "a/vit/frozen/linear_last/0"
# A patch of 20 px: of slices of 32 px the centre of 20 px is left.
ENTRY = {
    "module": "timm", "model": "vit_tiny_patch16_224", "image_size": 40, "weights": None, "init_seed": 0,
    "options": {"patch_size": 20, "depth": 1, "embed_dim": 24, "num_heads": 2},
    "crop": "patch", "resize": "area",
}  # fmt: skip
SHORT = {"epochs": 1}


@pytest.mark.parametrize(
    ("size", "multiple", "rows", "columns"),
    [
        ((256, 256), 14, (2, 254), (2, 254)),  # to 252 as in the thesis's code
        ((256, 224), 16, (0, 256), (0, 224)),
        ((33, 31), 8, (0, 32), (3, 27)),
        ((5, 7), 1, (0, 5), (0, 7)),
    ],
)
def test_the_centre_of_slices_is_left(size, multiple, rows, columns):
    slices = torch.arange(2.0 * size[0] * size[1]).view(2, *size)
    assert torch.equal(crop(slices, multiple), slices[:, slice(*rows), slice(*columns)])


def test_slices_smaller_than_a_patch_are_refused():
    with pytest.raises(SegShiftError, match="slices of 12 x 40 hold no patch of 14 px"):
        crop(torch.zeros(1, 12, 40), 14)


def test_it_is_trained_and_scored_on_the_centre_alone(project):
    project.add(CELL, backbone=ENTRY, training=SHORT)
    assert project.fit(CELL) == 0
    evaluate.run(CELL, ["b"], str(project.root), device="cpu")
    prepared = Prepared(project.results.data("b"))
    with (project.folder(CELL) / "scores" / "b.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["class"] == "organ"]
    for volume in prepared.volumes("test"):
        labels = np.stack([prepared.slice("test", volume.id, z)[1] for z in range(volume.slices)])
        inside = int((labels[:, 6:26, 6:26] == 1).sum())
        assert inside != (labels == 1).sum()  # the crop cuts into it
        counted = {int(row["tp"]) + int(row["fn"]) for row in rows if row["volume"] == volume.id}
        assert counted == {inside}


def test_kept_features_are_those_of_the_centre(project):
    weights = []
    for kind in ("none", "float32"):
        training = {**SHORT, "augment": {}, "cache_features": kind}
        project.add(CELL, backbone=ENTRY, training=training)
        assert project.fit(CELL) == 0
        weights.append(project.state(CELL)["weights"])
        for file in ("model.ckpt", "run.json"):
            (project.folder(CELL) / file).unlink()
            (project.folder(CELL) / "resume" / "ready" / file).unlink(missing_ok=True)
    for name, one in weights[0].items():  # batches differ in size, and so do last bits
        assert torch.allclose(one, weights[1][name], atol=1e-5)


def test_a_side_networks_crop_and_the_big_ones_resizing_count(project):
    big = {**ENTRY, "crop": "none"}
    side = {**ENTRY, "image_size": 20, "options": {**ENTRY["options"], "patch_size": 5}}
    project.add(CELL, backbone=big, tuning={"module": "ladder", "side": side})
    settings = read_settings(project.folder(CELL))
    (model,) = models.build([settings], project.results)
    assert (model.crop, model.resize) == (5, "area")
    (chunk, *_) = VolumeChunks(Prepared(project.results.data("a")), "test", model.crop)
    assert chunk.images.shape[-2:] == chunk.labels.shape[-2:] == (30, 30)
    model.head.forward = lambda maps: maps
    logits = torch.rand(1, 3, 5, 5)
    (shrunk,) = model.decode([logits], (2, 2))
    assert torch.allclose(shrunk, functional.interpolate(logits, size=(2, 2), mode="area"))
    settings["backbone"].pop("resize")
    (project.folder(CELL) / "settings.yaml").write_text(yaml.safe_dump(settings))
    (plain,) = models.build([settings], project.results)
    assert plain.resize == "bilinear"
