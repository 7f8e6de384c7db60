"""Finished models: put back when lost, never mistaken for others, forgotten on request. Random twins."""

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from tests.engine.conftest import BACKBONES, CLASSES, UNET, VIT_CELL, Fault

from segshift import model as models
from segshift.cell import Cell
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.stages import evaluate, rerun, train

ADAPTED = f"{UNET}/finetune/b"
TWIN = "a/resnet_random/frozen/linear/0"


@pytest.fixture
def no_steps(monkeypatch):
    """Fails a test that trains."""
    monkeypatch.setattr(Cell, "step", lambda *_: pytest.fail("it trained"))


# ---- a saved state of something else -----------------------------------------------------------------------


@pytest.fixture
def interrupted(project):
    """A training that was killed in its second epoch."""
    project.add(UNET)
    project.killed(UNET, fault=Fault(Cell, "step", 9), save_every=0)
    return project


def assert_set_aside(project, capsys):
    """The old state lies beside the new one, and a sentence says so."""
    (aside,) = project.folder(UNET).glob("resume.*")
    kept = torch.load(aside / "state.ckpt", weights_only=True)
    assert kept["done"] == 8
    assert (
        f"{UNET}: a saved state of other settings, code or data was set aside in {aside}"
        in capsys.readouterr().out
    )
    runs = [attempt.run for attempt in project.attempts(UNET)]
    assert runs[0] == kept["run"] != runs[1]


def test_other_settings_set_a_state_aside(interrupted, capsys):
    interrupted.add(UNET, training={"learning_rate": 0.03})
    assert interrupted.fit(UNET) == 0
    assert_set_aside(interrupted, capsys)


def test_other_code_sets_a_state_aside(interrupted, sources, capsys, monkeypatch):
    monkeypatch.setattr(train, "code_digest", lambda settings: "of other code")
    assert interrupted.fit(UNET) == 0
    assert_set_aside(interrupted, capsys)
    # from the start, with what is the same code after all
    ours, theirs = interrupted.state(UNET), sources.state(UNET)
    assert ours.pop("code") != theirs.pop("code")
    assert models.weights_digest(ours["weights"]) == models.weights_digest(theirs["weights"])


def test_other_data_set_a_state_aside(interrupted, capsys):
    change_data(interrupted, "a")
    assert interrupted.fit(UNET) == 0
    assert_set_aside(interrupted, capsys)


def change_data(project, dataset):
    """Another digest in the manifest, in a copy of the shared data."""
    data = project.root / "data"
    target = data.resolve()
    data.unlink()
    shutil.copytree(target, data)
    file = data / dataset / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sha256": "f" * 64}))


# ---- put back, or not --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [("model.ckpt",), ("model.ckpt", "lowest_loss.ckpt", "run.json"), ()])
def test_what_was_lost_is_put_back_without_training(trained, sources, no_steps, lost):
    for name in lost:
        (trained.folder(UNET) / name).unlink()
    for _ in range(2):  # the second time the files are already those of resume/ready
        assert trained.fit(UNET) == 0
    assert trained.bytes(UNET) == sources.bytes(UNET)
    assert (trained.folder(UNET) / "run.json").read_bytes() == (
        sources.folder(UNET) / "run.json"
    ).read_bytes()
    assert list(trained.folder(UNET).glob("*.part")) == []
    assert len(trained.attempts(UNET)) == 1


def test_a_finished_model_needs_no_resume_folder(trained, no_steps):
    shutil.rmtree(trained.folder(UNET) / "resume")
    assert trained.fit(UNET) == 0


def test_older_code_makes_no_finished_model_again(trained, no_steps, capsys, monkeypatch):
    monkeypatch.setattr(train, "code_digest", lambda settings: "of other code")
    (trained.folder(UNET) / "model.ckpt").unlink()
    assert trained.fit(UNET) == 0
    assert "is finished (by older code; segshift rerun makes it again)" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["settings", "data"])
def test_a_model_of_something_else_is_not_put_back(trained, sources, change):
    (trained.folder(UNET) / "model.ckpt").unlink()
    if change == "settings":
        trained.add(UNET, training={"learning_rate": 0.03})
    else:
        change_data(trained, "a")
    assert trained.fit(UNET) == 0
    assert trained.bytes(UNET) != sources.bytes(UNET)
    assert len(trained.attempts(UNET)) == 2


