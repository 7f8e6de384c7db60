"""The phantom stage: files that the lab's reader reads; made once, made again when settings change."""

import hashlib
import json

import numpy as np
import pytest
import yaml

from segshift import phantoms
from segshift.datasets import hdf5_stack
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


def test_same_settings_same_bytes(made, tmp_path):
    phantom.run(tmp_path, **SMALL, domains=["t1_a", "flair"])
    assert digests(tmp_path) == digests(made)


def test_second_call_does_nothing_and_other_settings_make_all_again(tmp_path, capsys):
    one = SMALL | {"train": 1}
    phantom.run(tmp_path, **one, domains=["t2", "flair"])
    assert "phantom: 6/6 brain_flair, patient 2, test" in capsys.readouterr().out
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
