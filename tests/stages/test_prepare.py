"""The whole way from raw files to prepared data; what is refused is in ``test_prepare_refusals.py``."""

import base64
import io
import json
import re

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image
from tests.stages.raw_site import COUNTS, SETTINGS

from segshift.errors import SegShiftError
from segshift.preparation import steps as preprocess
from segshift.prepared import Prepared
from segshift.stages import prepare


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
    site.change("test", (1, 0, 0), 1e6)
    assert site.run().sha256 != first


def test_any_number_of_workers_gives_the_same_bytes_with_every_kind_of_step(site):
    steps = [
        {"n4": {"iterations": 5}},
        "percentile",
        {"resample": {"pixel": 0.5}},
        {"crop_pad": {"size": 16}},
    ]
    for split, count in COUNTS.items():  # slices enough for N4
        random = np.random.default_rng(len(split))
        with h5py.File(site.raw / f"{split}.hdf5", "w") as content:
            content["images"] = random.normal(100, 9, (12 * count, 8, 8)).astype(np.float32)
            content["labels"] = random.choice([0, 4, 9, 10], (12 * count, 8, 8)).astype(np.uint8)
            content["nz"] = [12] * count
    site.settings(preprocess=steps)
    site.run()
    before = site.files()
    for workers, cache in ((2, 1), (1, 1)):  # filling the cache, and from it
        site.run(workers=workers, cache=cache)
        assert site.files() == before
    assert len(list((site.results / "cache").iterdir())) == 6 * len(steps)


def test_a_changed_step_repeats_only_what_follows_it(site, monkeypatch, capsys):
    ran = []

    def counted(volume, step, apply_one=preprocess.apply_one):
        ran.append(next(iter(step)) if isinstance(step, dict) else step)
        return apply_one(volume, step)

    monkeypatch.setattr(preprocess, "apply_one", counted)

    def run(*steps, **more):
        ran.clear()
        site.settings(preprocess=list(steps), **more)
        site.run(cache=1)
        return {name: ran.count(name) for name in dict.fromkeys(ran)}

    crop, resample = {"crop_pad": {"size": [12, 16]}}, {"resample": {"pixel": 0.5}}
    assert run("percentile", resample, crop) == {"percentile": 6, "resample": 6, "crop_pad": 6}
    assert run("percentile", resample, crop) == {}
    assert "1/6 train/train_000, 3 of 3 steps kept, " in capsys.readouterr().out
    assert run("percentile", resample, {"crop_pad": {"size": [14, 16]}}) == {"crop_pad": 6}
    smaller = {"resample": {"pixel": 0.6}}
    assert run("percentile", smaller, crop) == {"resample": 6, "crop_pad": 6}
    assert run({"percentile": {"low": 0}}, resample, crop) == {"percentile": 6, "resample": 6, "crop_pad": 6}
    assert (
        run("percentile", resample, crop, modality="T2w", version=2) == {}
    )  # back again, and no step's business
    site.change("train", (0, 0, 0), 1e3)
    assert run("percentile", resample, crop) == {"percentile": 1, "resample": 1, "crop_pad": 1}
    swapped = {0: "background", 4: "stem", 9: "thalamus", 10: "thalamus"}
    assert run("percentile", resample, crop, labels=swapped)["percentile"] == 6


def test_the_quality_sheet(site):
    site.settings(preprocess=["percentile", {"crop_pad": {"size": [6, 7]}}])  # two of eight rows go
    data = site.run(colours=["#000000", "#ff0000", "#0000ff"])
    quality = json.loads((site.folder / "quality.json").read_text())
    for split, count in COUNTS.items():
        assert len(quality["splits"][split]) == count
        for index, one in enumerate(quality["splits"][split]):
            with h5py.File(site.raw / f"{split}.hdf5") as content:
                raw = content["labels"][2 * index : 2 * index + 2]
            kept = raw[:, 1:7]
            assert one["millilitres"]["thalamus"] == pytest.approx((kept == 4).sum() / 1000)
            assert one["cropped"] == pytest.approx(1 - (kept > 0).sum() / (raw > 0).sum())
            assert one["lost_labels"] == pytest.approx(one["cropped"])
            assert (one["raw_size"], one["size"]) == ([2, 8, 7], [2, 6, 7])
            assert sum(one["histogram"]) == 2 * 6 * 7
            image, _ = data.volume(split, one["id"])
            assert one["histogram"][0] == np.count_nonzero(image < 1 / 64)
    page = (site.folder / "quality.html").read_text()
    for words in ("train/train_000, train/train_001", "thalamus", "2 × 8 × 7", "2 × 6 × 7", "Cropped away"):
        assert words in page
    assert "http" not in page and str(site.raw) not in page
    (encoded,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(encoded))))
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert (picture == colour).all(2).sum() > 100  # contours of both classes


