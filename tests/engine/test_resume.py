"""A training that is killed anywhere and started again ends with the bits of an undisturbed one."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from tests.engine.conftest import UNET, VIT_CELL, Fault

from segshift import cell as cells
from segshift import training
from segshift.cell import Cell

STEPS, EPOCHS = 6, 3  # 12 slices in batches of 2
ADAPTED = [f"{UNET}/self_training/b", f"{VIT_CELL}/finetune/b", f"{UNET}/entropy_min/b"]


def renamed(name):
    """Counts renames of one file."""
    return lambda file, *_: file.name == name


# One row per moment: the fault, and whether state is saved after every step.
MOMENTS = {
    "before the first step": (Fault(Cell, "step"), False),
    "after the first step": (Fault(Cell, "step", after=True), False),
    "mid-epoch, after a save": (Fault(Cell, "save", 3, after=True), True),
    "mid-epoch, state half written": (Fault(Path, "replace", 4, counts=renamed("state.ckpt.part")), True),
    "before validation": (Fault(Cell, "step", 2 * STEPS, after=True), False),
    "before validation, saved": (Fault(Cell, "step", 2 * STEPS, after=True), True),
    "while validating": (Fault(Cell, "validation_loss", 4), False),
    "after validation, before its save": (Fault(Cell, "end_epoch", 2, after=True), True),
    "at the end, before the last save": (Fault(Cell, "end_epoch", EPOCHS, after=True), False),
    "before the end is written": (Fault(Cell, "finish"), False),
    "finished, not yet ready": (Fault(Path, "rename", counts=renamed("ready.part")), False),
    "ready, not yet placed": (Fault(cells, "place"), False),
    "model placed, run.json not": (Fault(Path, "replace", counts=renamed("run.json.part")), False),
    "placed, state not yet removed": (Fault(Path, "unlink", counts=renamed("state.ckpt")), False),
}

# The loop is the same, so adaptations are killed where theirs differs: start, selection and end.
ADAPTATION_MOMENTS = [
    "after the first step", "mid-epoch, after a save", "before validation, saved", "while validating",
    "after validation, before its save", "finished, not yet ready", "ready, not yet placed",
    "model placed, run.json not",
]  # fmt: skip


def assert_finished_alike(project, undisturbed, cell):
    """Same checkpoint bytes, same selection, and nothing left over."""
    assert project.bytes(cell) == undisturbed.bytes(cell)
    ours, theirs = (json.loads((one.folder(cell) / "run.json").read_text()) for one in (project, undisturbed))
    for key in ("best", "model", "settings", "code", "data", "labelled", "parameters"):
        assert ours[key] == theirs[key]
    folder = project.folder(cell)
    assert [file.name for file in folder.rglob("*.part")] == []
    assert sorted(file.name for file in (folder / "resume").iterdir()) == ["ready"]
    assert project.statuses(cell)[-1] in ("FINISHED", None)  # None: an attempt that had but to place files


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    """The sources, and each of their adaptations, without any fault."""
    project = sources.copy(tmp_path_factory.mktemp("undisturbed") / "results")
    for cell in ADAPTED:
        verb = ["adapt", project.add(cell)]
        assert project.fork(verb) == 0, project.log()
    return project


@pytest.mark.parametrize("moment", MOMENTS)
def test_training_killed(project, sources, moment):
    fault, every_step = MOMENTS[moment]
    project.add(UNET)
    project.killed(UNET, fault=fault, save_every=0 if every_step else 60)
    assert project.fork(["train", UNET]) == 0, project.log()
    assert_finished_alike(project, sources, UNET)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        pytest.param(cell, moment, id=f"{cell.split('/')[5]}-{moment}")
        for cell in ADAPTED
        for moment in ADAPTATION_MOMENTS
        # entropy minimization looks at no validation label, so it does not validate
        if "entropy_min" not in cell or moment != "while validating"
    ],
)
def test_adaptation_killed(trained, undisturbed, cell, moment):
    fault, every_step = MOMENTS[moment]
    trained.add(cell)
    trained.killed(cell, fault=fault, save_every=0 if every_step else 60)
    assert trained.fork(["adapt", cell]) == 0, trained.log()
    assert_finished_alike(trained, undisturbed, cell)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("cell", ADAPTED, ids=lambda cell: cell.split("/")[5])
def test_adaptation_with_workers(trained, undisturbed, cell, workers):
    """The undisturbed one had none; the mean teacher has a test of its own beside its other bits."""
    trained.add(cell)
    assert trained.fork(["adapt", cell, "--workers", str(workers)]) == 0, trained.log()
    assert trained.bytes(cell) == undisturbed.bytes(cell)


def test_killed_again_and_again(project, sources):
    """Every attempt dies three steps later than the one before it; their journals are one run."""
    project.add(UNET)
    for _ in range(STEPS - 1):
        project.killed(UNET, fault=Fault(Cell, "step", 3, after=True), save_every=0)
    assert project.fork(["train", UNET]) == 0, project.log()
    assert_finished_alike(project, sources, UNET)
    attempts = project.attempts(UNET)
    assert [attempt.status for attempt in attempts] == [None] * (STEPS - 1) + ["FINISHED"]
    assert len({attempt.run for attempt in attempts}) == 1
    resumed = [attempt.points[0].step for attempt in attempts]
    assert resumed == sorted(resumed)
    assert resumed[-1] > STEPS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_ends_with_75(project, sources, number):
    project.add(UNET)
    fault = Fault(Cell, "step", STEPS + 2, after=True, signal=number)
    assert project.fork(["train", UNET], fault) == 75
    assert project.statuses(UNET) == ["KILLED"]
    assert f"signal {int(number)} after step {STEPS + 2}" in project.attempts(UNET)[0].error
    state = torch.load(project.folder(UNET) / "resume" / "state.ckpt", weights_only=True)
    assert state["done"] == STEPS + 2
    assert not (project.folder(UNET) / "resume" / "lock").exists()
    assert project.fork(["train", UNET]) == 0
    assert f"goes on after step {STEPS + 2} of {STEPS * EPOCHS}" in project.log()
    assert_finished_alike(project, sources, UNET)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Cell, "validation_loss", 3, signal=signal.SIGTERM),
        Fault(Cell, "end_epoch", EPOCHS, signal=signal.SIGTERM),
        Fault(training.Training, "fill_caches", signal=signal.SIGTERM),
    ],
    ids=["while validating", "after the last epoch", "before the first step"],
)
def test_a_signal_at_other_moments(project, sources, fault):
    project.add(UNET)
    assert project.fork(["train", UNET], fault) == 75
    assert project.statuses(UNET) == ["KILLED"]
    assert project.fork(["train", UNET]) == 0
    assert_finished_alike(project, sources, UNET)


def test_a_torn_state_is_set_aside(project, sources):
    project.add(UNET)
    project.killed(UNET, fault=Fault(Cell, "step", STEPS + 2), save_every=0)
    state = project.folder(UNET) / "resume" / "state.ckpt"
    os.truncate(state, state.stat().st_size // 2)
    assert project.fork(["train", UNET]) == 0
    assert "cannot be read" in project.log()
    (aside,) = project.folder(UNET).glob("resume.*")
    assert (aside / "state.ckpt").exists()
    assert_finished_alike(project, sources, UNET)
