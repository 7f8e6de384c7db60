"""Rows: heads on one frozen backbone are trained in one process, and each ends as it does alone."""

import json
import time
import weakref
from pathlib import Path

import pytest
import torch
from tests.engine.conftest import UNET, Fault

from segshift import rows, tracking
from segshift.cell import Cell
from segshift.errors import SegShiftError
from segshift.lock import CellLock
from segshift.stages import row, train
from segshift.training import Training

MODULES = {
    "linear": {},
    "linear_last": {},
    "segformer": {"width": 8},
    "pyramid": {"width": 8},
    "da": {"channels": 2},
}
HEADS = [f"a/vit/frozen/{name}/0" for name in MODULES]
FIRST, SECOND, *_ = HEADS


def add(project, cells=HEADS, **training):
    for cell in cells:
        name = cell.split("/")[3]
        project.add(cell, head={"module": name} | MODULES[name], training=training)


def validated(project, cell):
    """Points of the validation curves, of all attempts."""
    points = [point for attempt in project.attempts(cell) for point in attempt.points]
    return {
        (point.step, name): value
        for point in points
        for name, value in point.values.items()
        if name.startswith("validation/")
    }


def assert_as_alone(project, alone, cells=HEADS):
    for cell in cells:
        assert project.bytes(cell) == alone.bytes(cell), cell
        assert validated(project, cell) == validated(alone, cell)
        assert project.statuses(cell)[-1] == "FINISHED"


@pytest.fixture(scope="module")
def alone(datasets, tmp_path_factory):
    """Each head trained alone."""
    torch.set_num_threads(1)
    project = datasets.copy(tmp_path_factory.mktemp("alone") / "results")
    add(project)
    for cell in HEADS:
        assert project.fork(["train", cell]) == 0, project.log()
    assert len({tuple(project.bytes(cell).values()) for cell in HEADS}) == len(HEADS)
    return project


@pytest.fixture
def heads(project):
    """A project in which the heads wait."""
    add(project)
    return project


def wanted(project, *cells):
    """The file that lists what a workflow wants to be trained."""
    file = project.root / "wanted"
    file.write_text("".join(f"{cell}\n" for cell in cells))
    return str(file)


# ---- bits --------------------------------------------------------------------------------------------------


def test_each_ends_as_alone(heads, alone):
    started = time.monotonic()
    assert heads.fit(*HEADS) == 0
    took = time.monotonic() - started
    assert_as_alone(heads, alone)
    records = [json.loads((heads.folder(cell) / "run.json").read_text()) for cell in HEADS]
    assert {record["together"] for record in records} == {len(HEADS)}
    # Each has its own share of the time: prices of cells are made of it.
    spent = sum(record["device_seconds"] for record in records)
    assert 0.2 * took < spent < took + 0.1 * len(HEADS)
    for cell in HEADS:
        own = (heads.folder(cell) / "row.log").read_text()
        assert f"{cell}: epoch 3 of 3" in own
        assert not any(other in own for other in HEADS if other != cell)


def test_fewer_at_once_change_no_bit(heads, alone):
    where = ["--results", str(heads.root), "--device", "cpu"]
    assert heads.fork(["train", *HEADS[:3], "--heads", "2", *where]) == 0, heads.log()
    assert_as_alone(heads, alone, HEADS[:3])
    records = [json.loads((heads.folder(cell) / "run.json").read_text()) for cell in HEADS[:3]]
    assert [record.get("together") for record in records] == [2, 2, None]


def test_adaptations_share_a_pass(datasets, tmp_path):
    project = datasets.copy(tmp_path / "together")
    add(project, HEADS[:2])
    assert project.fit(*HEADS[:2]) == 0
    apart = project.copy(tmp_path / "apart")
    cells = [f"{cell}/finetune/b" for cell in HEADS[:2]]
    for one in (project, apart):
        for cell in cells:
            name = cell.split("/")[3]
            one.add(cell, head={"module": name} | MODULES[name])
    (project.folder(HEADS[0]) / "model.ckpt").unlink()  # a workflow is about to put it in place
    assert project.fit(*cells) == 0
    for cell in cells:
        assert apart.fit(cell) == 0
    assert_as_alone(project, apart, cells)
    assert project.bytes(cells[0]).keys() == {"model.ckpt", "last.ckpt"}
    teachers = [f"{cell}/mean_teacher/b" for cell in HEADS[:2]]
    for cell in teachers:
        name = cell.split("/")[3]
        training = {"sampling": "rare_class"}
        project.add(cell, head={"module": name} | MODULES[name], training=training)
    with pytest.raises(SegShiftError, match="what it draws depends on it alone: train it apart"):
        project.fit(*teachers)
    assert not (project.folder(teachers[0]) / "journal").exists()


