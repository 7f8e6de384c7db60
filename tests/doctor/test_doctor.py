"""`segshift doctor`: each finding from made-up machines, and that nothing hangs it."""

import http.server
import json
import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from segshift.cli import main
from segshift.doctor import environment, inputs, machine, tracker
from segshift.doctor.finding import Finding, ask, bounded
from segshift.errors import SegShiftError
from segshift.grid import read
from segshift.paths import Results

ROOT = Path(__file__).parents[2]
PARTITIONS = """\
cpu|(null)|64000
gpu|gpu:a100:4(S:0-1)|257000+
gpu|gpu:v100:2|128000
"""


@pytest.fixture
def demo(tmp_path):
    """The demo's configuration and an empty folder of results."""
    shutil.copytree(ROOT / "config/demo", tmp_path / "config")
    return read(tmp_path / "config"), Results(tmp_path / "results")


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Puts a program of some name on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")

    def make(name, script):
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return make


def one(found, state, word):
    """The only finding of that state whose subject or sentence has a word."""
    (found,) = [one for one in found if one.state == state and word in one.subject + one.said]
    return found


# ---- nothing hangs, nothing ends it ------------------------------------------------------------------------


def test_a_check_that_hangs_or_fails_is_a_finding():
    free = threading.Event()
    begun = time.monotonic()
    (late,) = bounded("x", lambda: [Finding("ok", "x", "at last")] if free.wait(60) else [], 0.05)
    assert late.state == "fix" and "gave no answer in 0.05 s" in late.said and time.monotonic() - begun < 30
    free.set()

    def partly():
        yield Finding("ok", "x", "this was found")
        raise SegShiftError("that was not")

    assert bounded("x", partly, 30) == [
        Finding("ok", "x", "this was found"),
        Finding("fix", "x", "that was not"),
    ]
    (other,) = bounded("x", lambda: 1 / 0, 30)
    assert other.state == "fix" and "ZeroDivisionError" in other.said


def test_a_command_that_hangs_fails_or_is_not_there(command):
    command("sleeper", "exec sleep 60")
    with pytest.raises(SegShiftError, match="sleeper gave no answer in 0.05 s"):
        ask(["sleeper"], 0.05)
    command("liar", "echo no such thing >&2; exit 3")
    with pytest.raises(SegShiftError, match="liar says: no such thing"):
        ask(["liar"])
    with pytest.raises(SegShiftError, match="nobody cannot be started"):
        ask(["nobody"])


# ---- environment -------------------------------------------------------------------------------------------


def test_packages_beside_the_lock(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# pinned\nno-such-package-anywhere==1.0\npyyaml==0.0.1\nold==1; python_version < '3'\n")
    found = list(environment.packages(lock))
    assert one(found, "fix", "packages").said == "1 are not installed: no-such-package-anywhere 1.0"
    assert "1 have other versions than requirements.lock: pyyaml" in one(found, "note", "packages").said
    lock.write_text(f"pyyaml=={yaml.__version__}\n")
    assert list(environment.packages(lock)) == [
        Finding("ok", "packages", "all 1 as requirements.lock pins them")
    ]


def test_disk_and_python(tmp_path, monkeypatch):
    assert [found.state for found in environment.python()] == ["ok"]
    (full,) = environment.disk(tmp_path / "not/there/yet")
    assert "GB free" in full.said
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 10**9))
    assert [found.state for found in environment.disk(tmp_path)] == ["note"]


# ---- GPU and Slurm -----------------------------------------------------------------------------------------


def test_gpus(command, monkeypatch):
    assert one(machine.gpu(), "note", "no NVIDIA driver") if not shutil.which("nvidia-smi") else True
    command("nvidia-smi", "echo 'NVIDIA A100, 40960 MiB, 550.1'")
    monkeypatch.setattr(machine, "_cuda", lambda: "13.0")
    assert one(machine.gpu(), "ok", "NVIDIA A100, 40960 MiB, 550.1; PyTorch for CUDA 13.0")
    monkeypatch.setattr(machine, "_cuda", lambda: None)
    assert one(machine.gpu(), "fix", "built without CUDA")
    command("nvidia-smi", 'echo "couldn\'t communicate with the driver"; exit 9')
    assert one(machine.gpu(), "note", "communicate with the driver")


