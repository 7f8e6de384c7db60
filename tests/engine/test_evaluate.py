"""Scores by hand, computed once, and refused where a test patient was learned from."""

import json
import shutil

import numpy as np
import pytest
import torch
from tests.engine.conftest import CLASSES, UNET, VIT_CELL
from torch.nn import functional

from segshift import cli, inference, scores, scoring, slices
from segshift import model as models
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.raw_grid import RawGrid
from segshift.settings import read_settings
from segshift.stages import evaluate


def score(project, cell, *targets):
    evaluate.run(cell, list(targets), str(project.root), device="cpu")
    return scores.read(project.folder(cell) / "scores.csv")


@pytest.fixture(scope="module")
def scored(sources, tmp_path_factory):
    """Both models, scored on their source and on the other dataset."""
    project = sources.copy(tmp_path_factory.mktemp("scored") / "results")
    for cell in (UNET, VIT_CELL):
        score(project, cell, "a", "b")
    return project


@pytest.fixture
def damaged(scored, tmp_path):
    """A copy with data of its own, to be damaged."""
    project = scored.copy(tmp_path / "results")
    data = (project.root / "data").resolve()
    (project.root / "data").unlink()
    shutil.copytree(data, project.root / "data")
    return project


def edit_manifest(project, dataset, change):
    file = project.results.data(dataset) / "manifest.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# ---- the rows ----------------------------------------------------------------------------------------------


def test_one_row_a_target_split_checkpoint_volume_and_class(scored):
    rows = scores.read(scored.folder(UNET) / "scores.csv")
    keys = [(r.target, r.split, r.checkpoint, r.volume, r.class_) for r in rows]
    expected = {
        (target, split, checkpoint, f"{split}{number}", name)
        for target in ("a", "b")
        for split in ("validation", "test")
        for checkpoint in ("model", "lowest_loss")
        for number in (0, 1)
        for name in (*CLASSES[1:], "all")
    }
    assert len(keys) == len(set(keys))
    assert set(keys) == expected
    assert {(r.volume, r.patient) for r in rows if r.target == "b"} == {
        (name, f"b:{name}") for name in ("validation0", "validation1", "test0", "test1")
    }


@pytest.mark.parametrize("checkpoint", ["model", "lowest_loss"])
@pytest.mark.parametrize("cell", [UNET, VIT_CELL])
def test_rows_by_hand(scored, cell, checkpoint):
    """One slice at a time through a model that was built and loaded here."""
    settings = read_settings(scored.folder(cell))
    (model,) = models.build([settings], scored.results)
    content = torch.load(scored.folder(cell) / f"{checkpoint}.ckpt", weights_only=True)
    model.load_state_dict(content["weights"], strict=False)
    model.eval()
    prepared = Prepared(scored.results.data("b"))
    rows = scores.read(scored.folder(cell) / "scores.csv")
    for volume in prepared.volumes("test"):
        images, labels = prepared.volume("test", volume.id)
        predicted, loss = [], []
        for image, label in zip(images, labels, strict=True):
            with torch.no_grad():
                logits = model(torch.from_numpy(image)[None, None])[-1]
            predicted.append(logits.argmax(1)[0].numpy())
            loss.append(functional.cross_entropy(logits, torch.from_numpy(label)[None].long()).item())
        own = {r.class_: r for r in scores.select(rows, "b", "test", checkpoint) if r.volume == volume.id}
        for number, name in enumerate(CLASSES[1:], 1):
            predicted_, true = np.stack(predicted) == number, labels == number
            tp, fp, fn = np.sum(predicted_ & true), np.sum(predicted_ & ~true), np.sum(~predicted_ & true)
            row = own[name]
            assert (row.tp, row.fp, row.fn) == (tp, fp, fn)
            assert row.dice == 100 * 2 * tp / (2 * tp + fp + fn)
            assert row.iou == 100 * tp / (tp + fp + fn)
            assert row.model == models.weights_digest(content["weights"])
            assert row.data == prepared.sha256[:16]
        assert own["all"].loss == pytest.approx(np.mean(loss), rel=1e-5)