def test_seeds_that_share_sampling(project, datasets, tmp_path):
    """Each seed has its own weights and the first one's slices, in one row and alone."""
    cells = ["a/vit/frozen/linear/0", "a/vit/frozen/linear/1", "a/vit/frozen/linear/2"]
    apart = datasets.copy(tmp_path / "apart")
    for one in (project, apart):
        for cell in cells:
            one.add(cell, sampling_seed=0)
    assert project.fit(*cells) == 0
    for cell in cells[1:]:
        assert apart.fit(cell) == 0
    assert_as_alone(project, apart, cells[1:])
    other = datasets.copy(tmp_path / "other")
    other.add(cells[1])
    assert other.fit(cells[1]) == 0
    assert other.state(cells[1])["weights"].keys() == project.state(cells[1])["weights"].keys()
    assert other.bytes(cells[1]) != project.bytes(cells[1])  # with its own slices it is another model
    assert project.bytes(cells[0]) != project.bytes(cells[1])


# ---- trouble -----------------------------------------------------------------------------------------------


def poison(monkeypatch, cell, step):
    """Make the loss of one head no number at a step."""
    real = Cell._backward

    def backward(self, batch):
        if self.settings["cell"] == cell and self.done == step:
            raise SegShiftError(f"{cell}: the loss is nan at step {step}")
        return real(self, batch)

    monkeypatch.setattr(Cell, "_backward", backward)


def test_a_head_that_fails_does_not_disturb_the_others(heads, alone, monkeypatch, capsys):
    poison(monkeypatch, SECOND, 8)
    with pytest.raises(SegShiftError, match=f"^1 of 5 failed: {SECOND}$"):
        heads.fit(*HEADS)
    assert_as_alone(heads, alone, [cell for cell in HEADS if cell != SECOND])
    assert heads.statuses(SECOND) == ["FAILED"]
    assert f"{SECOND}: the loss is nan at step 8" in (heads.folder(SECOND) / "row.log").read_text()
    assert not (heads.folder(SECOND) / "model.ckpt").exists()
    monkeypatch.undo()
    assert heads.fit(SECOND) == 0
    assert "goes on after step 6 of 18" in capsys.readouterr().out  # alone, from the end of its first epoch
    assert_as_alone(heads, alone, [SECOND])


def test_the_one_that_is_behind_fails(heads, alone, monkeypatch):
    """Nobody else learns from the batches that were read for it."""
    heads.killed(SECOND, fault=Fault(Cell, "step", 10), save_every=0)
    poison(monkeypatch, FIRST, 2)
    with pytest.raises(SegShiftError, match=f"^1 of 2 failed: {FIRST}$"):
        heads.fit(FIRST, SECOND)
    assert_as_alone(heads, alone, [SECOND])


def test_a_validation_that_fails(heads, alone, monkeypatch):
    real = Cell.validation_loss

    def validation_loss(self, outputs, labels):
        if self.settings["cell"] == FIRST and self.done == 12:
            raise RuntimeError("no memory")
        return real(self, outputs, labels)

    monkeypatch.setattr(Cell, "validation_loss", validation_loss)
    with pytest.raises(SegShiftError, match=f"^1 of 2 failed: {FIRST}$"):
        heads.fit(FIRST, SECOND)
    assert_as_alone(heads, alone, [SECOND])
    assert "RuntimeError: no memory" in (heads.folder(FIRST) / "row.log").read_text()
    assert heads.attempts(FIRST)[0].error == "RuntimeError: no memory"


def test_the_last_one_fails_as_alone(heads, monkeypatch):
    poison(monkeypatch, FIRST, 3)
    with pytest.raises(SegShiftError, match=f"^{FIRST}: the loss is nan at step 3$"):
        heads.fit(FIRST)
    assert heads.statuses(FIRST) == ["FAILED"]


def test_a_head_that_cannot_be_built(heads, alone):
    heads.add(SECOND, head={"module": "linear_last", "width": 3})
    with pytest.raises(SegShiftError, match=f"^1 of 2 failed: {SECOND}$"):
        heads.fit(FIRST, SECOND)
    assert_as_alone(heads, alone, [FIRST])
    assert "width" in (heads.folder(SECOND) / "row.log").read_text()


