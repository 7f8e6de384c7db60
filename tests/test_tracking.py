import errno
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from segshift import tracking
from segshift.errors import SegShiftError
from segshift.lock import STALE, CellLock
from segshift.paths import Results
from segshift.tracking import Journal


def test_a_journal_reads_back(tmp_path):
    before = tracking.now()
    journal = Journal(tmp_path)
    journal.start("key", {"epochs": 3}, {"host": "here"})
    journal.log(7, {"train/loss": 0.1 + 0.2, "train/odd": float("nan")})
    journal.event("resumed", step=7)
    journal.end("FAILED", "ValueError: no")
    (attempt,) = tracking.read(tmp_path)
    assert (attempt.number, attempt.run, attempt.status, attempt.error) == (
        1,
        "key",
        "FAILED",
        "ValueError: no",
    )
    assert (attempt.parameters, attempt.tags) == ({"epochs": 3}, {"host": "here"})
    assert attempt.points[0].step == 7
    assert attempt.points[0].values["train/loss"] == 0.1 + 0.2
    assert attempt.points[0].values["train/odd"] != attempt.points[0].values["train/odd"]
    assert attempt.events[0]["step"] == 7
    assert before <= attempt.started <= attempt.points[0].time <= attempt.last <= tracking.now()


def test_every_attempt_has_a_file_of_its_own(tmp_path):
    for _ in range(2):
        Journal(tmp_path).start("key", {}, {})
    (tmp_path / "journal" / "012.jsonl").touch()
    third = Journal(tmp_path)
    third.start("other", {}, {})
    assert third.file.name == "013.jsonl"
    assert [(a.number, a.run) for a in tracking.read(tmp_path)] == [
        (1, "key"),
        (2, "key"),
        (12, None),
        (13, "other"),
    ]


def test_every_line_is_on_disk_at_once(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from segshift.tracking import Journal;"
        "journal = Journal(Path(sys.argv[1])); journal.start('k', {}, {}); journal.log(1, {'a': 1.0});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    (attempt,) = tracking.read(tmp_path)
    assert (len(attempt.points), attempt.status) == (1, None)


@pytest.mark.parametrize(
    "torn", ['{"time": 1, "event": "log", "st', '{"time": 1, "event": "end", "status": "FINISHED"}']
)
def test_a_line_without_its_end_does_not_count(tmp_path, torn):
    journal = Journal(tmp_path)
    journal.start("key", {}, {})
    journal.log(1, {"a": 1.0})
    with journal.file.open("a") as stream:
        stream.write(torn)
    (attempt,) = tracking.read(tmp_path)
    assert (len(attempt.points), attempt.status) == (1, None)


@pytest.mark.parametrize(
    "line", ["\0\0\0", "[]", '{"event": "log"}', '{"time": 1, "event": "log", "step": 1}']
)
def test_a_damaged_line_is_named(tmp_path, line):
    journal = Journal(tmp_path)
    journal.start("key", {}, {})
    with journal.file.open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(SegShiftError, match=r"001\.jsonl: line 2 is no journal line"):
        tracking.read(tmp_path)


def test_a_folder_lives_while_its_lock_is_held(tmp_path):
    assert not tracking.lives(tmp_path)
    with CellLock(tmp_path):
        assert tracking.lives(tmp_path)
    assert not tracking.lives(tmp_path)


def test_a_lock_of_a_dead_process_or_an_old_one_is_no_life(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    file = tmp_path / "resume" / "lock"
    file.parent.mkdir()
    file.write_text(json.dumps({"host": socket.gethostname(), "process": gone.pid, "job": None}))
    assert not tracking.lives(tmp_path)
    file.write_text(json.dumps({"host": "elsewhere", "process": gone.pid, "job": None}))
    assert tracking.lives(tmp_path)
    old = time.time() - STALE - 5
    os.utime(file, (old, old))
    assert not tracking.lives(tmp_path)


def test_a_record_without_its_run_is_refused(tmp_path):
    assert tracking.read_record(tmp_path) is None
    (tmp_path / "run.json").write_text('{"parameters": {"trainable": 1}}')
    with pytest.raises(SegShiftError, match=r"run\.json is no record of a training"):
        tracking.read_record(tmp_path)


def test_the_environment_says_where_mlflow_is_before_the_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    results = Results(tmp_path)
    assert tracking.uri(results, None) == f"sqlite:///{tmp_path.resolve()}/tracking/mlflow.db"
    assert tracking.uri(results, "http://host:1") == "http://host:1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@host:2/x")
    assert tracking.uri(results, "http://host:1") == "http://me:secret@host:2/x"
    assert tracking.shown("http://me:secret@host:2/x") == "http://host:2/x"


def test_a_journal_needs_neither_torch_nor_mlflow():
    heavy = {"torch", "mlflow", "numpy", "pydantic"}
    code = f"import sys, segshift.tracking; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_disk_that_is_full_for_a_while_leaves_no_half_line(tmp_path, monkeypatch):
    journal = tracking.Journal(tmp_path)
    journal.start("first", {}, {})
    real, calls = os.write, []

    def write(descriptor, line):
        calls.append(line)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, line[:9])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(OSError, match="No space left"):
        journal.log(1, {"train/loss": 1.0})
    assert len(calls) == 2
    monkeypatch.undo()
    journal.end("FAILED", "no space")
    (attempt,) = tracking.read(tmp_path)
    assert (attempt.status, attempt.error, attempt.points) == ("FAILED", "no space", [])
