"""Jobs in forks of a process that waits: the same words, output and end as by themselves."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from segshift import warm

ASK = "import sys; sys.argv[0] = 'segshift'; from segshift.cli import main; sys.exit(main())"
SLOW = """
import os, sys, time, types
def run(cells, *_, **__):
    try:
        print(cells[0], os.getcwd(), os.environ["WORD"], flush=True)
        if cells[0] in ("sleep", "interrupt"):
            time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(75)
    return 7
sys.modules["segshift.stages.train"] = types.SimpleNamespace(run=run)  # the real one takes seconds to import
"""


@pytest.fixture
def server(tmp_path):
    """A process that waits, with a `train` that does little."""
    (tmp_path / "little.py").write_text(SLOW)
    with tempfile.TemporaryDirectory() as short:  # a socket's path must be short
        path = Path(short) / "warm"
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        words = [sys.executable, "-m", "segshift.warm", str(path), "little"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.05)
        yield path
        process.stdin.close()
        assert process.wait(30) == 0
        assert not path.exists()


def start(server, cell, folder):
    return subprocess.Popen(
        [sys.executable, "-c", ASK, "train", cell],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {warm.VARIABLE: str(server), "WORD": "heard"},
    )


def alive(server):
    """Forks of the process that waits."""
    found = subprocess.run(["pgrep", "-f", f"segshift.warm {server}"], capture_output=True, text=True)
    return len(found.stdout.split()) - 1


def test_a_job_and_its_end(server, tmp_path):
    job = start(server, "a/b/c/d/0", tmp_path)
    assert job.communicate()[0] == f"a/b/c/d/0 {tmp_path} heard\n"
    assert job.returncode == 7
    interrupted = start(server, "interrupt", tmp_path)
    assert "interrupt" in interrupted.stdout.readline()
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate()
    assert interrupted.returncode == 75
    ended = start(server, "sleep", tmp_path)
    assert "sleep" in ended.stdout.readline()
    ended.send_signal(signal.SIGTERM)
    ended.communicate()
    assert ended.returncode == -signal.SIGTERM
    killed = start(server, "sleep", tmp_path)
    assert "sleep" in killed.stdout.readline()
    assert alive(server) == 1
    killed.kill()
    assert killed.stdout.read() == ""  # the fork that held the other end is gone too
    killed.wait()


def test_whoever_finds_nobody_goes_on_alone(tmp_path, monkeypatch):
    assert warm.ask(["train", "a"]) is None
    monkeypatch.setenv(warm.VARIABLE, str(tmp_path / "nobody"))
    assert warm.ask(["train", "a"]) is None
    assert warm.ask(["tabulate"]) is None
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    warm.starting(tmp_path / "nobody").write_text(str(process.pid))  # it died before it answered
    assert warm.ask(["train", "a"]) is None


def test_whoever_is_early_waits(server, tmp_path):
    hidden = server.rename(server.with_name("hidden"))
    warm.starting(server).write_text(str(os.getpid()))
    job = start(server, "early", tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(3)
    hidden.rename(server)
    assert job.communicate()[0] == f"early {tmp_path} heard\n"
