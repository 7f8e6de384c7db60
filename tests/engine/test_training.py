"""What a training depends on, and what it does not: seed, workers, company, cached features."""

import json

import numpy as np
import pytest
import torch
from tests.engine.conftest import TRAINING, UNET, VIT_CELL, Fault

from segshift.cell import Cell, learning_rate
from segshift.errors import SegShiftError

PLAIN = {"augment": {}}
HEADS = ("a/vit/frozen/linear_last/0", "a/vit/frozen/linear/0")


@pytest.fixture(scope="module")
def plain(datasets, tmp_path_factory):
    """Two heads on one frozen backbone, each trained alone, without augmentation."""
    project = datasets.copy(tmp_path_factory.mktemp("plain") / "results")
    for cell in HEADS:
        project.add(cell, training=PLAIN)
        assert project.fork(["train", cell]) == 0, project.log()
    return project


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("cell", [UNET, VIT_CELL])
def test_the_same_seed_gives_the_same_bytes(project, sources, cell, workers):
    project.add(cell)
    assert project.fork(["train", cell, "--workers", str(workers)]) == 0, project.log()
    assert project.bytes(cell) == sources.bytes(cell)


def test_another_seed_gives_another_model(project, sources):
    other = project.add(UNET.replace("/0", "/1"))
    assert project.fit(other) == 0
    ours, theirs = project.state(other)["weights"], sources.state(UNET)["weights"]
    moved = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert len(moved) > len(ours) / 2


def test_training_learns(sources):
    """Not only equal bits: the loss falls, and the journal says so."""
    points = [point for attempt in sources.attempts(UNET) for point in attempt.points]
    losses = [point.values["train/loss"] for point in points if "train/loss" in point.values]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert len(losses) == 18
    dices = [point.values["validation/dice"] for point in points if "validation/dice" in point.values]
    best = json.loads((sources.folder(UNET) / "run.json").read_text())["best"]
    assert (best["dice"], best["epoch"]) == (max(dices), 1 + int(np.argmax(dices)))
    losses = [point.values["validation/loss"] for point in points if "validation/loss" in point.values]
    lowest = torch.load(sources.folder(UNET) / "lowest_loss.ckpt", weights_only=True)
    assert lowest["epoch"] == 1 + int(np.argmin(losses))


# ---- several cells, one pass -------------------------------------------------------------------------------


def test_two_heads_in_one_process_end_as_alone(project, plain):
    for cell in HEADS:
        project.add(cell, training=PLAIN)
    assert project.fit(*HEADS) == 0
    for cell in HEADS:
        assert project.bytes(cell) == plain.bytes(cell)


def test_two_learning_rates_in_one_process_end_as_alone(project, datasets, tmp_path):
    slow, fast = "a/vit/frozen/linear_last-slow/0", "a/vit/frozen/linear_last-fast/0"
    alone = datasets.copy(tmp_path / "alone")
    for one in (project, alone):
        one.add(slow, training={"learning_rate": 0.001})
        one.add(fast, training={"learning_rate": 0.1})
    assert project.fit(fast, slow) == 0
    for cell in (slow, fast):
        assert alone.fit(cell) == 0
        assert project.bytes(cell) == alone.bytes(cell)


@pytest.mark.parametrize(
    ("fault", "every_step"),
    [
        (Fault(Cell, "save", 9, after=True), True),  # the first cell's state is a step ahead of the second's
        (Fault(Cell, "end_epoch", 3, after=True), True),  # one has selected its epoch, the other not
        (
            Fault(Cell, "save", 3, after=True),
            False,
        ),  # one has finished an epoch, the other is before its start
        (Fault(Cell, "finish", 1, after=True), False),  # one is finished
    ],
    ids=["a step ahead", "one selected", "an epoch ahead", "one finished"],
)
def test_killed_together_with_one_ahead(project, plain, fault, every_step):
    for cell in HEADS:
        project.add(cell, training=PLAIN)
    project.killed(*HEADS, fault=fault, save_every=0 if every_step else 60)
    assert project.fork(["train", *HEADS]) == 0, project.log()
    for cell in HEADS:
        assert project.bytes(cell) == plain.bytes(cell)


def test_one_joins_another_that_was_killed_in_its_second_epoch(project, plain):
    for cell in HEADS:
        project.add(cell, training=PLAIN)
    project.killed(HEADS[0], fault=Fault(Cell, "step", 9), save_every=0)
    assert project.fit(*HEADS) == 0
    for cell in HEADS:
        assert project.bytes(cell) == plain.bytes(cell)
        dices = [p for p in project.attempts(cell)[-1].points if "validation/dice" in p.values]
        assert [point.step for point in dices] == ([11, 17] if cell == HEADS[0] else [5, 11, 17])


