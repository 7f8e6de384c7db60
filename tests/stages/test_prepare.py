"""The whole way from raw files to prepared data, and every bad input: one sentence, nothing half-written."""

import h5py
import numpy as np
import pytest
import yaml

from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import prepare

SETTINGS = {
    "dataset": "toy",
    "anatomy": "brain",
    "classes": ["background", "thalamus", "stem"],
    "modality": "T1w",
    "plane": "axial",
    "patients": "pool",
    "splits": None,
    "labels": {0: "background", 4: "thalamus", 9: "stem", 10: "stem"},
    "preprocess": ["percentile", {"resample": {"pixel": 0.5}}, {"crop_pad": {"size": [12, 16]}}],
    "reader": {"module": "hdf5_stack", "files": {s: f"{s}.hdf5" for s in ("train", "validation", "test")}},
}
COUNTS = {"train": 3, "validation": 1, "test": 2}


class Site:
    """A raw folder and a results folder, to be damaged."""

    def __init__(self, root):
        self.raw, self.results = root / "raw", root / "results"
        self.folder = self.results / "data" / "toy"
        self.raw.mkdir()
        self.folder.mkdir(parents=True)
        for number, (split, count) in enumerate(COUNTS.items()):
            random = np.random.default_rng(number)
            with h5py.File(self.raw / f"{split}.hdf5", "w") as content:
                content["images"] = random.normal(100, 9, (2 * count, 8, 7)).astype(np.float32)
                content["labels"] = random.choice([0, 4, 9, 10], (2 * count, 8, 7)).astype(np.uint8)
                content["nz"] = [2] * count
        self.settings()

    def settings(self, **changes):
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | changes, sort_keys=False))

    def change(self, split, index, value, key="images"):
        with h5py.File(self.raw / f"{split}.hdf5", "r+") as content:
            content[key][index] = value

    def run(self, **more):
        prepare.run("toy", self.results, self.raw, **more)
        return Prepared(self.folder)

    def files(self):
        return {
            file.name: file.read_bytes() for file in self.folder.iterdir() if file.name != "settings.yaml"
        }


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_prepared_content(site, capsys):
    data = site.run()
    assert {split: len(data.volumes(split)) for split in COUNTS} == COUNTS
    info = data.volumes("train")[1]
    assert (info.id, info.patient, info.slices, info.shape) == ("train_001", "pool:train_001", 2, (12, 16))
    assert info.spacing == (1, 0.5, 0.5) and info.raw_shape == (2, 8, 7)
    assert (info.raw_affine @ [0, 3.5, 3, 1]) == pytest.approx(
        info.affine @ [0, 5.5, 7.5, 1]
    )  # the same centre
    image, label = data.volume("train", "train_001")
    assert image.dtype == np.float32 and label.dtype == np.uint8
    assert image.min() == 0 and 0.5 < image.max() <= 1
    assert set(np.unique(label)) == {0, 1, 2}
    for z in range(2):
        one, its_label = data.slice("train", "train_001", z)
        np.testing.assert_array_equal(one, image[z])
        np.testing.assert_array_equal(its_label, label[z])
    counts = data.counts("train")
    assert counts[1].tolist() == [[int((label[z] == c).sum()) for c in range(3)] for z in range(2)]
    labels = np.concatenate([data.volume("train", v.id)[1] for v in data.volumes("train")])
    fractions = data.manifest["splits"]["train"]["class_fractions"]
    assert fractions == pytest.approx([(labels == c).mean() for c in range(3)])
    assert data.classes == SETTINGS["classes"]
    assert data.manifest["settings"] == (site.folder / "settings.yaml").read_text()
    assert str(site.raw) not in (site.folder / "manifest.json").read_text()
    lines = [line for line in capsys.readouterr().out.splitlines() if "s left" in line]
    assert len(lines) == 6 and lines[3].startswith("prepare toy: 4/6 validation/validation_000")


def test_the_label_map_is_applied_before_the_steps(site):
    site.settings(preprocess=["percentile"])
    data = site.run()
    with h5py.File(site.raw / "train.hdf5") as content:
        raw = content["labels"][:2]
    np.testing.assert_array_equal(
        data.volume("train", "train_000")[1], np.select([raw == 4, raw >= 9], [1, 2])
    )


