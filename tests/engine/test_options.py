"""Every optional training setting does what it says, and a training with it resumes to the same bits."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tests.engine.conftest import UNET, VIT_CELL, Fault

from segshift import model as models
from segshift import sampling, snapshots
from segshift.cell import Cell, part
from segshift.contracts import Batch
from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.settings import read_settings
from segshift.slices import VolumeChunks

PLAIN = {"augment": {}, "sampling": "uniform", "loss": "cross_entropy", "weight_decay": 0.0}
ONE_STEP = PLAIN | {"epochs": 1, "batch_size": 12, "warm_up": 0.0, "optimizer": "sgd", "learning_rate": 0.5}
ALL = {
    "accumulate": 2, "clip_gradients": 0.5, "early_stopping": 2, "label_smoothing": 0.1, "epochs": 4,
    "class_weights": {"organ": 2.0}, "optimizer": "nadam", "schedule": "cosine", "precision": "bfloat16",
    "channels_last": True, "sampling_temperature": 0.5, "sampling_pixels": 20,
}  # fmt: skip


def record(project, cell):
    return json.loads((project.folder(cell) / "run.json").read_text())


def points(project, cell, name):
    """Values of a curve by step, over all attempts."""
    return {
        point.step: point.values[name]
        for attempt in project.attempts(cell)
        for point in attempt.points
        if name in point.values
    }


def started(project, cell):
    """Weights before the first step."""
    settings = models.read_checkpoint(project.folder(cell) / "model.ckpt", read(project, cell))
    (built,) = models.build([read(project, cell)], project.results)
    before = {name: one.clone() for name, one in models.kept(built, read(project, cell)).items()}
    return before, settings["weights"]


def read(project, cell):
    return read_settings(project.folder(cell))


# ---- accumulation and clipping -----------------------------------------------------------------------------


def test_parts_of_a_batch_are_one_step(project):
    """Two parts of six slices by hand: each through its own batch norm, half the loss of each, one step."""
    project.add(UNET, training=ONE_STEP | {"batch_size": 6, "accumulate": 2})
    assert project.fit(UNET) == 0
    prepared = Prepared(project.results.data("a"))
    slices = [(volume.id, z) for volume in prepared.volumes("train") for z in range(volume.slices)]
    order = sampling.uniform(12, 12, seed=0, epoch=0)
    pairs = [prepared.slice("train", *slices[index]) for index in order]
    images = torch.stack([torch.from_numpy(image) for image, _ in pairs])[:, None]
    labels = torch.stack([torch.from_numpy(label) for _, label in pairs]).long()
    (model,) = models.build([read(project, UNET)], project.results)
    model.train()
    values = []
    for half in (slice(0, 6), slice(6, 12)):
        loss = torch.nn.functional.cross_entropy(model(images[half])[0], labels[half])
        (loss / 2).backward()
        values.append(loss.item())
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    ours, theirs = project.state(UNET)["weights"], models.kept(model, read(project, UNET))
    for name, one in theirs.items():
        torch.testing.assert_close(ours[name], one, atol=1e-6, rtol=1e-4)
    assert points(project, UNET, "train/loss") == {0: pytest.approx(np.mean(values), rel=1e-5)}


def test_the_loss_of_the_settings_is_what_is_learned_from(project):
    """Class weights and label smoothing, by PyTorch, on the one batch of the one epoch."""
    more = {"class_weights": {"organ": 2.0, "lesion": 5.0}, "label_smoothing": 0.2}
    project.add(UNET, training=ONE_STEP | more)
    assert project.fit(UNET) == 0
    prepared = Prepared(project.results.data("a"))
    pairs = [prepared.slice("train", v.id, z) for v in prepared.volumes("train") for z in range(v.slices)]
    images = torch.stack([torch.from_numpy(image) for image, _ in pairs])[:, None]
    labels = torch.stack([torch.from_numpy(label) for _, label in pairs]).long()
    (model,) = models.build([read(project, UNET)], project.results)
    model.train()
    weight = torch.tensor([1.0, 2.0, 5.0])
    expected = torch.nn.functional.cross_entropy(model(images)[0], labels, weight, label_smoothing=0.2)
    assert points(project, UNET, "train/loss") == {0: pytest.approx(expected.item(), rel=1e-5)}


def test_parts_keep_what_a_batch_is():
    images, labels = torch.rand(3, 1, 2, 2), torch.arange(12).reshape(3, 2, 2)
    maps = [torch.rand(3, 5, 1, 1)]
    one = part(Batch(images, images, labels, torch.tensor([True, False, True]), maps), slice(2, 4))
    assert one.plain is one.images
    assert torch.equal(one.images, images[2:])
    assert torch.equal(one.labels, labels[2:])
    assert torch.equal(one.maps[0], maps[0][2:])
    assert one.labelled.tolist() == [True]
    other = part(Batch(images, images + 1, labels, torch.ones(3, dtype=torch.bool)), slice(0, 1))
    assert torch.equal(other.plain, images[:1] + 1)
    assert other.maps is None


@pytest.mark.parametrize("limit", [0.05, None])
def test_a_clipped_gradient_has_this_norm(project, limit):
    """One step of plain gradient descent moves the weights by rate x norm."""
    project.add(UNET, training=ONE_STEP | {"clip_gradients": limit})
    assert project.fit(UNET) == 0
    before, after = started(project, UNET)
    moved = [after[n] - before[n] for n in after if "running" not in n and "num_batches" not in n]
    length = torch.stack([one.double().norm() for one in moved]).norm().item()
    (norm,) = points(project, UNET, "train/gradient_norm").values()
    assert norm > 0.05
    assert length == pytest.approx(0.5 * (limit or norm), rel=1e-4)


# ---- early stopping ----------------------------------------------------------------------------------------

STUCK = PLAIN | {
    "learning_rate": 1e-12,
    "epochs": 6,
    "early_stopping": 2,
}  # never better than its first epoch


def test_early_stopping_ends_after_so_many_epochs_without_a_better_one(project):
    project.add(VIT_CELL, training=STUCK)
    assert project.fit(VIT_CELL) == 0
    assert record(project, VIT_CELL)["epochs"] == 3
    assert record(project, VIT_CELL)["best"]["epoch"] == 1
    assert list(points(project, VIT_CELL, "validation/dice")) == [5, 11, 17]
    rates = points(project, VIT_CELL, "train/learning_rate")
    assert len(rates) == 18
    assert rates[17] == pytest.approx(1e-12 * 19 / 28.8)  # the schedule is that of all 36 steps
    assert project.fit(VIT_CELL) == 0  # it is finished
    assert len(project.attempts(VIT_CELL)) == 1


def test_one_stops_early_and_its_company_goes_on(project, datasets, tmp_path):
    """Each with the bits of its solo run, killed or not."""
    stuck, learning = "a/vit/frozen/linear_last-stuck/0", "a/vit/frozen/linear_last-learning/0"
    alone = datasets.copy(tmp_path / "alone")
    for one in (project, alone):
        one.add(stuck, training=STUCK)
        one.add(learning, training=STUCK | {"learning_rate": 0.02})
    for cell in (stuck, learning):
        assert alone.fork(["train", cell]) == 0, alone.log()
    assert record(alone, learning)["epochs"] > record(alone, stuck)["epochs"] == 3
    project.killed(stuck, learning, fault=Fault(Cell, "step", 2 * 18 + 3), save_every=0)
    assert project.fork(["train", stuck, learning]) == 0, project.log()
    for cell in (stuck, learning):
        assert project.bytes(cell) == alone.bytes(cell)
        assert record(project, cell)["epochs"] == record(alone, cell)["epochs"]


def test_early_stopping_needs_validation_labels(trained):
    cell = trained.add(f"{UNET}/entropy_min/b", training={"early_stopping": 2})
    with pytest.raises(SegShiftError, match=f"{cell}: early_stopping looks at validation labels"):
        trained.fit(cell)


# ---- speed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [UNET, VIT_CELL])
def test_half_precision_is_near_and_weights_stay_in_single(project, sources, cell):
    project.add(cell, training=PLAIN | {"precision": "bfloat16"})
    seen = set()
    real = Cell.validation_loss

    def spy(self, outputs, labels):
        seen.add(outputs[0].dtype)
        return real(self, outputs, labels)

    Cell.validation_loss = spy
    try:
        assert project.fit(cell) == 0
    finally:
        Cell.validation_loss = real
    assert seen == {torch.float32}  # logits are brought to the slices' size in float32
    half = points(project, cell, "train/loss")
    project.add(cell, training=PLAIN)
    assert project.fit(cell) == 0
    single = points(project, cell, "train/loss")
    assert half[0] != single[0]
    assert half[0] == pytest.approx(single[0], rel=0.02)
    weights = project.state(cell)["weights"]
    assert {one.dtype for one in weights.values()} <= {torch.float32, torch.int64}


def test_channels_last_is_the_same_model(project, sources):
    project.add(UNET, training={"channels_last": True, "epochs": 1})
    assert project.fit(UNET) == 0
    ours = points(project, UNET, "train/loss")
    weights = project.state(UNET)["weights"]
    assert any(one.dim() == 4 and not one.is_contiguous() for one in weights.values())
    project.add(UNET, training={"epochs": 1})
    assert project.fit(UNET) == 0
    theirs = project.state(UNET)["weights"]
    for name, one in weights.items():
        torch.testing.assert_close(one, theirs[name], atol=2e-3, rtol=2e-3)
    assert ours[0] == pytest.approx(points(project, UNET, "train/loss")[0], rel=1e-4)


def test_compile_reaches_backbone_and_head(project, sources, monkeypatch):
    """With a backend that only traces: the same numbers by another way of calling."""
    compiled, real = [], torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self: (compiled.append(type(self)), real(self, backend="eager"))
    )
    project.add(VIT_CELL, training={"compile": True})
    assert project.fit(VIT_CELL) == 0
    assert len(compiled) == 2
    ours, theirs = project.state(VIT_CELL)["weights"], sources.state(VIT_CELL)["weights"]
    for name, one in theirs.items():
        torch.testing.assert_close(ours[name], one, atol=1e-4, rtol=1e-4)


# ---- all at once, killed -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(datasets, tmp_path_factory):
    project = datasets.copy(tmp_path_factory.mktemp("options") / "results")
    project.add(UNET, training=ALL)
    assert project.fork(["train", UNET]) == 0, project.log()
    return project


@pytest.mark.parametrize(
    "fault",
    [Fault(Cell, "step", 5), Fault(Cell, "end_epoch", 2), Fault(Cell, "end_epoch", 3, after=True)],
    ids=["mid-epoch", "before an epoch ends", "after an epoch ended"],
)
def test_with_all_options_killed_and_resumed(project, everything, fault):
    project.add(UNET, training=ALL)
    project.killed(UNET, fault=fault, save_every=0)
    assert project.fork(["train", UNET]) == 0, project.log()
    assert project.bytes(UNET) == everything.bytes(UNET)
    for name in ("epoch/loss", "epoch/gradient_norm", "validation/dice"):
        assert points(project, UNET, name) == points(everything, UNET, name)


# ---- curves and pictures -----------------------------------------------------------------------------------


def test_curves_of_every_epoch(sources):
    loss, norm, rate = (
        points(sources, UNET, f"train/{n}") for n in ("loss", "gradient_norm", "learning_rate")
    )
    for name, steps in (("loss", loss), ("gradient_norm", norm), ("learning_rate", rate)):
        epochs = points(sources, UNET, f"epoch/{name}")
        assert list(epochs) == [5, 11, 17]
        for last, value in epochs.items():
            assert value == pytest.approx(
                np.mean([steps[step] for step in range(last - 5, last + 1)]), rel=1e-12
            )
    assert min(norm.values()) > 0
    assert min(points(sources, UNET, "epoch/images_per_second").values()) > 0
    for name in ("organ", "lesion"):
        assert list(points(sources, UNET, f"validation/dice/{name}")) == [5, 11, 17]


def test_validation_loss_of_each_class(sources):
    """The mean cross-entropy over the pixels of a class, by the weights of that epoch, in double."""
    model = models.build([read(sources, UNET)], sources.results)[0]
    checkpoint = sources.state(UNET)
    models.load_state(model, checkpoint["weights"], read(sources, UNET), sources.folder(UNET) / "model.ckpt")
    each, truth = [], []
    for chunk in VolumeChunks(Prepared(sources.results.data("a")), "validation"):
        with torch.no_grad():
            chances = model.eval().predict(model(chunk.images)).double().softmax(1).numpy()
        label = chunk.labels.numpy()
        each.append(-np.log(np.take_along_axis(chances, label[:, None], 1)[:, 0]).ravel())
        truth.append(label.ravel())
    each, truth = np.concatenate(each), np.concatenate(truth)
    for number, name in enumerate(("background", "organ", "lesion")):
        found = points(sources, UNET, f"validation/loss/{name}")
        assert list(found) == [5, 11, 17]
        assert found[6 * checkpoint["epoch"] - 1] == pytest.approx(each[truth == number].mean(), rel=1e-4)


def test_pictures_of_five_epochs(sources):
    """Of three epochs all are shown; each picture has four rows of four panels."""
    assert snapshots.epochs(120) == {1, 31, 61, 90, 120}
    assert snapshots.epochs(3) == {1, 2, 3}
    assert snapshots.epochs(1) == {1}
    files = sorted((sources.folder(UNET) / "snapshots").iterdir())
    assert [file.name for file in files] == [f"epoch-{number:04d}.png" for number in (1, 2, 3)]
    with Image.open(files[-1]) as picture:
        width, height = picture.size
    assert width > 4 * 192
    assert height > 4 * 192
    events = [event for attempt in sources.attempts(UNET) for event in attempt.events]
    assert [event["step"] for event in events if event["event"] == "picture"] == [5, 11, 17]


def test_the_same_slices_are_shown_everywhere(datasets):
    """Two volumes of 3 and 10 slices: two of each, none of them empty."""
    prepared = Prepared(datasets.results.data("a"))
    chosen = snapshots.chosen(prepared)
    assert len(chosen) == 4
    assert sum(index < 3 for index in chosen) == 2
    assert len({caption.split(",")[0] for caption in chosen.values()}) == 2
    counts = np.concatenate(prepared.counts("validation"))
    assert all(counts[index, 1:].sum() > 0 for index in chosen)