def test_validation_scores_are_those_that_selected_the_model(scored):
    """Training and evaluation count the same, so a model's validation Dice is the one it was kept for."""
    for cell in (UNET, VIT_CELL):
        record = json.loads((scored.folder(cell) / "run.json").read_text())
        rows = scores.read(scored.folder(cell) / "scores.csv")
        assert scores.dice(rows, "a", "validation") == record["best"]["dice"]
        assert {r.model for r in rows if r.checkpoint == "model"} == {record["model"]}


def test_how_a_volume_is_cut_changes_no_count(scored, monkeypatch):
    folder = scored.folder(VIT_CELL)
    settings = read_settings(folder)
    prepared = Prepared(scored.results.data("b"))
    found = []
    for chunk in (8, 3, 1):
        monkeypatch.setattr(slices, "CHUNK", chunk)
        checkpoints = inference.load(folder, settings, scored.results, torch.device("cpu"))
        each = scoring.score(checkpoints, prepared, "b", "test", torch.device("cpu"))
        found.append([row for rows in each for row in rows])
    for rows in found[1:]:
        assert [(r.tp, r.fp, r.fn, r.dice) for r in rows] == [(r.tp, r.fp, r.fn, r.dice) for r in found[0]]
        losses, others = ([r.loss for r in some if r.class_ == "all"] for some in (rows, found[0]))
        assert losses == pytest.approx(others, rel=1e-5)


def test_checkpoints_share_a_frozen_backbone_and_nothing_else(scored):
    cpu = torch.device("cpu")
    for cell, shared in ((VIT_CELL, True), (UNET, False)):
        folder = scored.folder(cell)
        one, other = inference.load(folder, read_settings(folder), scored.results, cpu)
        assert (one.model.backbone is other.model.backbone) == shared
        assert one.model.head is not other.model.head


def test_checkpoints_of_a_random_twin_share_its_backbone_where_its_bits_agree(project):
    """Their files hold the backbone, which nothing trained; features are computed once, and are the same."""
    cell = project.add("a/resnet_random/frozen/linear/0")
    assert project.fit(cell) == 0
    folder, cpu = project.folder(cell), torch.device("cpu")
    settings = read_settings(folder)
    one, other = inference.load(folder, settings, project.results, cpu)
    assert one.model.backbone is other.model.backbone and one.model.head is not other.model.head
    content = torch.load(folder / "lowest_loss.ckpt", weights_only=True)
    for name, tensor in models.kept(other.model, settings).items():
        assert torch.equal(tensor, content["weights"][name]), name
    name = next(
        name for name in content["weights"] if name.startswith("backbone.") and "running_mean" in name
    )
    content["weights"][name] += 1
    torch.save(content, folder / "lowest_loss.ckpt")
    one, other = inference.load(folder, settings, project.results, cpu)
    assert one.model.backbone is not other.model.backbone


def test_segmenting_is_scoring(scored):
    """`predict` and `evaluate` see the same classes."""
    folder = scored.folder(UNET)
    checkpoints = inference.load(folder, read_settings(folder), scored.results, torch.device("cpu"))
    image, label = Prepared(scored.results.data("a")).volume("test", "test1")
    grid = RawGrid(np.eye(4), image.shape, np.eye(4), image.shape)
    inference.segment([checkpoints[0].model], torch.from_numpy(image), torch.device("cpu"), grid)
    mask = grid.labels()
    (row,) = [
        r
        for r in scores.read(folder / "scores.csv")
        if (r.target, r.volume, r.class_, r.checkpoint) == ("a", "test1", "organ", "model")
    ]
    assert row.tp == np.sum((mask == 1) & (label == 1))
    assert mask.dtype == np.uint8


# ---- once, and each target for itself ----------------------------------------------------------------------


def count_scoring(monkeypatch):
    """Names of the targets that are computed from here on."""
    seen, real = [], scoring.score

    def noted(checkpoints, prepared, target, split, *more):
        seen.append((target, split))
        return real(checkpoints, prepared, target, split, *more)

    monkeypatch.setattr(scoring, "score", noted)
    return seen


