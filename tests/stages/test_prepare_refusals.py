"""What ``prepare`` refuses: one sentence, and what was prepared before stays as it was."""

import h5py
import numpy as np
import pytest
from tests.stages.raw_site import SETTINGS

from segshift.errors import SegShiftError
from segshift.preparation import cases
from segshift.prepared import Prepared
from segshift.stages import prepare
from segshift.volumes import Case

ALL = {"train": ["train_000", "train_001", "train_002"], "validation": ["validation_000"]}
BAD = {
    "two splits": (
        lambda s: s.settings(splits=ALL | {"test": ["train_001", "test_000", "test_001"]}),
        "patient train_001 is in two splits, train and test",
    ),
    "no case": (
        lambda s: s.settings(splits=ALL | {"test": ["test_000", "test_001", "nobody"]}),
        "lists patient nobody in test, of whom there is no file",
    ),
    "not listed": (
        lambda s: s.settings(splits=ALL | {"test": ["test_000"]}),
        "case test_001 of patient test_001 is in none of the lists",
    ),
    "split name": (lambda s: s.settings(splits={"val": ["train_000"]}), "unknown split 'val'"),
    "nan": (
        lambda s: s.change("train", (3, 1, 1), np.nan),
        r"volume train_001 \(patient train_001, train.hdf5\): 1 voxels of the image are NaN",
    ),
    "inf": (
        lambda s: s.change("test", (0, 1, 1), np.inf),
        r"volume test_000 \(patient test_000, test.hdf5\): 1 voxels of the image are NaN or inf",
    ),
    "constant": (
        lambda s: s.change("test", slice(2, 4), 7),
        r"volume test_001 \(patient test_001, test.hdf5\): every voxel .* same value, 7",
    ),
    "label value": (
        lambda s: s.change("validation", (0, 0, 0), 5, "labels"),
        r"volume validation_000 \(patient validation_000, validation.hdf5\): the label holds the value 5, "
        "which is no class; known values: 0, 4, 9, 10",
    ),
    "label no class": (lambda s: s.settings(labels=None), "value 4, .* known values: 0, 1, 2"),
    "unknown class": (
        lambda s: s.settings(labels={0: "backgruond"}),
        "unknown class 'backgruond'; did you mean",
    ),
    "no foreground": (
        lambda s: s.change("test", slice(0, 2), 0, "labels"),
        r"volume test_000 \(patient test_000, test.hdf5\): the label is background alone.*empty_labels",
    ),
    "absurd spacing": (
        lambda s: s.add("train", pz=[3, 3000, 3], py=[1] * 3, px=[1] * 3),
        r"volume train_001 \(.*\): a spacing of 3000 x 1 x 1 mm .* is absurd.*accept: \[spacing\]",
    ),
    "no spacing": (lambda s: s.add("train", pz=[3, 0, 3]), r"train_001 .*: a spacing of 0 x 1 x 1 mm"),
    "duplicate": (
        lambda s: s.change("train", slice(4, 6), s.images("test", slice(0, 2))),
        r"train_002 \(patient pool:train_002\) in train of toy and test_000 \(patient pool:test_000\) "
        r"in test of toy hold the same voxels; .*accept: \[duplicates\]",
    ),
    "duplicate in a split": (
        lambda s: s.change("train", slice(4, 6), s.images("train", slice(0, 2))),
        r"train_000 .* in train of toy and train_002 .* in train of toy hold the same voxels",
    ),
    "cropped labels": (
        lambda s: s.settings(lost_labels=None),
        r"volume train_000 .*: [\d.]+ % of the labelled voxels are cropped away, most .* allows 1.00 %",
    ),
    "worn labels": (
        lambda s: s.settings(lost_labels=0.2, preprocess=["percentile", {"resample": {"pixel": 7}}]),
        r"the steps lose [\d.]+ % of the labelled voxels over all volumes, 0.00 % of them by cropping",
    ),
    "other plane": (
        lambda s: s.settings(preprocess=["percentile", {"plane": {"plane": "coronal"}}]),
        "the step plane makes coronal slices, but the dataset's entry says `plane: axial`",
    ),
    "range": (lambda s: s.settings(preprocess=[]), r"volume train_000 .*: values lie in \[.*lacks a step"),
    "step": (lambda s: s.settings(preprocess=["percentil"]), "unknown step 'percentil'"),
    "constant after": (
        lambda s: s.settings(preprocess=[{"percentile": {"low": 0, "high": 0}}]),
        "percentile: low 0 and high 0",
    ),
    "reader key": (
        lambda s: s.settings(reader=SETTINGS["reader"] | {"fils": 1}),
        "reader hdf5_stack has no parameter 'fils'; did you mean 'files'",
    ),
    "reader missing": (
        lambda s: s.settings(reader={"module": "hdf5_stack"}),
        "reader hdf5_stack needs files",
    ),
    "module": (lambda s: s.settings(reader={"module": "hdf5"}), "no module in datasets/ is called 'hdf5'"),
    "file": (lambda s: (s.raw / "test.hdf5").unlink(), "no such file: .*test.hdf5"),
    "truncated": (
        lambda s: (s.raw / "test.hdf5").write_bytes((s.raw / "test.hdf5").read_bytes()[:900]),
        "test.hdf5 cannot be read as HDF5",
    ),
    "settings": (lambda s: (s.folder / "settings.yaml").write_text("classes: [a]\n"), "has no key 'plane'"),
    "no settings": (
        lambda s: (s.folder / "settings.yaml").unlink(),
        "settings.yaml is not there; first: segshift settings --write",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_sentence_and_leaves_the_earlier_data(site, name):
    damage, sentence = BAD[name]
    site.run()
    before = site.files()
    damage(site)
    with pytest.raises(SegShiftError, match=sentence) as raised:
        site.run()
    assert "\n" not in str(raised.value)
    assert site.files() == before and sorted(before) == [
        "manifest.json",
        "quality.html",
        "quality.json",
        "test.h5",
        "train.h5",
        "validation.h5",
    ]
    Prepared(site.folder).verify()


def test_bad_input_in_a_worker_is_the_same_sentence(site):
    site.change("train", (3, 1, 1), np.nan)
    with pytest.raises(SegShiftError, match=r"volume train_001 \(patient train_001, train.hdf5\): 1 voxels"):
        site.run(workers=2)
    assert site.files() == {}


def test_missing_raw_folder(site):
    with pytest.raises(SegShiftError, match="no such folder: .*nowhere"):
        prepare.run("toy", site.results, site.raw / "nowhere")


def test_unequal_slices(site):
    with h5py.File(site.raw / "test.hdf5", "w") as content:
        content["images"] = np.random.default_rng(0).random((2, 8, 9))
        content["labels"], content["nz"] = np.zeros((2, 8, 9)), [2]
    site.settings(preprocess=["percentile"], accept=["empty_labels"])
    with pytest.raises(
        SegShiftError, match=r"test_000 has slices of \(8, 9\), train_000 of \(8, 7\).*crop_pad"
    ):
        site.run()
    assert site.files() == {}


def test_a_reader_without_splits_needs_lists():
    case = Case("a", "a", None)
    with pytest.raises(SegShiftError, match="case a has no split"):
        cases.split_cases([case], None)


def test_a_patient_in_two_of_the_readers_splits():
    found = [Case("a1", "a", "train"), Case("a2", "a", "test")]
    with pytest.raises(SegShiftError, match="patient a is in two splits, train and test"):
        cases.split_cases(found, None)