def test_finished_and_claimed_ones_are_left_alone(heads, alone, capsys):
    assert heads.fit(FIRST) == 0
    with CellLock(heads.folder(SECOND)):
        assert heads.fit(*HEADS[:3]) == 0
    said = capsys.readouterr().out
    assert f"{FIRST}: is finished" in said
    assert f"{heads.folder(SECOND)} is being trained by process" in said
    assert not (heads.folder(SECOND) / "model.ckpt").exists()
    assert_as_alone(heads, alone, [FIRST, HEADS[2]])


# ---- what a workflow asks for ------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [1, 11, 40], ids=["at first", "in the first epoch", "in the second"])
def test_a_killed_row_goes_on(heads, alone, call):
    words = ["train", *HEADS[:3], "--row", wanted(heads, *HEADS[:3])]
    assert heads.fork(words, Fault(Cell, "step", call), save_every=0) == -9, heads.log()
    assert heads.fork(words) == 0, heads.log()
    assert_as_alone(heads, alone, HEADS[:3])


def test_a_row_that_is_told_to_end(heads, alone):
    words = ["train", *HEADS[:2], "--row", wanted(heads, *HEADS[:2])]
    assert heads.fork(words, Fault(Cell, "step", 17, signal=15)) == train.RESUMABLE
    assert [heads.statuses(cell) for cell in HEADS[:2]] == [["KILLED"], ["KILLED"]]
    assert heads.fork(words) == 0, heads.log()
    assert_as_alone(heads, alone, HEADS[:2])


def test_only_what_is_wanted_and_fits(heads, alone):
    """Of five, one is not wanted and one has other epochs: it and what learns whole are left."""
    heads.add(HEADS[2], head={"module": "segformer"}, training={"epochs": 2})
    heads.add(UNET)
    cells = [UNET, *HEADS[:4]]
    words = ["train", *cells, "--row", wanted(heads, UNET, *HEADS[:3])]
    assert heads.fork(words) == 0, heads.log()
    assert_as_alone(heads, alone, HEADS[:2])
    assert f"{UNET}: its backbone learns; it is left to a job of its own" in heads.log()
    for cell in (UNET, *HEADS[2:]):
        assert not (heads.folder(cell) / "journal").exists()


def test_random_backbones_of_different_depth(project, tmp_path):
    """A checkpoint holds of a random backbone what its head needs, so a pass serves heads of one depth."""
    twin = {"module": "lite_medsam", "image_size": 32, "weights": None, "init_seed": 0, "calibrate": True}
    modules = {"linear": {"module": "linear"}, "linear_last": {"module": "linear_last"}}
    modules["segformer"] = {"module": "segformer", "width": 8}
    cells = [f"a/vit_random/frozen/{name}/0" for name in modules]
    for cell, head in zip(cells, modules.values(), strict=True):
        project.add(cell, backbone=twin, head=head, training={"epochs": 1})
    apart = project.copy(tmp_path / "apart")
    with pytest.raises(SegShiftError, match="of which they need different parts: train them apart"):
        project.fit(*cells)
    assert project.fork(["train", *cells, "--row", wanted(project, *cells)]) == 0, project.log()
    for cell in (cells[0], cells[2]):
        assert apart.fit(cell) == 0
    assert_as_alone(project, apart, [cells[0], cells[2]])
    assert not (project.folder(cells[1]) / "journal").exists()
    adapted = [f"{cell}/finetune/b" for cell in (cells[0], cells[2])]  # from copies of one random backbone
    for one in (project, apart):
        for cell, head in zip(adapted, ("linear", "segformer"), strict=True):
            one.add(cell, backbone=twin, head=modules[head], training={"epochs": 1})
    assert project.fit(*adapted) == 0
    for cell in adapted:
        assert apart.fit(cell) == 0
    assert_as_alone(project, apart, adapted)
    file = project.folder(cells[2]) / "model.ckpt"
    content = torch.load(file, weights_only=True)
    next(one for name, one in content["weights"].items() if not name.startswith("head.")).add_(1)
    torch.save(content, file)
    others = [f"{cell}/entropy_min/b" for cell in (cells[0], cells[2])]
    for cell, head in zip(others, ("linear", "segformer"), strict=True):
        project.add(cell, backbone=twin, head=modules[head], training={"epochs": 1})
    with pytest.raises(SegShiftError, match="they start from different copies of the random backbone"):
        project.fit(*others)


