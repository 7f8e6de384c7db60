"""What add-dataset finds and proposes for each kind of folder, what it writes, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image

from segshift import config as configuration
from segshift import grid, splits
from segshift.cli import main
from segshift.prepared import Prepared

MICRO = Path(__file__).parents[1] / "workflow" / "micro"
RANDOM = np.random.default_rng


class Site:
    """A configuration with comments, and a folder of raw data."""

    def __init__(self, root, capsys):
        self.root, self.capsys = root, capsys
        self.config, self.data = root / "config", root / "raw"
        shutil.copytree(MICRO, self.config)

    def run(self, *words, rc=0):
        where = ["--config", str(self.config), "--results", str(self.root / "results")]
        assert main([*map(str, words), *where]) == rc, self.capsys.readouterr().err
        said = self.capsys.readouterr()
        return said.err if rc else said.out

    def files(self):
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}

    def entry(self, name):
        return yaml.safe_load((self.config / "datasets.yaml").read_text())[name]

    def prepare(self, name):
        self.run("settings", "--write")
        self.run("prepare", name)
        return Prepared(self.root / "results" / "data" / name)


@pytest.fixture
def site(tmp_path, capsys):
    return Site(tmp_path, capsys)


def write_scan(folder, name, number, shape=(8, 9, 5), side=0.7, values=(0, 1, 2), label_end="_seg"):
    random = RANDOM(number)
    affine = np.diag([-side, side, 3.0, 1])
    image = random.normal(100, 10, shape).astype(np.float32)
    label = random.choice(values, shape).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(image, affine).to_filename(folder / f"{name}_T1.nii.gz")
    nibabel.Nifti1Image(label, affine).to_filename(folder / f"{name}{label_end}.nii.gz")


def test_scans(site):
    """Two scans of one patient stay together; sizes, pixels and label values are not as prepared."""
    for number in range(8):
        who = f"sub-{number // 2:02d}_ses-{number % 2}"
        side = 0.7 if number < 4 else 0.8
        write_scan(
            site.data / "Knee Study", who, number, side=side, shape=(8, 9, 5 + number % 2), values=(0, 1, 4)
        )
    before = site.files()
    words = ("add-dataset", site.data / "Knee Study", "--patient", r"(sub-\d+)", "--modality", "T1w")
    words += ("--classes", "1=femur", "4=tibia", "--model", "unet/full/own")
    shown = site.run(*words, "--dry-run")
    assert site.files() == before
    for text in (
        "nifti, 8 volumes of 4 patients",
        "5 × 9 × 8 (4), 6 × 9 × 8 (4)",
        "3 × 0.7 × 0.7 (4), 3 × 0.8 × 0.8 (4)",
        "orientation            LAS",
        "would be added to",
        "training unet/full/own on it: 22 slices × 2 epochs = 44 slices, about ",
        "a probe of 2 steps on cpu with random weights and images of ",
    ):
        assert text in shown
    site.run(*words)
    entry = site.entry("knee_study")
    assert entry == {
        "module": "nifti",
        "anatomy": "knee_study",
        "modality": "T1w",
        "plane": "axial",
        "folder": "Knee Study",
        "splits": "splits/knee_study.yaml",
        "image_files": "{id}_T1.nii.gz",
        "label_files": "{id}_seg.nii.gz",
        "patient": r"(sub-\d+)",
        "labels": {0: "background", 1: "femur", 4: "tibia"},
        "preprocess": ["percentile", {"resample": {"pixel": 0.75}}, {"crop_pad": {"size": [10, 9]}}],
    }
    after = site.files()
    for name in ("datasets.yaml", "anatomies.yaml"):  # what was there is there, comments and order included
        assert after[f"config/{name}"].startswith(before[f"config/{name}"])
    assert set(after) - set(before) == {"config/splits/knee_study.yaml"}
    lists = splits.read(site.config / "splits" / "knee_study.yaml")
    assert sorted(who for some in lists.values() for who in some) == [f"sub-0{number}" for number in range(4)]
    assert [len(lists[split]) for split in ("train", "validation", "test")] == [2, 1, 1]
    with (site.config / "datasets.yaml").open("a") as file:
        file.write("  lost_labels: 0.2\n")  # labels of noise wear away when they are resampled
    data = site.prepare("knee_study")
    assert data.classes == ["background", "femur", "tibia"]
    assert sum(len(data.volumes(split)) for split in lists) == 8


def test_the_cost_of_finished_cells(site):
    """Where cells of the same model are finished, they are the basis: device seconds by slice and epoch."""
    for number in range(4):
        write_scan(site.data / "knee", f"p{number}", number)
    for source, seconds in (("t1_a", 30.0), ("t2", 50.0)):
        run = site.root / "results/runs" / source / "unet/full/own/0"
        data = site.root / "results/data" / source
        run.mkdir(parents=True)
        data.mkdir(parents=True)
        cell = grid.Model(source, "unet", "full", "own", 0)
        (run / "settings.yaml").write_text(grid.render(grid.read(site.config).settings(cell)))
        record = {"cell": cell.path, "device": "cuda", "device_seconds": seconds}
        (run / "run.json").write_text(json.dumps(record))
        volumes = {"train": {"volumes": [{"slices": 4}, {"slices": 6}]}}
        (data / "manifest.json").write_text(json.dumps({"splits": volumes}))
    shown = site.run("add-dataset", site.data / "knee", "--dry-run")
    # (30 + 50) / 2 seconds for 10 slices × 2 epochs are 2 seconds; 2 patients of 5 slices × 2 epochs train
    assert "unet/full/own on it: 10 slices × 2 epochs = 20 slices, about 40 seconds" in shown
    assert "2 s a slice and epoch, the median of 2 finished: t1_a/unet/full/own/0 on cuda, t2/" in shown


def test_a_sibling_of_an_anatomy_that_is_there(site):
    """It takes over classes and plane; values that are class numbers need no map."""
    for number in range(3):
        write_scan(site.data / "third", f"p{number}", number, values=(0, 1, 2, 3, 4))
    site.run("add-dataset", site.data / "third", "--anatomy", "brain", "--modality", "T1w")
    assert "labels" not in site.entry("third") and site.entry("third")["anatomy"] == "brain"
    for number in range(3):
        write_scan(site.data / "fourth", f"p{number}", number, values=(0, 9))
    said = site.run("add-dataset", site.data / "fourth", "--anatomy", "brain", rc=1)
    assert "the labels hold 0, 9, and brain has the classes 0 background, 1 ventricles, 2 cortical" in said
    said = site.run(
        "add-dataset", site.data / "fourth", "--anatomy", "brain", "--classes", "9=ventrikels", rc=1
    )
    assert "the label 9 is 'ventrikels', and brain has the classes background, ventricles" in said


def test_stacks(site):
    folder = site.data / "stacks"
    folder.mkdir(parents=True)
    for number, (name, count) in enumerate((("all_train", 3), ("all_val", 1), ("all_test", 2))):
        with h5py.File(folder / f"{name}.hdf5", "w") as content:
            content["images"] = RANDOM(number).integers(0, 256, (2 * count, 6, 6)).astype(np.uint8)
            content["labels"] = RANDOM(number).integers(0, 3, (2 * count, 6, 6)).astype(np.uint8)
            content["nz"] = [2] * count
    shown = site.run("add-dataset", folder)
    assert "splits of the files    train 3, validation 1, test 2" in shown
    entry = site.entry("stacks")
    assert entry["files"] == {
        "train": "all_train.hdf5",
        "validation": "all_val.hdf5",
        "test": "all_test.hdf5",
    }
    assert entry["scale"] == 255 and "splits" not in entry and "preprocess" not in entry
    assert {split: len(site.prepare("stacks").volumes(split)) for split in ("train", "test")} == {
        "train": 3,
        "test": 2,
    }
    for file in ("all_val", "all_test"):
        (folder / f"{file}.hdf5").unlink()
    site.run("add-dataset", folder, "--name", "one_file")
    assert splits.read(site.config / "splits/one_file.yaml")["train"] and site.entry("one_file")["splits"]


def write_pictures(folder, split, names, colour):
    for number, name in enumerate(names):
        image = (
            RANDOM([number, len(split)]).integers(0, 256, (6, 7, 3) if colour else (6, 7)).astype(np.uint8)
        )
        for kind, content in (
            ("images", image),
            ("labels", RANDOM(number).integers(0, 2, (6, 7)).astype(np.uint8)),
        ):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(folder / kind / split / f"{name}.png")


def test_pictures(site):
    folder = site.data / "polyps"
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        write_pictures(folder, split, [f"{split}{n}" for n in range(count)], colour=True)
    shown = site.run("add-dataset", folder, "--depth", 2, "--classes", "1=polyp")
    assert "png, 4 volumes of 4 patients" in shown and "channels               3" in shown
    entry = site.entry("polyps")
    assert entry["image_files"] == "images/{split}/{id}.png" and entry["split_names"] == {"validation": "val"}
    assert entry["depth"] == 2 and "splits" not in entry
    image, _ = site.prepare("polyps").slice("train", "train_001", 1)
    written = np.asarray(Image.open(folder / "images/train/train3.png"))
    np.testing.assert_array_equal(image, (written / 255).astype(np.float16).transpose(2, 0, 1))


def test_pictures_alone_are_warned_of(site):
    write_pictures(site.data / "cells", ".", [f"c{n}" for n in range(5)], colour=False)
    shown = site.run("add-dataset", site.data / "cells", "--dry-run")
    assert "every image is a volume and a patient of its own; if several are of one patient, say so" in shown


def write_nnunet(folder, folds=None, test=0):
    for number in range(6 + test):
        end = "Tr" if number < 6 else "Ts"
        write_scan(folder / "tmp", f"case_{number}", number)
        for kind in ("images", "labels"):
            (folder / f"{kind}{end}").mkdir(parents=True, exist_ok=True)
        (folder / f"tmp/case_{number}_T1.nii.gz").rename(folder / f"images{end}/case_{number}_0000.nii.gz")
        (folder / f"tmp/case_{number}_seg.nii.gz").rename(folder / f"labels{end}/case_{number}.nii.gz")
    (folder / "tmp").rmdir()
    description = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumour": 2}}
    (folder / "dataset.json").write_text(
        json.dumps(description | {"file_ending": ".nii.gz", "numTraining": 6})
    )
    if folds:
        (folder / "splits_final.json").write_text(json.dumps([folds]))


def test_nnunet(site):
    folder = site.data / "Dataset003_Liver"
    write_nnunet(folder, {"train": [f"case_{n}" for n in range(4)], "val": ["case_4", "case_5"]}, test=2)
    site.run("add-dataset", folder)
    entry = site.entry("liver")
    assert entry["module"] == "nnunet" and entry["modality"] == "CT" and "splits" not in entry
    assert configuration.read(site.config).anatomies["liver"].classes == ["background", "liver", "tumour"]
    data = site.prepare("liver")
    assert [volume.id for volume in data.volumes("test")] == ["case_6", "case_7"]
    shutil.rmtree(folder / "imagesTs")
    shutil.rmtree(folder / "labelsTs")
    shown = site.run(
        "add-dataset", folder, "--name", "liver_folds"
    )  # no test set: the fold's validation is it
    assert "what its files call validation is the test split; validation is drawn from the rest" in shown
    lists = splits.read(site.config / "splits/liver_folds.yaml")
    assert (
        lists["test"] == ["case_4", "case_5"] and len(lists["validation"]) == 1 and len(lists["train"]) == 3
    )


REFUSED = {
    "no folder": (lambda site: None, "nowhere", "no such folder: .*nowhere"),
    "nothing": (lambda site: (site.data / "a").mkdir(parents=True), "a", "holds nothing that is recognized"),
    "taken": (
        lambda site: write_scan(site.data / "t2", "p", 1),
        "t2",
        "datasets.yaml has an entry t2 already",
    ),
    "patients": (
        lambda site: [write_scan(site.data / "a", f"p{n}", n) for n in range(2)],
        "a",
        "a split by patient needs at least 3 patients, and these are 2: p0, p1",
    ),
    "truncated": (
        lambda site: [
            [write_scan(site.data / "a", f"p{n}", n) for n in range(3)],
            (site.data / "a/p1_T1.nii.gz").write_bytes((site.data / "a/p1_T1.nii.gz").read_bytes()[:80]),
        ],
        "a",
        "volume p1 of patient p1: .*p1_T1.nii.gz cannot be read as NIfTI, it is truncated",
    ),
    "label": (
        lambda site: [write_scan(site.data / "a", f"p{n}", n, label_end="_flair") for n in range(3)],
        "a",
        "holds nothing that is recognized",
    ),
    "which": (
        lambda site: [
            [write_scan(site.data / "a", f"p{n}", n) for n in range(3)],
            shutil.copy(site.data / "a/p0_T1.nii.gz", site.data / "a/p0_T2.nii.gz"),
        ],
        "a",
        "p0_seg.nii.gz fits several scans: p0_T1.nii.gz, p0_T2.nii.gz; say what is what with --images",
    ),
    "splits file": (
        lambda site: [
            [write_scan(site.data / "a", f"p{n}", n) for n in range(3)],
            (site.config / "splits").mkdir(),
            (site.config / "splits/a.yaml").write_text("train: []\n"),
        ],
        "a",
        "splits/a.yaml is there already; choose another --name",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_refuses_leaves_everything_as_it_was(site, name):
    make, folder, sentence = REFUSED[name]
    make(site)
    before = site.files()
    assert re.search(sentence, site.run("add-dataset", site.data / folder, rc=1))
    assert site.files() == before


def test_patterns_said_by_hand(site):
    for number in range(3):
        write_scan(site.data / "a", f"p{number}", number)
        write_scan(site.data / "a/more", f"p{number}", number)
    site.run(
        "add-dataset", site.data / "a", "--images", "more/{id}_T1.nii.gz", "--labels", "more/{id}_seg.nii.gz"
    )
    assert site.entry("a")["image_files"] == "more/{id}_T1.nii.gz"


def test_folders_of_splits_and_of_labels(site):
    for split, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        for number in numbers:
            write_scan(site.data / "b" / split, f"p{number}", number)
    site.run("add-dataset", site.data / "b")
    entry = site.entry("b")
    assert entry["image_files"] == "{split}/{id}_T1.nii.gz" and entry["split_names"] == {"validation": "val"}
    assert "splits" not in entry