def test_what_was_scored_is_not_computed_again(scored, tmp_path, monkeypatch):
    project = scored.copy(tmp_path / "results")
    before = (project.folder(UNET) / "scores.csv").read_bytes()
    seen = count_scoring(monkeypatch)
    score(project, UNET, "a", "b")
    assert seen == []
    assert (project.folder(UNET) / "scores.csv").read_bytes() == before
    (project.folder(UNET) / "scores" / "b.csv").unlink()
    score(project, UNET, "a", "b")
    assert seen == [("b", "validation"), ("b", "test")]
    assert (project.folder(UNET) / "scores.csv").read_bytes() == before


def test_new_data_of_a_target_or_new_weights_are_scored_again(damaged, monkeypatch):
    seen = count_scoring(monkeypatch)
    edit_manifest(damaged, "b", lambda content: content.update(sha256="f" * 64))
    rows = score(damaged, UNET, "a", "b")
    assert {target for target, _ in seen} == {"b"}
    assert {r.data for r in rows if r.target == "b"} == {"f" * 16}
    seen.clear()
    file = damaged.folder(UNET) / "model.ckpt"
    content = torch.load(file, weights_only=True)
    content["weights"]["head.classify.bias"] += torch.tensor([0.0, 5.0, 0.0])
    models.save(content, file)
    again = score(damaged, UNET, "a", "b")
    assert {target for target, _ in seen} == {"a", "b"}
    assert scores.dice(again, "a", "test") != scores.dice(rows, "a", "test")
    # a checkpoint that is no more has no rows
    (damaged.folder(UNET) / "lowest_loss.ckpt").unlink()
    assert {r.checkpoint for r in score(damaged, UNET, "a", "b")} == {"model"}


def test_one_target_that_fails_does_not_stop_the_others(damaged, capsys):
    folder = damaged.folder(UNET)
    shutil.rmtree(folder / "scores")
    (folder / "scores.csv").unlink()
    (damaged.results.data("b") / "test.h5").write_bytes(b"damaged")
    words = ["evaluate", UNET, "b", "missing", "a", "--results", str(damaged.root), "--device", "cpu"]
    assert cli.main(words) == 1
    sentence = capsys.readouterr().err
    assert f"{UNET}: not scored: b: " in sentence
    assert "test.h5 cannot be read" in sentence
    assert "missing: no " in sentence
    assert [file.name for file in (folder / "scores").glob("*.csv")] == ["a.csv"]
    assert scores.read_seconds(folder).keys() == {"a"}
    assert scores.read_seconds(folder)["a"] > 0
    assert not (folder / "scores.csv").exists()


# ---- refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_test_patient_that_was_learned_from(damaged, split):
    def rename(content):
        content["splits"]["test"]["volumes"][0]["patient"] = f"a:{split}0"

    edit_manifest(damaged, "b", rename)
    shutil.rmtree(damaged.folder(UNET) / "scores")
    sentence = (
        f"a:{split}0 is in the {split} split of a, which {UNET} learned from, and in the test split of b"
    )
    with pytest.raises(SegShiftError, match=sentence):
        score(damaged, UNET, "b")
    assert not (damaged.folder(UNET) / "scores" / "b.csv").exists()


def test_an_adapted_model_has_learned_from_both(damaged):
    adapted = damaged.add(f"{UNET}/finetune/b")
    assert damaged.fit(adapted) == 0
    rows = score(damaged, adapted, "b")
    assert {r.checkpoint for r in rows} == {"model", "last"}

    def rename(content):
        content["splits"]["test"]["volumes"][0]["patient"] = "b:train1"

    shutil.copytree(damaged.results.data("b"), damaged.results.data("c"))
    edit_manifest(damaged, "c", rename)
    with pytest.raises(SegShiftError, match=rf"b:train1 is in the train split of b, which {adapted} learned"):
        score(damaged, adapted, "c")


def test_data_other_than_what_the_model_learned_from(damaged):
    edit_manifest(damaged, "a", lambda content: content.update(sha256="f" * 64))
    with pytest.raises(
        SegShiftError, match=rf"^{UNET} was trained on other data of a \(\w+\) than is prepared"
    ):
        score(damaged, UNET, "b")


def test_a_target_of_other_classes(damaged):
    shutil.rmtree(damaged.folder(UNET) / "scores")
    edit_manifest(damaged, "b", lambda content: content.update(classes=["background", "organ"]))
    with pytest.raises(SegShiftError, match="b has the classes"):
        score(damaged, UNET, "b")
