"""`segshift replay`: trained again beside the old one, compared, and nothing of the old one touched."""

import hashlib
import json
import os

import pytest
import torch
from tests.engine.conftest import UNET, VIT_CELL, Fault

from segshift.cell import Cell
from segshift.errors import SegShiftError
from segshift.settings import read_settings
from segshift.stages import replay

ADAPTED = f"{VIT_CELL}/finetune/b"


def content(project):
    """Digest and time of everything below `runs`."""
    files = sorted(file for file in (project.root / "runs").rglob("*") if file.is_file())
    return {str(f): (hashlib.sha256(f.read_bytes()).hexdigest(), f.stat().st_mtime_ns) for f in files}


def verdict(project, cell):
    return json.loads((project.root / "replays" / cell.replace("/", "__") / "replay.json").read_text())


def test_a_replay_has_the_same_bits_and_touches_nothing(trained, capsys):
    before = content(trained)
    assert replay.run(VIT_CELL, str(trained.root)) == 0
    assert content(trained) == before
    printed = capsys.readouterr().out
    assert f"{VIT_CELL}: the replay agrees: every checkpoint has the same bits" in printed
    assert "model: the same bits" in printed
    assert "lowest_loss: the same bits" in printed
    found = verdict(trained, VIT_CELL)
    assert found["agrees"] is True
    assert [(one["role"], one["same_bits"], one["largest"]) for one in found["checkpoints"]] == [
        ("model", True, 0.0), ("lowest_loss", True, 0.0),
    ]  # fmt: skip
    assert found["made_with"] == {}
    again = trained.root / "replays" / VIT_CELL.replace("/", "__") / "runs" / VIT_CELL
    assert (again / "model.ckpt").read_bytes() == trained.bytes(VIT_CELL)["model.ckpt"]


def test_a_replay_of_an_adaptation_starts_from_the_same_model(trained, capsys):
    trained.add(ADAPTED)
    assert trained.fit(ADAPTED) == 0
    before = content(trained)
    assert replay.run(trained.folder(ADAPTED), str(trained.root)) == 0
    assert content(trained) == before
    assert "last: the same bits" in capsys.readouterr().out


def test_a_replay_that_was_killed_goes_on_and_one_that_ended_starts_anew(trained):
    folder = trained.root / "replays" / VIT_CELL.replace("/", "__") / "runs" / VIT_CELL
    words = ["replay", VIT_CELL]
    code = _fork(trained, words, Fault(Cell, "step", 9))
    assert code == -9
    assert (folder / "resume" / "state.ckpt").exists()
    assert _fork(trained, words) == 0, trained.log()
    assert "goes on after step 8 of 18" in trained.log()
    first = (folder / "model.ckpt").stat().st_ino
    assert _fork(trained, words) == 0
    assert (folder / "model.ckpt").stat().st_ino != first


def _fork(project, words, fault=None):
    return project.fork(words, fault, save_every=0)


def test_another_model_does_not_agree(trained):
    """On a CPU one bit is enough; the numbers say how far away it is."""
    file = trained.folder(VIT_CELL) / "model.ckpt"
    damaged = torch.load(file, weights_only=True)
    name = next(iter(damaged["weights"]))
    damaged["weights"][name].reshape(-1)[0] += 0.25
    torch.save(damaged, file)
    with pytest.raises(
        SegShiftError, match=f"^{VIT_CELL}: the replay does not agree: on a CPU the bits must"
    ):
        replay.run(VIT_CELL, str(trained.root))
    found = verdict(trained, VIT_CELL)
    assert found["agrees"] is False
    model, lowest = found["checkpoints"]
    assert model["largest"] == pytest.approx(0.25, rel=1e-6)
    total = torch.stack([one.double().norm() for one in damaged["weights"].values()]).norm().item()
    assert model["weights"] == pytest.approx(0.25 / total, rel=1e-5)
    assert model["dice"] == 0.0
    assert lowest["same_bits"] is True


def test_on_a_gpu_dice_must_agree_within_the_tolerance(trained):
    """The rule itself; the comparison before it is of two CPU runs."""
    replay.run(VIT_CELL, str(trained.root))
    again = trained.root / "replays" / VIT_CELL.replace("/", "__") / "runs" / VIT_CELL
    settings = read_settings(trained.folder(VIT_CELL))
    (main, _) = replay.compare(trained.folder(VIT_CELL), again, settings)
    main.same_bits, gpu = False, {"device": "cuda"}
    for dice, agrees in ((0.49, True), (0.51, False)):
        main.dice = dice
        found = replay._judge([main], gpu, gpu, 0.5)
        assert found["agrees"] is agrees
        assert f"differs by {dice:.4f} points (tolerance 0.5)" in found["sentence"]
    main.dice = None
    for weights, agrees in ((0.009, True), (0.011, False)):
        main.weights = weights
        assert replay._judge([main], gpu, gpu, 0.5)["agrees"] is agrees
    main.weights = 0.0
    assert replay._judge([main], gpu, {"device": "cpu"}, 0.5)["agrees"] is True


def test_what_was_made_with_something_else_is_told(trained, capsys):
    file = trained.folder(VIT_CELL) / "run.json"
    record = json.loads(file.read_text())
    record["versions"]["torch"] = "1.0"
    file.write_text(json.dumps(record))
    replay.run(VIT_CELL, str(trained.root))
    assert (
        f"made with another torch: 1.0 then, {torch.__version__.partition('+')[0]}" in capsys.readouterr().out
    )
    assert list(verdict(trained, VIT_CELL)["made_with"]) == ["torch"]


def test_what_is_not_finished_cannot_be_replayed(project):
    project.add(UNET)
    with pytest.raises(SegShiftError, match=f"{UNET} is not finished.*train it first"):
        replay.run(UNET, str(project.root))
    assert not (project.root / "replays").exists()


# ---- run.json ----------------------------------------------------------------------------------------------


def test_run_json_says_what_made_a_model(sources):
    """Settings, code, packages, seed, device, data, weights, start, end, device-seconds, memory."""
    record = json.loads((sources.folder(VIT_CELL) / "run.json").read_text())
    assert record["cell"] == VIT_CELL
    assert record["configuration"] == read_settings(sources.folder(VIT_CELL))
    manifest = json.loads((sources.results.data("a") / "manifest.json").read_text())
    assert record["data"] == {"a": manifest["sha256"]}
    weights = hashlib.sha256(sources.results.weights("tiny").read_bytes()).hexdigest()
    assert record["files"] == {"tiny": weights}
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"python", "segshift", "timm", "numpy", "pytorch-lightning", "h5py"} <= set(record["versions"])
    assert (record["seed"], record["device"], record["cpu_threads"]) == (0, "cpu", 1)
    assert record["host"] == os.uname().nodename
    assert record["hardware"]
    assert 0 < record["ended"] - record["started"] < 600_000
    assert 0 < record["device_seconds"] <= (record["ended"] - record["started"]) / 1000 + 1
    assert 50e6 < record["peak_memory"] < 64e9
    assert record["epochs"] == 3
    for name in ("settings", "code", "model", "run"):
        assert record[name]
    assert record["parameters"]["trainable"] > 0
