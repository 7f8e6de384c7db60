"""Masks of other tools: exported in nnU-Net's layout, scored, tracked, in tables; and what is refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
import yaml
from scipy.spatial.transform import Rotation

from segshift import cli, external_masks, scores
from segshift.datasets import nnunet
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import export_dataset, plan, score, status, tabulate, track

NIFTI = {
    "module": "nifti",
    "image_files": "{split}/{id}_image.nii.gz",
    "label_files": "{split}/{id}_label.nii.gz",
    "anatomy": "brain",
    "modality": "T1",
    "plane": "axial",
    "labels": {0: "background", 3: "gray", 8: "white"},
    "preprocess": ["percentile", {"resample": {"pixel": 1.5}}, {"crop_pad": {"size": [9, 11]}}],
    "lost_labels": 1.0,
}
SHIFT = {
    "title": "Shift",
    "grid": {
        "source": ["one"],
        "backbone": ["nnunet_2d", "blurred"],
        "tuning": ["external"],
        "head": ["external"],
    },
    "targets": {"brain": ["one", "two"]},
}
EXTERNAL = {
    "nnunet_2d": {"trainable": 30_600_000, "pretrained_on": {}},
    "blurred": {"pretrained_on": "unknown"},
}
COUNTS = {"train": 2, "validation": 2, "test": 4}
SHAPE = (11, 13, 5)


def blob(random):
    """Labels 0, 3 and 8 in a box that lies off the centre, so that no flip hides."""
    label = np.zeros(SHAPE, np.uint8)
    x, y, z = random.integers(1, [4, 4, 2])
    label[x : x + 5, y : y + 6, z : z + 3] = 3
    label[x + 1 : x + 4, y : y + 3, z : z + 2] = 8
    return label


def write(folder, seed):
    for number, (split, count) in enumerate(COUNTS.items()):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            random = np.random.default_rng([seed, number, index])
            label = blob(random)
            affine = np.eye(4)
            turned = Rotation.from_euler("xyz", random.uniform(-12, 12, 3), degrees=True).as_matrix()
            affine[:3, :3] = turned @ np.diag([-1.2, 1.2, 4.0])
            affine[:3, 3] = random.uniform(-50, 50, 3)
            image = label * 20.0 + random.normal(50, 5, SHAPE)
            for what, array in (("image", image.astype(np.float32)), ("label", label)):
                file = folder / split / f"s{seed}_{split}{index}_{what}.nii.gz"
                nibabel.Nifti1Image(array, affine).to_filename(file)


@pytest.fixture(scope="module")
def made(tmp_path_factory, project_class, database):
    """Two prepared datasets, and one exported both ways."""
    root = tmp_path_factory.mktemp("external")
    made = project_class(root)
    (made.config / "datasets.yaml").write_text(yaml.safe_dump({"one": NIFTI, "two": NIFTI}))
    (made.config / "experiments.yaml").write_text(yaml.safe_dump({"shift": SHIFT}))
    (made.config / "external.yaml").write_text(yaml.safe_dump(EXTERNAL))
    for seed, name in enumerate(("one", "two")):
        write(root / "data" / name, seed)
    say(made, "settings", "--write")
    say(made, "prepare", "one", "two")
    for name in ("one", "two"):
        for space in ("prepared", "native"):
            folder = root / "exported" / f"Dataset50{len(space)}_{name}"
            say(made, "export-dataset", name, "--nnunet", folder, "--space", space)
    made.results.tracking.mkdir(parents=True, exist_ok=True)
    (made.results.tracking / "mlflow.db").write_bytes(database.read_bytes())
    return made


def say(made, *words, code=0):
    where = ["--config", str(made.config), "--results", str(made.results.root)]
    assert cli.main([*map(str, words), *where]) == code


def exported(made, name="one", space="prepared"):
    return made.config.parent / "exported" / f"Dataset50{len(space)}_{name}"


def rows_of(made, name="nnunet_2d", source="one"):
    return scores.read(made.results.run(f"{source}/{name}/external/external/0") / "scores.csv")


def changed(folder, out, change, orientation=None):
    """The labels of a folder, each changed, on the same voxels; in another orientation if asked."""
    out.mkdir(parents=True)
    for file in sorted(folder.glob("*.nii.gz")):
        image = nibabel.load(file)
        image = nibabel.Nifti1Image(change(np.asarray(image.dataobj)), image.affine)
        if orientation:
            codes = nibabel.orientations.axcodes2ornt(orientation)
            image = image.as_reoriented(
                nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), codes)
            )
        image.to_filename(out / file.name)
    return out


def dice(one, other):
    return 200 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_layout_is_nnu_net_s_and_our_reader_reads_it_back(made):
    folder = exported(made)
    described = json.loads((folder / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "gray": 1, "white": 2}
    assert described["channel_names"] == {"0": "T1"} and described["numTraining"] == 4
    (fold,) = json.loads((folder / "splits_final.json").read_text())
    prepared = Prepared(made.results.data("one"))
    assert fold["val"] == [volume.id for volume in prepared.volumes("validation")]
    assert fold["train"] == [volume.id for volume in prepared.volumes("train")]
    found = nnunet.cases(folder)
    assert [case.split for case in found] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 4
    for case in found:
        volume = nnunet.read(case)
        image, label = prepared.volume(case.split, case.id)
        np.testing.assert_array_equal(volume.label, label)
        np.testing.assert_array_equal(volume.image, image)
        (info,) = (one for one in prepared.volumes(case.split) if one.id == case.id)
        np.testing.assert_allclose(volume.affine, info.affine, atol=1e-4)


def test_simple_itk_reads_slices_first_as_nnu_net_does(made):
    folder, prepared = exported(made), Prepared(made.results.data("one"))
    (info, *_) = prepared.volumes("test")
    for what in (f"imagesTs/{info.id}_0000", f"labelsTs/{info.id}"):
        image = SimpleITK.ReadImage(str(folder / f"{what}.nii.gz"))
        assert SimpleITK.GetArrayViewFromImage(image).shape == (info.slices, *info.shape)
        assert image.GetSpacing()[::-1] == pytest.approx(info.spacing, abs=1e-5)


def test_a_native_export_is_the_raw_file(made):
    for case in nnunet.cases(exported(made, space="native")):
        raw = made.config.parent / "data" / "one" / case.split
        label, image = (nibabel.load(raw / f"{case.id}_{what}.nii.gz") for what in ("label", "image"))
        ours = nibabel.load(case.where["label"])
        as_raw = nibabel.orientations.ornt_transform(
            nibabel.io_orientation(ours.affine), nibabel.io_orientation(label.affine)
        )
        ours = ours.as_reoriented(as_raw)
        np.testing.assert_array_equal(np.array([0, 3, 8])[np.asarray(ours.dataobj)], label.dataobj)
        np.testing.assert_allclose(ours.affine, label.affine, atol=1e-4)
        theirs = nibabel.load(case.where["image"]).as_reoriented(as_raw)
        np.testing.assert_array_equal(theirs.dataobj, image.dataobj)


@pytest.mark.parametrize("space", ["prepared", "native"])
def test_exported_labels_as_masks_are_perfect(made, space, capsys):
    labels = exported(made, space=space)
    options = ["--validation", labels / "labelsVal", "--spaces", "native", "--metrics", "hd95"]
    (labels / "labelsVal").mkdir(exist_ok=True)
    for file in (labels / "labelsTr").glob("*validation*"):
        (labels / "labelsVal" / file.name).write_bytes(file.read_bytes())
    say(made, "score", labels / "labelsTs", "--dataset", "one", "--name", "perfect", *options)
    found = rows_of(made, "perfect")
    for split, count in (("test", 4), ("validation", 2)):
        own = list(scores.select(found, "one", split))
        assert len(own) == 2 * count  # of two classes; a mask has no loss
        assert scores.dice(found, "one", split) == 100
        assert {(row.fp, row.fn, row.hd95) for row in own} == {(0, 0, 0.0)}
    native = scores.score(found, "one", "test", space="native")
    assert native == 100 if space == "native" else 60 < native < 100  # the prepared grid lost some voxels
    said = capsys.readouterr().out
    assert "one: test Dice 100.00" in said and "taken as trained on one" in said


@pytest.mark.parametrize("space", ["prepared", "native"])
def test_masks_as_simple_itk_writes_them(made, tmp_path, space):
    files = sorted((exported(made, space=space) / "labelsTs").glob("*.nii.gz"))
    for file, end in zip(files, (".nii.gz", ".nrrd", ".mha", ".nii"), strict=True):
        SimpleITK.WriteImage(
            SimpleITK.ReadImage(str(file)), str(tmp_path / file.name.replace(".nii.gz", end))
        )
    say(made, "score", tmp_path, "--dataset", "one", "--name", "itk")
    assert scores.dice(rows_of(made, "itk"), "one", "test") == 100


@pytest.mark.parametrize("orientation", [None, "RSP", "LPI", "AIR"])
def test_a_shifted_mask_has_the_dice_that_is_computed_apart(made, tmp_path, orientation):
    labels = exported(made) / "labelsTs"
    masks = changed(labels, tmp_path / "masks", lambda array: np.roll(array, 1, axis=0), orientation)
    say(made, "score", masks, "--dataset", "one", "--name", "shifted")
    expected = []
    for file in sorted(labels.glob("*.nii.gz")):
        label = np.asarray(nibabel.load(file).dataobj)
        moved = np.roll(label, 1, axis=0)
        expected += [dice(label == index, moved == index) for index in (1, 2)]
    found = [row.dice for row in scores.select(rows_of(made, "shifted"), "one", "test")]
    assert found == pytest.approx(expected) and max(found) < 95


def test_a_shifted_native_mask_has_the_native_dice_that_is_computed_apart(made, tmp_path):
    labels = exported(made, space="native") / "labelsTs"
    masks = changed(labels, tmp_path / "masks", lambda array: np.roll(array, 1, axis=1), "PIR")
    say(made, "score", masks, "--dataset", "one", "--name", "moved", "--spaces", "native")
    expected = []
    for file in sorted(labels.glob("*.nii.gz")):
        label = np.asarray(nibabel.load(file).dataobj)
        moved = np.roll(label, 1, axis=1)
        expected += [dice(label == index, moved == index) for index in (1, 2)]
    rows = rows_of(made, "moved")
    found = [row.dice for row in scores.select(rows, "one", "test", space="native")]
    assert found == pytest.approx(expected)
    assert scores.dice(rows, "one", "test") != pytest.approx(np.mean(found))  # the grids differ


def test_masks_with_the_values_of_the_raw_labels(made, tmp_path):
    labels = exported(made, space="native") / "labelsTs"
    masks = changed(labels, tmp_path / "masks", lambda array: np.array([0, 3, 8], np.uint8)[array])
    say(made, "score", masks, "--dataset", "one", "--name", "raw", "--values", "raw")
    assert scores.dice(rows_of(made, "raw"), "one", "test") == 100
    with pytest.raises(SegShiftError, match="the mask holds the value 8, which is no class; known: 0 backgr"):
        score.run(made.config, made.results, masks, "one", "raw")


class Ids:
    """A prepared dataset of which only ids matter."""

    folder = Path("toy")

    def __init__(self, **ids):
        self.ids = ids

    def volumes(self, split):
        return [SimpleNamespace(id=one) for one in self.ids[split]]


def test_names_of_files_are_safe_and_tell_splits_apart(tmp_path):
    names = external_masks.file_names(Ids(train=["a/1 x", "b"], validation=["c"], test=["b"]))
    assert names == {"train": {"a/1 x": "a_1_x", "b": "b"}, "validation": {"c": "c"}, "test": {"b": "b"}}
    names = external_masks.file_names(Ids(train=["a", "b"], validation=["b"], test=["b"]))
    assert names["train"] == {"a": "train_a", "b": "train_b"}
    assert (names["validation"], names["test"]) == ({"b": "validation_b"}, {"b": "b"})
    (tmp_path / "validation_b.nii.gz").touch()
    assert external_masks.find(tmp_path, names["validation"]) == ({"b": tmp_path / "validation_b.nii.gz"}, [])
    with pytest.raises(SegShiftError, match="toy: two volumes of test have the same file name"):
        external_masks.file_names(Ids(train=[], validation=[], test=["a b", "a_b"]))


def test_missing_and_extra_masks_are_named(made, tmp_path, capsys):
    labels = exported(made) / "labelsTs"
    masks = changed(labels, tmp_path / "masks", np.array)
    (masks / "s0_test3.nii.gz").rename(masks / "somebody.nii.gz")
    (masks / "plans.json").write_text("{}")
    sentence = r"1 of 4 masks are missing: s0_test3 .*; masks of no such volume are there: somebody\.nii\.gz"
    with pytest.raises(SegShiftError, match=sentence):
        score.run(made.config, made.results, masks, "one", "lacking")
    assert not made.results.run("one/lacking").exists()
    (masks / "s0_test3.nii.gz").write_bytes((labels / "s0_test3.nii.gz").read_bytes())
    score.run(made.config, made.results, masks, "one", "lacking")
    assert "not of its test volumes, not scored: somebody.nii.gz" in capsys.readouterr().out
    (masks / "s0_test3.nii").write_bytes(b"")
    with pytest.raises(SegShiftError, match=r"s0_test3\.nii and s0_test3\.nii\.gz are one volume's"):
        score.run(made.config, made.results, masks, "one", "lacking")


def test_bad_input_is_one_sentence(made, tmp_path):
    labels = exported(made) / "labelsTs"
    cut = changed(labels, tmp_path / "cut", lambda array: array[:-1])
    for arguments, sentence in (
        ((cut, "one", "x"), r"does not lie on its image's voxels: it has 8? ?.*, the raw image 5 × 13 × 11"),
        ((tmp_path / "no", "one", "x"), "there is no folder"),
        ((labels, "three", "x"), "unknown dataset 'three'"),
        ((labels, "one", "unet"), "unet is one of .*backbones.yaml"),
        ((labels, "one", "nnU-Net"), "may hold a-z, 0-9 and _ only"),
        ((labels, "two", "x"), "4 of 4 masks are missing"),
    ):
        with pytest.raises(SegShiftError, match=sentence):
            score.run(made.config, made.results, *arguments)
    away = changed(labels, tmp_path / "away", np.array)
    for file in away.glob("*.nii.gz"):
        image = nibabel.load(file)
        moved = image.affine + np.array([[0, 0, 0, 0.4], *[[0] * 4] * 3])
        nibabel.Nifti1Image(np.asarray(image.dataobj), moved).to_filename(file)
    with pytest.raises(SegShiftError, match="turned or moved against both"):
        score.run(made.config, made.results, away, "one", "x")
    with pytest.raises(SegShiftError, match="is there already"):
        export_dataset.run(made.config, made.results, "one", exported(made))


def test_no_other_verb_takes_them_for_ours(made, capsys):
    say(made, "score", exported(made) / "labelsTs", "--dataset", "one", "--name", "blurred")
    cell = "one/blurred/external/external/0"
    for verb in ("evaluate", "rerun"):
        say(made, verb, cell, code=1)
        assert "was made by another tool" in capsys.readouterr().err
    say(made, "why", cell)
    assert "another tool made it: nothing makes it again here" in capsys.readouterr().out
    assert (made.results.run(cell) / "run.json").exists()
    say(made, "import-runs", made.config / "no.csv", "--origin", "external", code=1)
    assert "that of segshift score" in capsys.readouterr().err


def test_external_models_are_tracked_and_ranked_like_others(made, tmp_path, capsys):
    shutil.rmtree(made.results.run("one/nnunet_2d"), ignore_errors=True)
    track.run(made.config, made.results)
    with pytest.raises(
        SegShiftError, match=r"nnunet_2d.* on one \(its masks are not scored yet: segshift score"
    ):
        tabulate.run(made.config, made.results, "shift")
    for name, axis in (("nnunet_2d", None), ("blurred", 1)):
        for dataset in ("one", "two"):
            labels = exported(made, dataset) / "labelsTs"
            change = np.array if axis is None else lambda array: np.roll(array, 1, axis=1)
            masks = changed(labels, tmp_path / name / dataset, change)
            say(made, "score", masks, "--dataset", dataset, "--name", name, "--source", "one")
    assert "no experiment shows it" not in capsys.readouterr().out
    track.run(made.config, made.results)
    table = tabulate.run(made.config, made.results, "shift")
    assert table.column("backbone") == ["nnunet_2d", "blurred"]
    assert table.column("trainable") == [30_600_000, None]
    assert table.column("ov")[0].value == 100
    assert [number.value for number in table.column("ranks")] == [1, 2]
    assert "cannot be told" not in (made.results.tables / "shift.md").read_text()
    assert "pretrained on is unknown" in (made.results.tables / "shift.md").read_text()
    tags = dict(made.sql("select key, value from tags where key in ('origin', 'segshift.superseded')"))
    assert tags == {"origin": "external", "segshift.superseded": "false"}
    status.run(made.config, made.results, ["shift"])
    assert "2 done" in capsys.readouterr().out
    say(made, "cells", "shift")
    assert "2 done" in capsys.readouterr().out
    say(made, "report")
    assert "nnunet_2d" in made.results.report.read_text()
    before = made.points()
    say(
        made,
        "score",
        tmp_path / "blurred" / "two",
        "--dataset",
        "two",
        "--name",
        "blurred",
        "--source",
        "one",
    )
    track.run(made.config, made.results)
    assert made.points() == before  # the same masks again change nothing


def test_masks_that_were_scored_before_their_dataset_changed_are_in_no_table(made, capsys):
    """No job scores them again, so old test volumes would stand beside new ones."""
    score.run(made.config, made.results, exported(made) / "labelsTs", "one", "nnunet_2d", source="one")
    cell = made.results.run("one/nnunet_2d/external/external/0")
    file = made.results.data("one") / "manifest.json"
    before = file.read_text()
    file.write_text(before.replace(json.loads(before)["sha256"], "0" * 64))
    try:
        track.run(made.config, made.results)
        with pytest.raises(SegShiftError, match="its masks were scored before one changed: segshift score"):
            tabulate.run(made.config, made.results, "shift")
        capsys.readouterr()
        status.run(made.config, made.results, [], as_json=True)
        (known,) = [
            one
            for one in json.loads(capsys.readouterr().out)["experiments"]["shift"]["cells"]
            if one["cell"] == "one/nnunet_2d/external/external/0"
        ]
        assert known["state"] == "changed" and "scored before one changed" in known["note"]
        plan.run(made.config, made.results, ["shift"], as_json=True)
        priced = json.loads(capsys.readouterr().out)  # no job makes it
        assert priced["cells"] == priced["scorings"] == []
    finally:
        file.write_text(before)
    assert json.loads((cell / "run.json").read_text())["scored"]["one"] == json.loads(before)["sha256"]


@pytest.mark.parametrize("verb", ["settings", "parameters"])
def test_nothing_is_said_of_settings_that_nobody_knows(made, capsys, verb):
    say(made, verb, "one/nnunet_2d/external/external/0", code=1)
    assert "was made by another tool: nothing is known of its settings" in capsys.readouterr().err
