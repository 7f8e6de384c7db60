"""What evaluation computes beside Dice: the rows by hand, once, and only where it was asked for."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform
from tests.engine.conftest import CLASSES, UNET

from segshift import cli, inference, raw_labels, scores, scoring, surfaces
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.settings import read_settings
from segshift.stages import evaluate

TO_PREPARED = np.array([[1, 0, 0, 0], [0, 1.3, 0, -2.1], [0, 0, -0.8, 30.5], [0, 0, 0, 1]])
RAW = (24, 36)  # raw rows and columns; more than the prepared slices show, and less
SIDES = (1.0, 1.3, 0.8)  # mm of a raw voxel, as its affine says


def with_raw_labels(project, dataset):
    """A dataset of its own whose volumes lay on a coarser grid, columns from the other side."""
    folder = project.results.data(dataset)
    copy = folder.with_name(f"{dataset}_copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for split in scores.SPLITS:
        with h5py.File(folder / f"{split}.h5", "r+") as file:
            for entry in manifest["splits"][split]["volumes"]:
                shape = (entry["slices"], *RAW)
                label = affine_transform(
                    file[entry["id"]]["label"][()], TO_PREPARED, output_shape=shape, order=0
                )
                file[entry["id"]].create_dataset("raw_label", data=label)
                affine = np.array(entry["affine"]) @ TO_PREPARED
                entry |= {"raw_shape": list(shape), "raw_affine": affine.tolist()}
                entry["raw_label"] = raw_labels._digest(label)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def measured(sources, tmp_path_factory):
    """The U-Net, scored on `b` with everything there is."""
    project = sources.copy(tmp_path_factory.mktemp("measured") / "results")
    data = (project.root / "data").resolve()
    (project.root / "data").unlink()
    shutil.copytree(data, project.root / "data")
    with_raw_labels(project, "b")
    asked = {"metrics": ["slice_dice", "hd95", "nsd"], "spaces": ["native"], "tolerance": 1.5}
    evaluate.run(UNET, ["b"], str(project.root), device="cpu", **asked)
    return project


@pytest.fixture
def again(measured, tmp_path, monkeypatch):
    """A copy, a function that scores it as asked, and what is computed then."""
    project, seen, real = measured.copy(tmp_path / "results"), [], scoring.score

    def noted(checkpoints, prepared, target, split, *more):
        seen.append((target, split))
        return real(checkpoints, prepared, target, split, *more)

    def score(*targets, **asked):
        seen.clear()
        evaluate.run(UNET, list(targets or ["b"]), str(project.root), device="cpu", **asked)
        return scores.read(project.folder(UNET) / "scores.csv")

    monkeypatch.setattr(scoring, "score", noted)
    return project, score, seen


def by_hand(project, volume):
    """Logits and labels of a test volume, one slice at a time."""
    folder = project.folder(UNET)
    (one, *_) = inference.load(folder, read_settings(folder), project.results, torch.device("cpu"))
    images, labels = Prepared(project.results.data("b")).volume("test", volume)
    with torch.no_grad():
        return torch.cat([one.model(torch.from_numpy(i)[None, None])[-1] for i in images]), labels


def counted(prediction, truth, number):
    found, there = prediction == number, truth == number
    return [int(np.sum(one)) for one in (found & there, found & ~there, ~found & there)]


def rows_of(project, volume, space):
    rows = scores.read(project.folder(UNET) / "scores.csv")
    return [
        row
        for row in scores.select(rows, "b", "test", space=space)
        if row.volume == volume and row.class_ != scores.WHOLE
    ]


@pytest.mark.parametrize("volume", ["test0", "test1"])
def test_prepared_rows_by_hand(measured, volume):
    logits, truth = by_hand(measured, volume)
    prediction = logits.argmax(1).numpy().astype(np.uint8)
    expected = surfaces.surfaces(truth, prediction, 3, (3.0, 1.0, 1.0), 1.5)
    worst = np.sqrt(((len(truth) - 1) * 3) ** 2 + 31**2 + 31**2)
    rows = rows_of(measured, volume, "prepared")
    assert [row.class_ for row in rows] == CLASSES[1:]
    for number, (row, surface) in enumerate(zip(rows, expected, strict=True), 1):
        assert [row.tp, row.fp, row.fn] == counted(prediction, truth, number)
        assert (row.hd95, row.assd, row.nsd) == surface
        assert (row.tolerance, row.missed) == (1.5, pytest.approx(worst))
        slices = [counted(p, t, number) for p, t in zip(prediction, truth, strict=True)]
        shown = [100 * 2 * tp / (2 * tp + fp + fn) for tp, fp, fn in slices if tp + fp + fn]
        true = [100 * 2 * tp / (2 * tp + fp + fn) for tp, fp, fn in slices if tp + fn]
        ones = [100 * (2 * tp + 1) / (2 * tp + fp + fn + 1) for tp, fp, fn in slices]
        assert row.slice_dice == pytest.approx(np.mean(shown))
        assert row.slice_dice_truth_only == pytest.approx(np.mean(true))
        assert row.slice_dice_one == pytest.approx(np.mean(ones))


def test_native_rows_by_hand(measured):
    """Probabilities through scipy to the raw voxels, against raw labels."""
    logits, _ = by_hand(measured, "test1")
    shares = logits.softmax(1).numpy()
    shape = (len(shares), *RAW)
    resampled = [
        affine_transform(
            shares[:, c], TO_PREPARED, output_shape=shape, order=1, mode="nearest", prefilter=False
        )
        for c in range(3)
    ]
    places = [TO_PREPARED[a, 3] + TO_PREPARED[a, a] * np.arange(n) for a, n in ((1, RAW[0]), (2, RAW[1]))]
    seen = [(place >= -0.5) & (place < 31.5) for place in places]
    assert not all(one.all() for one in seen)
    prediction = (np.argmax(resampled, 0) * (seen[0][:, None] & seen[1])).astype(np.uint8)
    prepared = Prepared(measured.results.data("b"))
    truth = raw_labels.read(prepared, "test", "test1")
    assert truth.shape == shape
    expected = surfaces.surfaces(truth, prediction, 3, SIDES, 1.5)
    rows = rows_of(measured, "test1", "native")
    assert [row.class_ for row in rows] == CLASSES[1:]
    for number, (row, surface) in enumerate(zip(rows, expected, strict=True), 1):
        assert [row.tp, row.fp, row.fn] == counted(prediction, truth, number)
        assert (row.hd95, row.assd, row.nsd) == pytest.approx(tuple(surface))
        assert row.missed == pytest.approx(np.sqrt(10**2 + (23 * 1.3) ** 2 + (35 * 0.8) ** 2))
        assert row.data == raw_labels.digest(prepared)[:16] != prepared.sha256[:16]


def test_dice_and_the_loss_stay_what_they_were(measured, again):
    """More columns and rows beside the same numbers."""
    project, score, _ = again
    rows = scores.read(measured.folder(UNET) / "scores.csv")
    file = project.folder(UNET) / "scores" / "b.csv"
    file.unlink()
    plain = score()
    assert file.read_text().split("\n", 1)[0] == ",".join(scores.COLUMNS)
    base = [[getattr(row, name) for name in ("volume", "class_", "tp", "fp", "fn", "dice", "iou", "loss")]
            for row in rows if row.space == "prepared"]  # fmt: skip
    assert base == [
        [getattr(row, name) for name in ("volume", "class_", "tp", "fp", "fn", "dice", "iou", "loss")]
        for row in plain
    ]
    for space in ("prepared", "native"):
        assert scores.dice(rows, "b", "test") == scores.dice(plain, "b", "test")
        assert 0 <= scores.score(rows, "b", "test", metric="hd95", space=space) < 60


def test_what_is_asked_for_later_is_computed_and_less_costs_nothing(again):
    project, score, seen = again
    before = (project.folder(UNET) / "scores.csv").read_bytes()
    for asked in (
        {},
        {"metrics": ["hd95"]},
        {"metrics": ["assd", "slice_dice"], "spaces": ["prepared"]},
        {"metrics": ["nsd"], "spaces": ["native"], "tolerance": 1.5},
        {"metrics": ["hd95"], "tolerance": 9.0},  # a tolerance is NSD's alone
    ):
        score(**asked)
        assert seen == []
        assert (project.folder(UNET) / "scores.csv").read_bytes() == before
    both = [("b", "validation"), ("b", "test")]
    score(metrics=["nsd"], tolerance=2.5)
    assert seen == both
    score(metrics=["nsd"], tolerance=2.5)
    assert seen == []
    score(spaces=["native"])  # computed without native scores just now
    assert seen == both
    score(metrics=["slice_dice"], spaces=["native"])
    assert seen == both


def test_other_raw_labels_are_scored_again(measured, tmp_path, monkeypatch):
    prepared = Prepared(measured.results.data("b"))
    rows = scores.read(measured.folder(UNET) / "scores.csv")
    native = {row.data for row in rows if row.space == "native"}
    assert native == {raw_labels.digest(prepared)[:16]}
    prepared.manifest["splits"]["test"]["volumes"][0]["raw_label"] = "0" * 64
    assert raw_labels.digest(prepared)[:16] not in native
    with pytest.raises(SegShiftError, match="the raw label of test0 is not what its manifest says"):
        raw_labels.read(prepared, "test", "test0")


def test_native_scores_need_raw_labels(again, capsys):
    project, _, _ = again
    file = project.folder(UNET) / "scores" / "a.csv"
    words = ["evaluate", UNET, "a", "--results", str(project.root), "--device", "cpu", "--spaces", "native"]
    assert cli.main(words) == 1
    assert "was prepared before raw labels were kept, which native scores need; run: segshift prepare a" in (
        capsys.readouterr().err
    )
    assert not file.exists()


def test_the_configuration_asks_and_an_option_wins(again, tmp_path, capsys):
    project, *_ = again
    (config := tmp_path / "config").mkdir()
    words = [
        "evaluate",
        UNET,
        "b",
        "--results",
        str(project.root),
        "--device",
        "cpu",
        "--config",
        str(config),
    ]
    (config / "project.yaml").write_text("evaluation: {metrics: [nsd], tolerance: 4}\n")
    assert cli.main(words) == 0
    rows = scores.read(project.folder(UNET) / "scores.csv")
    assert {row.tolerance for row in rows if row.class_ != scores.WHOLE} == {4.0}
    printed = capsys.readouterr().out
    nsd, worst = scores.score(rows, "b", "test", metric="nsd"), [row.missed for row in rows if row.missed]
    assert f"b: test Dice {scores.dice(rows, 'b', 'test'):.2f}" in printed
    assert f"NSD {nsd:.2f}" in printed
    assert f"a missed structure counts {min(worst):.1f} to {max(worst):.1f} mm for HD95 and ASSD" in printed
    assert cli.main([*words, "--tolerance", "5"]) == 0
    rows = scores.read(project.folder(UNET) / "scores.csv")
    assert {row.tolerance for row in rows if row.class_ != scores.WHOLE} == {5.0}
    assert cli.main([*words, "--tolerance", "0"]) == 1
    assert "the tolerance 0 must be a positive number of mm" in capsys.readouterr().err
