"""The phantom stage: files that the lab's reader reads; made once, made again when settings change."""

import hashlib
import json

import numpy as np
import pytest
import yaml

from segshift import phantoms
from segshift.datasets import hdf5_stack, nifti, png
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import phantom, prepare

SMALL = {"size": 32, "slices": 4, "train": 2, "validation": 1, "test": 1}
FILES = {split: f"data_{split}.hdf5" for split in ("train", "validation", "test")}


def digests(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*.*")
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    phantom.run(folder, **SMALL, domains=["t1_a", "flair"])
    return folder


def test_files_are_read_back(made):
    assert sorted(path.name for path in made.iterdir()) == ["brain_flair", "brain_t1_a", "phantom.json"]
    cases = hdf5_stack.cases(made / "brain_flair", files=FILES)
    assert [case.patient for case in cases] == [f"flair_00{i}" for i in range(4)]
    assert [case.split for case in cases] == ["train", "train", "validation", "test"]
    image, label, spacing = phantoms.volume("flair", 3, size=32, slices=4)
    volume = hdf5_stack.read(cases[3])
    np.testing.assert_array_equal(volume.image, image)
    np.testing.assert_array_equal(volume.label, label)
    assert volume.spacing == spacing


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    phantom.run(folder, **SMALL, domains=["prostate_coil", "spine_b", "tumor_flair", "tumor_t2"])
    return folder


def test_prostate_lies_in_the_layout_of_brains(others):
    (case, *_) = hdf5_stack.cases(others / "prostate_coil", files=FILES)
    image, label, spacing = phantoms.volume("prostate_coil", 0, size=32, slices=4)
    volume = hdf5_stack.read(case)
    np.testing.assert_array_equal(volume.image, image)
    np.testing.assert_array_equal(volume.label, label)
    assert volume.spacing == spacing


def test_spine_is_read_from_pictures(others):
    layout = {
        "image_files": "images/{split}/{id}.png",
        "label_files": "labels/{split}/{id}_labelTrainIds.png",
    }
    cases = png.cases(others / "spine_b", **layout, volume=r"(.+)_\d+", pixel=6.25, thickness=4)
    assert [(case.patient, case.split) for case in cases] == [
        ("spine_b_003", "test"),
        ("spine_b_000", "train"),
        ("spine_b_001", "train"),
        ("spine_b_002", "validation"),
    ]
    image, label, spacing = phantoms.volume("spine_b", 3, size=32, slices=4)
    volume = png.read(cases[0])
    np.testing.assert_allclose(volume.image, image, atol=0.5 / 255 + 1e-6)
    np.testing.assert_array_equal(volume.label, label)
    assert volume.spacing == spacing


@pytest.mark.parametrize("domain", ["tumor_flair", "tumor_t2"])
def test_tumors_are_read_from_oblique_scans(others, domain):
    files = f"{{split}}/{{id}}_{domain[6:].upper()}.nii.gz"
    cases = nifti.cases(others / "tumor", image_files=files, label_files="{split}/{id}_Label.nii.gz")
    assert [case.patient for case in cases] == [f"tumor_{number:03d}" for number in range(4)]
    image, label, spacing = phantoms.volume(domain, 0, size=32, slices=4)
    volume = nifti.read(cases[0])
    # the reader shows the patient's right on the left of the picture, as radiologists do
    np.testing.assert_allclose(volume.image / 1000, image[:, :, ::-1], atol=0.5e-3 + 1e-6)
    np.testing.assert_array_equal(volume.label, label[:, :, ::-1])
    np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-6)
    directions = volume.affine[:3, :3] / np.array(spacing)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    assert np.abs(directions).max(0).max() < 0.995  # no axis along the scanner's
    # slices go up, rows to the back, columns to the left
    assert directions[2, 0] > 0.9 and directions[1, 1] < -0.9 and directions[0, 2] < -0.9


def test_more_domains_leave_those_alone_that_lie_there(tmp_path, capsys):
    one = SMALL | {"train": 1}
    phantom.run(tmp_path, **one, domains=["spine_a"])
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in tmp_path.rglob("*.png")}
    phantom.run(tmp_path, **one, domains=["spine_a", "spine_b"])
    assert "phantom: 3/3 spine_b, spine_b, patient 2, test, 0 s left" in capsys.readouterr().out
    assert {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in before} == before
    phantom.run(tmp_path, **one, seed=1, domains=["spine_b"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["phantom.json", "spine_b"]


def test_same_settings_same_bytes(made, others, tmp_path):
    phantom.run(tmp_path / "brains", **SMALL, domains=["t1_a", "flair"])
    assert digests(tmp_path / "brains") == digests(made)
    again = tmp_path / "others"
    phantom.run(again, **SMALL, domains=["prostate_coil", "spine_b", "tumor_flair", "tumor_t2"])
    assert digests(again) == digests(others)


def test_second_call_does_nothing_and_other_settings_make_all_again(tmp_path, capsys):
    one = SMALL | {"train": 1}
    phantom.run(tmp_path, **one, domains=["t2", "flair"])
    assert "phantom: 6/6 brain_flair, flair, patient 2, test, 0 s left" in capsys.readouterr().out
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    phantom.run(tmp_path, **one, domains=["t2", "flair"])
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == times
    assert "up to date" in capsys.readouterr().out
    before = digests(tmp_path / "brain_t2")
    phantom.run(tmp_path, **one, seed=1, domains=["t2"])
    assert not (tmp_path / "brain_flair").exists()
    assert all(digests(tmp_path / "brain_t2")[name] != digest for name, digest in before.items())
    assert json.loads((tmp_path / "phantom.json").read_text())["seed"] == 1
    (tmp_path / "brain_t2" / "data_test.hdf5").unlink()
    phantom.run(tmp_path, **one, seed=1, domains=["t2"])
    assert (tmp_path / "brain_t2" / "data_test.hdf5").is_file()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"domains": ["t1"]}, "unknown phantom domain 't1'"),
        ({"domains": []}, "domains is empty"),
        ({"size": 8}, "size is 8, it must be at least 16"),
        ({"test": 0}, "test is 0, it must be at least 1"),
    ],
)
def test_wrong_settings_write_nothing(tmp_path, changes, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        phantom.run(tmp_path, **SMALL | changes)
    assert list(tmp_path.iterdir()) == []


def test_phantoms_can_be_prepared(made, tmp_path):
    folder = tmp_path / "data" / "brain_t1_a"
    folder.mkdir(parents=True)
    settings = {
        "dataset": "brain_t1_a",
        "classes": list(phantoms.CLASSES),
        "modality": "T1w",
        "plane": "axial",
        "patients": None,
        "splits": None,
        "labels": None,
        "preprocess": [],
        "reader": {"module": "hdf5_stack", "files": FILES},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    prepare.run("brain_t1_a", tmp_path, made / "brain_t1_a")
    data = Prepared(folder)
    data.verify()
    assert data.volumes("test")[0].patient == "brain_t1_a:t1_a_003"
    assert all(fraction > 0 for fraction in data.manifest["splits"]["train"]["class_fractions"])