def test_partitions_as_sinfo_prints_them():
    assert machine.parse(PARTITIONS) == {
        "cpu": (set(), 64000),
        "gpu": ({"gpu:a100:4", "gpu:v100:2"}, 257000),
    }


def site(tmp_path, text):
    own = tmp_path / "site.yaml"
    own.write_text(text)
    return list(machine.slurm(ROOT / "config/site.example.yaml", own))


def test_what_site_names_is_there_or_not(tmp_path, command):
    command("sinfo", f"cat <<'E'\n{PARTITIONS}E")
    command("sacctmgr", "printf 'lab\\nteaching\\n'")
    good = "all: {slurm_partition: gpu, slurm_account: lab}\ntrain: {gpu_model: a100}\n"
    found = site(tmp_path, good)
    assert {one.state for one in found} == {"ok"}
    assert "docs/cluster.md" in one(found, "ok", "partitions cpu, gpu").to_do
    assert one(found, "ok", "slurm_account lab is yours")
    bad = "all: {slurm_partition: cpu, slurm_account: physics}\n"
    bad += "prepare: {slurm_partition: big}\ntrain: {slurm_partition: gpu, gpu_model: h100}\n"
    bad += "evaluate: {mem_mb: 100000}\n"
    found = site(tmp_path, bad)
    assert one(found, "fix", "there is no partition big").to_do == "name one of cpu, gpu"
    models = [(one.subject, one.to_do) for one in found if "has a GPU h100" in one.said]
    known = "gpu_model: gpu:a100:4, gpu:v100:2"
    assert models == [
        ("site.yaml: train", known),
        ("site.yaml: row", known),
    ]  # a row asks for what train does
    without = [one.subject for one in found if one.said == "no node of cpu has a GPU"]
    assert without == ["site.yaml: adapt", "site.yaml: evaluate"]
    assert one(found, "fix", "no node of cpu has 100000 MB").to_do == "mem_mb: at most 64000"
    assert one(found, "fix", "slurm_account physics is not yours").to_do == "yours: lab, teaching"


def test_a_site_without_words_and_slurm_that_does_not_answer(tmp_path, command):
    command("sinfo", f"cat <<'E'\n{PARTITIONS}E")
    found = site(tmp_path, "{}\n")
    assert [one.state for one in found].count("note") == 5  # a line a rule: Slurm's default partition
    command("sinfo", "echo unable to contact slurm controller >&2; exit 1")
    assert (
        "docs/cluster.md" in one(site(tmp_path, "{}\n"), "note", "unable to contact slurm controller").to_do
    )
    assert one(site(tmp_path, "all: {slurm_partition: x}\n"), "fix", "unable to contact slurm controller")
    with pytest.raises(SegShiftError, match="unknown rule 'tran'; did you mean 'train'"):
        site(tmp_path, "tran: {gpu: 1}\n")


# ---- tracking ----------------------------------------------------------------------------------------------