def test_checks_that_the_entry_accepts(site):
    site.change("test", slice(0, 2), 0, "labels")
    site.change("train", slice(4, 6), site.images("test", slice(2, 4)))
    site.add("train", pz=[3, 3000, 3])
    site.settings(accept=["empty_labels", "duplicates", "spacing"])
    assert site.run().volumes("train")[1].spacing[0] == 3000


class TestSiblings:
    """A second dataset of the same people, in other splits."""

    @pytest.fixture
    def other(self, site):
        folder = site.results / "data" / "other"
        folder.mkdir()
        random = np.random.default_rng(9)
        lists = {"train": ["a"], "validation": ["b"], "test": ["c"]}
        files = {"train": "o_train.hdf5", "validation": "o_validation.hdf5", "test": "o_test.hdf5"}

        def run(**patients):
            for split, name in files.items():
                with h5py.File(site.raw / name, "w") as content:
                    content["images"] = random.normal(100, 9, (2, 8, 7)).astype(np.float32)
                    content["labels"] = random.choice([0, 4], (2, 8, 7)).astype(np.uint8)
                    content["nz"] = [2]
                    names = [patients.get(split, lists[split][0])]
                    content.create_dataset("patients", data=names, dtype=h5py.string_dtype())
            reader = SETTINGS["reader"] | {"files": files}
            settings = SETTINGS | {"dataset": "other", "reader": reader}
            (folder / "settings.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
            prepare.run("other", site.results, site.raw, siblings=["toy", "never_prepared"])

        run.folder = folder
        return run

    def test_other_people(self, site, other):
        site.run()
        other()
        Prepared(other.folder).verify()

    def test_the_same_people_in_the_same_splits(self, site, other):
        site.run()
        other(train="train_001", test="test_000")

    @pytest.mark.parametrize(
        ("patients", "sentence"),
        [
            (
                {"train": "test_001"},
                "patient pool:test_001 is in train of other and in test of its sibling toy: give both",
            ),
            (
                {"test": "validation_000"},
                "patient pool:validation_000 is in validation of toy and in test of its sibling other",
            ),
        ],
    )
    def test_the_same_person_on_both_sides(self, site, other, patients, sentence):
        site.run()
        other()
        before = {file.name: file.read_bytes() for file in other.folder.iterdir()}
        with pytest.raises(SegShiftError, match=sentence):
            other(**patients)
        after = {file.name: file.read_bytes() for file in other.folder.iterdir()}
        assert before == after

    def test_a_sibling_whose_entry_changed_meanwhile_says_nothing(self, site, other):
        site.run()
        site.settings(version=2)
        other(train="test_001")

    def test_two_that_finish_at_once(self, site, other, monkeypatch):
        """The sibling appears after the first look and before the last: the later one withdraws."""
        write = prepare._manifest

        def meanwhile(*arguments):
            made = write(*arguments)
            if arguments[0] == "other":
                monkeypatch.setattr(prepare.leakage, "prepared", late)
            return made

        real, looks = prepare.leakage.prepared, []

        def late(*arguments):
            looks.append(arguments)
            return {} if len(looks) == 1 else real(*arguments)

        site.run()
        monkeypatch.setattr(prepare, "_manifest", meanwhile)
        with pytest.raises(SegShiftError, match="patient pool:test_001"):
            other(train="test_001")
        assert len(looks) == 2 and not (other.folder / "manifest.json").exists()


def test_split_lists(site):
    lists = {"train": ["test_000", "test_001"], "validation": ["validation_000"]}
    lists["test"] = [f"train_00{i}" for i in range(3)]
    site.settings(splits=lists)
    data = site.run()
    assert [volume.id for volume in data.volumes("test")] == lists["test"]
    assert [volume.patient for volume in data.volumes("train")] == ["pool:test_000", "pool:test_001"]


def test_the_plane_is_handed_to_a_reader_that_takes_one(tmp_path):
    import nibabel

    for number, name in enumerate("abc"):
        values = np.random.default_rng(number).random((4, 5, 6)).astype(np.float32)
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