def test_one_alone_is_no_row(heads):
    words = ["train", *HEADS, "--row", wanted(heads, FIRST)]
    assert heads.fork(words) == 0
    assert not (heads.folder(FIRST) / "journal").exists()


def test_what_fails_in_a_row_is_left(heads, alone):
    heads.add(SECOND, head={"module": "linear_last", "width": 3})
    assert heads.fork(["train", *HEADS[:2], "--row", wanted(heads, *HEADS[:2])]) == 0
    assert f"{SECOND}: " in heads.log()
    assert "it is left to a job of its own" in heads.log()
    assert_as_alone(heads, alone, [FIRST])


def test_a_row_that_cannot_begin_leaves_all(heads):
    """Not the row but each training says what is wrong with it."""
    for cell in HEADS[:2]:
        name = cell.split("/")[3]
        heads.add(cell, head={"module": name}, weights={"tiny": "0" * 64})
    assert heads.fork(["train", *HEADS[:2], "--row", wanted(heads, *HEADS[:2])]) == 0
    assert "each is left to a job of its own" in heads.log()


@pytest.mark.parametrize(("deaths", "most"), [(0, 4), (1, 4), (2, 1)])
def test_a_row_that_dies_without_a_word_becomes_smaller(deaths, most):
    assert row._at_once([0, deaths, 0, 0, 0], 4) == most


def test_a_model_that_died_thrice_without_a_word_is_left_and_the_others_go_on(heads, alone):
    for number in range(3):
        tracking.Journal(heads.folder(SECOND)).start(str(number), {}, {})
    damaged = heads.folder(HEADS[3]) / "journal" / "001.jsonl"
    damaged.parent.mkdir()
    damaged.write_text("half a li{\n")
    assert heads.fork(["train", *HEADS[:4], "--row", wanted(heads, *HEADS[:4])]) == 0, heads.log()
    damaged.unlink()
    assert_as_alone(heads, alone, [FIRST, *HEADS[2:4]])
    assert f"{SECOND}: 3 attempts ended without a word" in heads.log()
    assert not (heads.folder(SECOND) / "model.ckpt").exists()


def test_a_row_that_always_dies_keeps_no_model_from_being_trained(heads):
    """Killed before anybody has a journal that could tell; a workflow's last try leaves all."""
    words = ["train", *HEADS[:3], "--row", wanted(heads, *HEADS[:3])]
    for attempt in range(1, rows.TRIES):
        assert heads.fork([*words, "--attempt", str(attempt)], Fault(train, "_share", 1)) == -9
    assert heads.fork([*words, "--attempt", str(rows.TRIES)], Fault(train, "_share", 1)) == 0
    assert "each is left to a job of its own" in heads.log()


def test_a_mistake_of_ours_is_seen(heads, monkeypatch, capsys):
    monkeypatch.setattr(Training, "_maps", lambda *_: None.nothing)
    assert row.run(HEADS[:2], Path(wanted(heads, *HEADS[:2])), str(heads.root), "cpu") == 0
    assert "Traceback" in (said := capsys.readouterr().out) and "AttributeError" in said
    assert "AttributeError" in (heads.folder(SECOND) / "row.log").read_text()


def test_one_that_cannot_be_saved_or_put_in_place_ends_alone(heads, alone, monkeypatch):
    for name, cell in (("save", FIRST), ("finish", SECOND)):
        real = getattr(Cell, name)

        def full(self, *words, real=real, cell=cell):
            if self.settings["cell"] == cell:
                raise SegShiftError(f"{cell} cannot be written: No space left on device")
            return real(self, *words)

        monkeypatch.setattr(Cell, name, full)
    with pytest.raises(SegShiftError, match="^2 of 3 failed"):
        heads.fit(*HEADS[:3])
    assert_as_alone(heads, alone, [HEADS[2]])
    for cell in (FIRST, SECOND):
        assert heads.statuses(cell) == ["FAILED"]
        assert "No space left" in (heads.folder(cell) / "row.log").read_text()


def test_models_of_an_earlier_part_are_let_go_of(heads, monkeypatch):
    real, alive, made = train.fit, [], []

    def fit(part, *words):
        alive.append(sum(one() is not None for one in made))
        return real(part, *words)

    build = train._cell

    def cell(*words):
        found = build(*words)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(train, "_cell", cell)
    assert train.run(HEADS[:4], str(heads.root), "cpu", heads=2) == 0
    assert alive == [0, 0] and len(made) == 4