def test_what_cannot_share_a_pass(trained):
    other = trained.add("a/unet/full/own-b/0", training={"learning_rate": 0.1})
    trained.add(UNET, training={"learning_rate": 0.2})
    with pytest.raises(
        SegShiftError, match=rf"{UNET} and {other} cannot share a pass, their backbone learns"
    ):
        trained.fit(UNET, other)
    longer = trained.add("a/vit/frozen/linear/0", training={"epochs": 4})
    trained.add(VIT_CELL, training={"epochs": 5})
    with pytest.raises(SegShiftError, match="differ in epochs: train them apart"):
        trained.fit(VIT_CELL, longer)


# ---- cached features ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-5), ("float16", 2e-2)])
def test_cached_features_train_the_same_model(project, plain, kind, tolerance, capsys):
    cell = project.add(HEADS[0], training={**PLAIN, "cache_features": kind})
    assert project.fit(cell) == 0
    assert f"feature maps of 25 slices: 0.000 GB as {kind}" in capsys.readouterr().out
    ours, theirs = project.state(cell)["weights"], plain.state(cell)["weights"]
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], atol=tolerance, rtol=tolerance)
    dices = [
        json.loads((one.folder(cell) / "run.json").read_text())["best"]["dice"] for one in (project, plain)
    ]
    assert dices[0] == pytest.approx(dices[1], abs=1e-5 if kind == "float32" else 1)


def test_cached_features_resume_to_the_same_bits(project, datasets, tmp_path):
    undisturbed = datasets.copy(tmp_path / "undisturbed")
    for one in (project, undisturbed):
        cell = one.add(HEADS[0], training={**PLAIN, "cache_features": "float16"})
    assert undisturbed.fork(["train", cell]) == 0
    project.killed(cell, fault=Fault(Cell, "step", 9), save_every=0)
    assert project.fork(["train", cell]) == 0
    assert project.bytes(cell) == undisturbed.bytes(cell)


@pytest.mark.parametrize(
    ("cell", "training", "sentence"),
    [
        (VIT_CELL, {"augment": {}, "cache_limit": 1e-6}, r"more than cache_limit \(1e-06 GB\)"),
        (UNET, {"augment": {}}, "needs a frozen backbone, and this one learns"),
        (VIT_CELL, {}, "needs slices that are not augmented"),
    ],
    ids=["too large", "learning", "augmented"],
)
def test_what_cannot_be_cached(project, cell, training, sentence):
    project.add(cell, training={**training, "cache_features": "float32"})
    with pytest.raises(SegShiftError, match=f"^{cell}: .*{sentence}"):
        project.fit(cell)
    assert project.statuses(cell) == ["FAILED"]


# ---- trouble -----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite(project, monkeypatch):
    project.add(UNET)
    real = Cell.step

    def poisoned(self, batch, points):
        if self.done == 7:
            batch.images[:] = float("inf")
        real(self, batch, points)

    monkeypatch.setattr(Cell, "step", poisoned)
    with pytest.raises(SegShiftError, match=rf"^{UNET}: the loss is nan at step 7$"):
        project.fit(UNET)
    (attempt,) = project.attempts(UNET)
    assert attempt.status == "FAILED"
    assert "the loss is nan at step 7" in attempt.error
    assert not (project.folder(UNET) / "model.ckpt").exists()


def test_a_validation_loss_of_nan_is_never_the_lowest(project, monkeypatch):
    project.add(UNET)
    real, seen = Cell.end_epoch, []

    def poisoned(self, epoch, dice, loss, by_class, *more):
        seen.append(float("nan") if epoch in (1, 3) else loss)
        real(self, epoch, dice, seen[-1], by_class, *more)

    monkeypatch.setattr(Cell, "end_epoch", poisoned)
    assert project.fit(UNET) == 0
    assert torch.load(project.folder(UNET) / "lowest_loss.ckpt", weights_only=True)["epoch"] == 2


def test_learning_rate_by_hand():
    """20 steps, a fifth of them warm-up: four steps up in quarters, then 16 down to a sixteenth."""
    rates = [learning_rate(step, 20, {"learning_rate": 1.6, "warm_up": 0.2}) for step in range(20)]
    warm = [0.4, 0.8, 1.2, 1.6]
    falling = [1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates == pytest.approx(warm + falling)
    # 10 steps at the default of 5 %: the warm-up ends within the first step
    rates = [learning_rate(step, 10, {"learning_rate": 1.0}) for step in range(10)]
    assert rates == pytest.approx([1.0] + [(10 - step) / 9.5 for step in range(1, 10)])
    constant = {"learning_rate": 0.3, "schedule": "constant", "warm_up": 0.5}
    assert {learning_rate(step, 10, constant) for step in range(10)} == {0.3}


def test_the_journal_has_the_rates_of_the_schedule(sources):
    points = [point for attempt in sources.attempts(UNET) for point in attempt.points]
    rates = {p.step: p.values["train/learning_rate"] for p in points if "train/learning_rate" in p.values}
    assert rates == {step: learning_rate(step, 18, TRAINING) for step in range(18)}