def test_rerun_forgets_a_model_and_the_next_training_makes_it_again(trained, sources):
    rerun.run([UNET], str(trained.root))
    assert sorted(one.name for one in trained.folder(UNET).iterdir()) == [
        "journal",
        "resume",
        "settings.yaml",
    ]
    assert list((trained.folder(UNET) / "resume").iterdir()) == []
    assert trained.fit(UNET) == 0
    assert trained.bytes(UNET) == sources.bytes(UNET)
    assert trained.statuses(UNET) == ["FINISHED", "FINISHED"]


def test_an_adaptation_follows_its_source(trained):
    """What was adapted from older bits of its source is not finished."""
    trained.add(ADAPTED)
    assert trained.fit(ADAPTED) == 0
    before = trained.bytes(ADAPTED)
    file = trained.folder(UNET) / "model.ckpt"
    content = torch.load(file, weights_only=True)
    next(iter(content["weights"].values())).add_(0.01)
    models.save(content, file)
    assert trained.fit(ADAPTED) == 0
    assert trained.bytes(ADAPTED) != before
    assert len(trained.attempts(ADAPTED)) == 2


def test_the_two_commands_refuse_each_others_cells(trained):
    trained.add(ADAPTED)
    with pytest.raises(SegShiftError, match=f"^{ADAPTED} is an adaptation"):
        train.run([ADAPTED], str(trained.root), "cpu")
    with pytest.raises(SegShiftError, match=f"^{UNET} names no adaptation"):
        train.run([UNET], str(trained.root), "cpu", adapt=True)


# ---- checkpoints of others ---------------------------------------------------------------------------------


def test_a_checkpoint_of_another_cell_is_refused(trained):
    """Same shapes, so only its name tells."""
    other = trained.add("a/unet/full/own/1")
    for name in ("model.ckpt", "run.json"):
        shutil.copy(trained.folder(UNET) / name, trained.folder(other))
    adapted = trained.add(f"{other}/finetune/b")
    sentence = f"belongs to the cell {UNET}, not to {other}"
    with pytest.raises(SegShiftError, match=sentence):
        trained.fit(adapted)
    with pytest.raises(SegShiftError, match=sentence):
        evaluate.run(other, ["a"], str(trained.root), device="cpu")


def test_a_checkpoint_of_other_settings_is_refused(trained):
    trained.add(UNET, training={"learning_rate": 0.5})
    adapted = trained.add(ADAPTED)
    sentence = f"model.ckpt was trained with other settings than {UNET} has now; train it again"
    with pytest.raises(SegShiftError, match=sentence):
        trained.fit(adapted)
    with pytest.raises(SegShiftError, match=sentence):
        evaluate.run(UNET, ["a"], str(trained.root), device="cpu")


@pytest.mark.parametrize("damage", ["gone", "torn", "foreign"])
def test_a_broken_checkpoint_is_refused(trained, damage):
    file = trained.folder(UNET) / "model.ckpt"
    content = file.read_bytes()
    file.unlink()  # it is one file with resume/ready's
    if damage == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "foreign":
        torch.save({"state_dict": {}}, file)
    words = {
        "gone": "is not there",
        "torn": "is no readable checkpoint",
        "foreign": "is no checkpoint of SegShift",
    }
    with pytest.raises(SegShiftError, match=f"{file} {words[damage]}"):
        evaluate.run(UNET, ["a"], str(trained.root), device="cpu")


# ---- random twins ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twin(datasets, tmp_path_factory):
    project = datasets.copy(tmp_path_factory.mktemp("twin") / "results")
    project.add(TWIN)
    assert project.fork(["train", TWIN]) == 0, project.log()
    return project