def test_same_content_same_files_and_digest(site):
    first = site.run().sha256
    before = site.files()
    assert site.run().sha256 == first and site.files() == before
    assert site.run(workers=2).sha256 == first and site.files() == before
    site.change("test", (1, 0, 0), 1e6)
    assert site.run().sha256 != first


def test_split_lists(site):
    lists = {"train": ["test_000", "test_001"], "validation": ["validation_000"]}
    lists["test"] = [f"train_00{i}" for i in range(3)]
    site.settings(splits=lists)
    data = site.run()
    assert [volume.id for volume in data.volumes("test")] == lists["test"]
    assert [volume.patient for volume in data.volumes("train")] == ["pool:test_000", "pool:test_001"]


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
        "volume train_001: 1 voxels of the image are NaN",
    ),
    "inf": (
        lambda s: s.change("test", (0, 1, 1), np.inf),
        "volume test_000: 1 voxels of the image are NaN or inf",
    ),
    "constant": (lambda s: s.change("test", slice(2, 4), 7), "volume test_001: every voxel .* same value, 7"),
    "label value": (
        lambda s: s.change("validation", (0, 0, 0), 5, "labels"),
        "volume validation_000: the label holds the value 5, which is no class; known values: 0, 4, 9, 10",
    ),
    "label no class": (lambda s: s.settings(labels=None), "value 4, .* known values: 0, 1, 2"),
    "unknown class": (
        lambda s: s.settings(labels={0: "backgruond"}),
        "unknown class 'backgruond'; did you mean",
    ),
    "range": (lambda s: s.settings(preprocess=[]), r"volume train_000: values lie in \[.*lacks a step"),
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
        "test.h5",
        "train.h5",
        "validation.h5",
    ]
    Prepared(site.folder).verify()


def test_bad_input_in_a_worker_is_the_same_sentence(site):
    site.change("train", (3, 1, 1), np.nan)
    with pytest.raises(SegShiftError, match="volume train_001: 1 voxels"):
        site.run(workers=2)
    assert site.files() == {}


def test_missing_raw_folder(site):
    with pytest.raises(SegShiftError, match="no such folder: .*nowhere"):
        prepare.run("toy", site.results, site.raw / "nowhere")


def test_unequal_slices(site):
    with h5py.File(site.raw / "test.hdf5", "w") as content:
        content["images"] = np.random.default_rng(0).random((2, 8, 9))
        content["labels"], content["nz"] = np.zeros((2, 8, 9)), [2]
    site.settings(preprocess=["percentile"])
    with pytest.raises(
        SegShiftError, match=r"test_000 has slices of \(8, 9\), train_000 of \(8, 7\).*crop_pad"
    ):
        site.run()
    assert site.files() == {}


def test_a_reader_without_splits_needs_lists():
    case = prepare.Case("a", "a", None)
    with pytest.raises(SegShiftError, match="case a has no split"):
        prepare.split_cases([case], None)


def test_a_patient_in_two_of_the_readers_splits():
    cases = [prepare.Case("a1", "a", "train"), prepare.Case("a2", "a", "test")]
    with pytest.raises(SegShiftError, match="patient a is in two splits, train and test"):
        prepare.split_cases(cases, None)


def test_the_plane_is_handed_to_a_reader_that_takes_one(tmp_path):
    import nibabel

    values = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    for name in "abc":
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / f"{name}.nii")
        nibabel.Nifti1Image((values > 0.5).astype(np.uint8), np.eye(4)).to_filename(
            tmp_path / f"{name}_seg.nii"
        )
    folder = tmp_path / "results/data/mr"
    folder.mkdir(parents=True)
    reader = {"module": "nifti", "image_files": "{id}.nii", "label_files": "{id}_seg.nii"}
    settings = SETTINGS | {"plane": "coronal", "reader": reader, "labels": None, "preprocess": ["min_max"]}
    settings |= {"splits": {"train": ["a"], "validation": ["b"], "test": ["c"]}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    prepare.run("mr", tmp_path / "results", tmp_path)
    assert Prepared(folder).volumes("train")[0].raw_shape == (5, 6, 4)