MOUNTS = """\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:35 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2
41 40 8:2 / /home/me/local\\040disk rw - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [("/home/me/r/mlflow.db", "nfs4"), ("/home/me/local disk/m.db", "xfs"), ("/homes/m.db", "ext4")],
)
def test_the_file_system_of_a_file(file, kind):
    assert tracker.filesystem(Path(file), MOUNTS) == kind


def test_a_database_on_a_network_is_named(demo, monkeypatch):
    grid, results = demo
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert one(tracker.check(grid, results), "ok", "which the first `segshift track` makes")
    mounts = f"1 0 0:1 / {results.root.parent} rw - lustre x rw"
    found = one(tracker.check(grid, results, mounts), "note", "on lustre, a network file system")
    assert "start a server" in found.to_do


class Answers(http.server.BaseHTTPRequestHandler):
    code = 200

    def do_GET(self):
        self.send_response(self.code if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_):
        pass


def test_a_server_answers_or_not(demo, monkeypatch):
    grid, results = demo
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert one(tracker.check(grid, results), "ok", f"http://{address} answers")
        monkeypatch.setattr(Answers, "code", 401)
        assert one(tracker.check(grid, results), "ok", "wants a name and a password")
        monkeypatch.setattr(Answers, "code", 404)
        assert one(tracker.check(grid, results), "fix", "answers 404")
        server.shutdown()
    found = one(tracker.check(grid, results), "fix", "does not answer")
    assert "secret" not in found.said + found.to_do


# ---- weights and data --------------------------------------------------------------------------------------


def test_weights_wherever_they_are(demo, tmp_path):
    grid, results = demo
    entry = grid.config.weights["lite_medsam"]
    found = list(inputs.weights(grid, results))
    assert one(found, "ok", "in the package")
    grid.config.weights["lite_medsam"] = entry.model_copy(update={"package": None, "url": None, "hub": None})
    where = one(inputs.weights(grid, results), "fix", "weights lite_medsam")
    assert f"put the file {entry.file} into {tmp_path / 'weights'}" in where.to_do
    grid.config.weights["lite_medsam"] = entry.model_copy(update={"package": None, "url": "http://x/y"})
    assert one(inputs.weights(grid, results), "note", "not here yet, from http://x/y")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / entry.file).write_text("")
    assert one(inputs.weights(grid, results), "ok", str(tmp_path / "weights" / entry.file))
    results.weights("lite_medsam").parent.mkdir(parents=True)
    results.weights("lite_medsam").write_text("")
    unsure = entry.model_copy(update={"sha256": None})
    for known, state, word in (
        (entry.model_copy(update={"sha256": "a" * 64}), "ok", "sha256 verified when it was fetched"),
        (unsure, "note", "nobody knows what it should be"),
    ):
        grid.config.weights["lite_medsam"] = known
        found = one(inputs.weights(grid, results), state, word)
        assert entry.licence in found.said
    results.weights_record("lite_medsam").write_text(f"{'b' * 64}  lite_medsam\n")
    assert one(inputs.weights(grid, results), "ok", "sha256 recorded and not verified (bbbbbbbb)")


def test_data_raw_or_prepared(demo, tmp_path):
    grid, results = demo
    assert set(inputs.datasets(grid)) <= set(grid.datasets())
    found = one(inputs.dataset(grid, results, "t1_a"), "fix", "data t1_a")
    assert f"put the raw files into {tmp_path / 'raw'}" in found.to_do
    for split, volumes in (("train", 2), ("validation", 1), ("test", 1)):
        file = tmp_path / "raw/brain_t1_a" / f"data_{split}.hdf5"
        file.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(file, "w") as content:
            content["images"] = np.zeros((2 * volumes, 8, 8), np.float32)
            content["labels"] = np.zeros((2 * volumes, 8, 8), np.uint8)
            content["nz"] = [2] * volumes
    assert one(inputs.dataset(grid, results, "t1_a"), "ok", "patients: 2 train, 1 validation, 1 test")
    volumes = [{"patient": "a"}, {"patient": "a"}, {"patient": "b"}]
    splits = {"train": {"volumes": volumes}, "validation": {"volumes": []}, "test": {"volumes": volumes[:1]}}
    results.data("t1_a").mkdir(parents=True)
    (results.data("t1_a") / "manifest.json").write_text(json.dumps({"splits": splits}))
    assert one(
        inputs.dataset(grid, results, "t1_a"), "ok", "prepared, patients: 2 train, 0 validation, 1 test"
    )


# ---- the whole ---------------------------------------------------------------------------------------------


def test_the_exit_code_says_whether_something_is_missing(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = ["doctor", "--config", str(tmp_path / "config"), "--results", str(tmp_path / "results")]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "FIX   data t1_a: there is no" in said and "ok    python: Python" in said
    assert said.rstrip().endswith("to mend")
    monkeypatch.setattr(inputs, "datasets", lambda grid: [])
    monkeypatch.setattr(environment, "packages", lambda: [])
    monkeypatch.setattr(machine, "slurm", lambda *files: [])
    monkeypatch.setattr(machine, "gpu", lambda: [])
    assert main(words) == 0
    assert "all that is needed is there" in capsys.readouterr().out
    (tmp_path / "config/heads.yaml").write_text("linear: {module: nothing}\n")
    assert main(words) == 1
    assert "FIX   configuration: " in capsys.readouterr().out