def test_calibrated_statistics_are_those_of_the_training_slices(twin):
    """Each batch norm against the mean of its inputs' own means and variances, chunk by chunk, in double."""
    weights = twin.state(TWIN)["weights"]
    settings = {
        "cell": TWIN,
        "backbone": BACKBONES["resnet_random"], "tuning": {"module": "frozen"}, "head": {"module": "linear"},
        "seed": 0, "weights": {}, "classes": CLASSES,
    }  # fmt: skip
    (model,) = models.build([settings], twin.results)
    norms = {n: m for n, m in model.backbone.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert len(norms) > 5
    seen = {name: [] for name in norms}

    def note(name):
        def hook(_, inputs):
            values = inputs[0].double().movedim(1, 0).flatten(1)
            seen[name].append((values.mean(1), values.var(1, unbiased=True)))

        return hook

    for name, norm in norms.items():
        norm.training = True  # normalizes by the batch, as during calibration
        norm.register_forward_pre_hook(note(name))
    prepared = Prepared(twin.results.data("a"))
    with torch.no_grad():
        for volume in prepared.volumes("train"):  # none is longer than a chunk
            images, _ = prepared.volume("train", volume.id)
            model.features(torch.from_numpy(images).unsqueeze(1))
    for name, values in seen.items():
        means, variances = (torch.stack(one).mean(0).float() for one in zip(*values, strict=True))
        torch.testing.assert_close(weights[f"backbone.{name}.running_mean"], means, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(weights[f"backbone.{name}.running_var"], variances, atol=1e-5, rtol=1e-4)
        assert int(weights[f"backbone.{name}.num_batches_tracked"]) == len(values) == 4


def test_calibration_drops_nothing_at_random():
    """A network that learns is built in training mode; its dropout must not disturb the statistics."""

    class Dropping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.norm = torch.nn.Dropout(0.5), torch.nn.BatchNorm2d(3, momentum=0.3)

        def forward(self, images, taps):
            return [self.norm(self.drop(images))]

    network = Dropping()
    batches = [torch.rand(2, 1, 8, 8) for _ in range(3)]
    models.calibrate(network, [0], batches)
    expected = torch.stack([batch.mean() for batch in batches]).mean()
    torch.testing.assert_close(network.norm.running_mean, expected.expand(3))
    assert network.norm.momentum == 0.3
    assert not network.norm.training


def test_a_twin_needs_nothing_but_its_checkpoint(twin, tmp_path):
    """Another initialization, and no weights folder: the checkpoint alone decides the scores."""
    other = twin.copy(tmp_path / "results")
    (other.root / "weights").unlink()
    (other.folder(TWIN) / "scores").mkdir()
    real = models.seeded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "seeded", lambda seed, part: real(seed + 1, part))
        evaluate.run(TWIN, ["a", "b"], str(other.root), device="cpu")
    evaluate.run(TWIN, ["a", "b"], str(twin.root), device="cpu")
    ours, theirs = ((one.folder(TWIN) / "scores.csv").read_bytes() for one in (other, twin))
    assert ours == theirs


def test_a_twin_is_adapted_with_its_own_statistics(twin, tmp_path):
    project = twin.copy(tmp_path / "results")
    adapted = project.add(f"{TWIN}/finetune/b")
    assert project.fit(adapted) == 0
    before, after = project.state(TWIN)["weights"], project.state(adapted)["weights"]
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("head.") for name in moved)


def test_adapted_weights(trained):
    """Only the head moves on a pretrained backbone; a network of its own moves whole; sources stay."""
    before = trained.bytes(UNET), trained.bytes(VIT_CELL)
    moved = {}
    for cell in (UNET, VIT_CELL):
        adapted = trained.add(f"{cell}/finetune/b")
        assert trained.fit(adapted) == 0
        old, new = trained.state(cell)["weights"], trained.state(adapted)["weights"]
        moved[cell] = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert moved == {UNET: {"backbone", "head"}, VIT_CELL: {"head"}}
    assert (trained.bytes(UNET), trained.bytes(VIT_CELL)) == before


def test_unlabelled_labels_are_never_looked_at(trained, tmp_path):
    """Other labels of all training patients but the drawn one, and of validation for entropy: same bits."""
    other = trained.copy(tmp_path / "other")
    data = (other.root / "data").resolve()
    (other.root / "data").unlink()
    shutil.copytree(data, other.root / "data")
    for name, number in (("self_training", 1), ("entropy_min", 0)):
        for one in (trained, other):
            cell = one.add(f"{UNET}/{name}/b")
        assert trained.fit(cell) == 0
        labelled = json.loads((trained.folder(cell) / "run.json").read_text())["labelled"]
        assert len(labelled) == number
        _scramble(other.root / "data" / "b" / "train.h5", labelled)
        if name == "entropy_min":
            _scramble(other.root / "data" / "b" / "validation.h5", [])
        assert other.fork(["adapt", cell]) == 0, other.log()
        assert other.bytes(cell) == trained.bytes(cell)


@pytest.mark.parametrize("adaptation", ["self_training", "entropy_min"])
def test_sampling_by_labels_that_must_not_be_looked_at_is_refused(trained, adaptation):
    cell = trained.add(f"{UNET}/{adaptation}/b", training={"sampling": "rare_class"})
    with pytest.raises(SegShiftError, match=f"^{cell}: sampling: rare_class counts labels"):
        trained.fit(cell)


def _scramble(file, spared):
    with h5py.File(file, "r+") as content:
        for group in content.values():
            if group.attrs["patient"] not in spared:
                label = group["label"][()]
                group["label"][...] = np.random.default_rng(0).permutation(label.ravel()).reshape(label.shape)
