"""A row also scores what it trained, from one pass, and each model has the scores that it has alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.engine.conftest import UNET, Fault
from tests.engine.test_rows import HEADS, add, wanted

from segshift import examples, grid, scores
from segshift.backbones import timm
from segshift.stages import evaluate, row, train

CELLS = HEADS[:4]  # two of one map, of different blocks, two of several
TARGETS = ["a", "b"]


def files(project, cell):
    folder = project.folder(cell) / "scores"
    return {name: (folder / name).read_bytes() for one in TARGETS for name in (f"{one}.csv", f"{one}.png")}


@pytest.fixture
def asked(monkeypatch):
    """The targets that experiments name, and the words of a row that scores."""
    targets = dict.fromkeys([*HEADS, UNET], TARGETS)
    monkeypatch.setattr(grid, "read", lambda _: SimpleNamespace(targets=targets))
    return targets


def words(project, *cells):
    return ["train", *cells, "--row", wanted(project, *cells), "--score", "nowhere"]


@pytest.fixture(scope="module")
def alone(datasets, tmp_path_factory):
    """Each head trained in a row, and scored alone."""
    project = datasets.copy(tmp_path_factory.mktemp("alone") / "results")
    add(project, CELLS, epochs=1)
    assert project.fork(["train", *CELLS]) == 0, project.log()
    for cell in CELLS:
        assert project.fork(["evaluate", cell, *TARGETS]) == 0, project.log()
    return project


@pytest.fixture
def heads(project):
    add(project, CELLS, epochs=1)
    return project


def count(monkeypatch, owner, name):
    """Calls of a function from here on."""
    seen, real = [], getattr(owner, name)

    def noted(*words, **more):
        seen.append(words)
        return real(*words, **more)

    monkeypatch.setattr(owner, name, noted)
    return seen


def test_each_is_scored_as_alone_from_one_pass(heads, alone, asked, monkeypatch):
    assert heads.fork(words(heads, *CELLS)) == 0, heads.log()
    for cell in CELLS:
        assert files(heads, cell) == files(alone, cell), cell
        own = (heads.folder(cell) / "row.log").read_text()
        assert "a: test Dice" in own and "b: test Dice" in own
        assert scores.read_seconds(heads.folder(cell)).keys() == set(TARGETS)
        assert not (heads.folder(cell) / "scores.csv").exists()  # that is of its own job
    assert len({tuple(files(heads, cell).values()) for cell in CELLS}) == len(CELLS)
    passes = count(monkeypatch, timm.Transformer, "forward")
    drawn = count(monkeypatch, examples, "write")
    for cell in CELLS:
        evaluate.run(cell, TARGETS, str(heads.root), device="cpu")
        assert (heads.folder(cell) / "scores.csv").read_bytes() == (
            alone.folder(cell) / "scores.csv"
        ).read_bytes()
    assert (passes, drawn) == ([], [])


def test_the_backbone_is_passed_once_for_all(alone, asked, monkeypatch):
    """Beside the pictures, which each head makes by itself."""
    todo = [(alone.folder(cell), evaluate.read_settings(alone.folder(cell))) for cell in CELLS]
    monkeypatch.setattr(examples, "write", lambda *_: None)
    monkeypatch.setattr(evaluate, "_scored", lambda *_: False)
    passes = count(monkeypatch, timm.Transformer, "forward")
    evaluate.together(todo[:1], alone.results, "nowhere", "cpu")
    one = len(passes)
    passes.clear()
    evaluate.together(todo, alone.results, "nowhere", "cpu")
    assert len(passes) == one > 4


def test_a_row_that_dies_while_it_scores_goes_on(heads, alone, asked, monkeypatch):
    for fault, code in (
        (Fault(scores, "write", 2), -9),
        (Fault(scores, "write", 4, signal=15), train.RESUMABLE),
    ):
        assert heads.fork(words(heads, *CELLS), fault) == code, heads.log()
    done = [
        cell for cell in CELLS for one in TARGETS if (heads.folder(cell) / "scores" / f"{one}.csv").exists()
    ]
    assert 1 < len(done) < len(CELLS) * len(TARGETS)
    assert heads.fork(words(heads, *CELLS)) == 0, heads.log()
    for cell in CELLS:
        assert files(heads, cell) == files(alone, cell)


def test_what_is_not_prepared_or_not_named_is_left(heads, alone, asked):
    (heads.root / "data").unlink()
    (heads.root / "data").mkdir()
    (heads.root / "data" / "a").symlink_to(alone.results.data("a").resolve())
    asked[CELLS[2]] = ["b"]
    del asked[CELLS[3]]
    assert heads.fork(words(heads, *CELLS)) == 0, heads.log()
    for cell in CELLS[:2]:
        found = {file.stem for file in (heads.folder(cell) / "scores").glob("*.csv")}
        assert found == {"a"}
    for cell in CELLS[2:]:
        assert not (heads.folder(cell) / "scores").exists()
        assert (heads.folder(cell) / "run.json").exists()


def test_what_fails_to_be_scored_is_left_and_said(heads, asked, monkeypatch):
    monkeypatch.setattr(evaluate, "together", lambda *_: None.nothing)
    assert heads.fork(words(heads, *CELLS[:2])) == 0, heads.log()
    assert "AttributeError" in heads.log()
    assert "each is scored by a job of its own" in heads.log()
    assert all((heads.folder(cell) / "run.json").exists() for cell in CELLS[:2])


def test_one_that_failed_in_training_is_not_scored(heads, alone, asked):
    bad = CELLS[1]
    heads.add(bad, head={"module": "linear_last", "width": 3}, training={"epochs": 1})
    assert heads.fork(words(heads, *CELLS[:3])) == 0, heads.log()
    assert not (heads.folder(bad) / "scores").exists()
    for cell in (CELLS[0], CELLS[2]):
        assert files(heads, cell) == files(alone, cell)


def test_random_backbones_are_scored_apart(project, asked):
    """Each checkpoint holds one: those of two models need not be the same."""
    cells = ["a/vit_random/frozen/linear/0", "a/vit_random/frozen/segformer/0"]
    heads = {"linear": {"module": "linear"}, "segformer": {"module": "segformer", "width": 8}}
    for cell in cells:
        project.add(cell, head=heads[cell.split("/")[3]], training={"epochs": 1})
        asked[cell] = TARGETS
    assert project.fork(words(project, *cells)) == 0, project.log()
    for cell in cells:
        assert (project.folder(cell) / "run.json").exists()
        assert not (project.folder(cell) / "scores").exists()
    todo = [(project.folder(cell), evaluate.read_settings(project.folder(cell))) for cell in cells]
    with pytest.raises(evaluate.SegShiftError, match="its checkpoint holds its backbone"):
        evaluate.together(todo, project.results, "nowhere", "cpu")


def test_without_a_configuration_nothing_is_scored(heads, asked):
    file = Path(wanted(heads, *CELLS[:2]))
    assert row.run(CELLS[:2], file, str(heads.root), "cpu") == 0
    assert not (heads.folder(CELLS[0]) / "scores").exists()
