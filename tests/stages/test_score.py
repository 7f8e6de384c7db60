"""Masks of other tools: exported in nnU-Net's layout, found, laid on the grids and scored."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK
from tests.stages.masks_of_others import changed, dice, exported, rows_of, say

from segshift import mask_files, scores
from segshift.datasets import nnunet
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import export_dataset, score


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
    names = mask_files.file_names(Ids(train=["a/1 x", "b"], validation=["c"], test=["b"]))
    assert names == {"train": {"a/1 x": "a_1_x", "b": "b"}, "validation": {"c": "c"}, "test": {"b": "b"}}
    names = mask_files.file_names(Ids(train=["a", "b"], validation=["b"], test=["b"]))
    assert names["train"] == {"a": "train_a", "b": "train_b"}
    assert (names["validation"], names["test"]) == ({"b": "validation_b"}, {"b": "b"})
    (tmp_path / "validation_b.nii.gz").touch()
    assert mask_files.find(tmp_path, names["validation"]) == ({"b": (tmp_path / "validation_b.nii.gz",)}, [])
    with pytest.raises(SegShiftError, match="toy: two volumes of test have the same file name"):
        mask_files.file_names(Ids(train=[], validation=[], test=["a b", "a_b"]))


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
