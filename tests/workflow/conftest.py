"""The micro workflow in a folder of its own, and what tests do to it."""

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

from segshift import lock

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOO_LONG = 600  # seconds, on a machine that much else runs on


class Micro:
    """A working directory with a copy of the micro configuration, its phantoms and, later, its results."""

    def __init__(self, folder, warm=None):
        self.folder = folder
        self.config = folder / "config"
        self.results = folder / "results"
        self.faults = folder / "faults"
        commands = folder / "commands"
        for made in (self.faults, commands):
            made.mkdir()
        shutil.copytree(HERE / "micro", self.config)
        faulty = commands / "segshift"
        faulty.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "faults.py"}" "$@"\n')
        faulty.chmod(0o755)
        self.forks = warm is not None
        self.started = []
        self.command = [sys.executable, "-m", "snakemake"]
        self.where = ["--directory", str(folder), "--snakefile", str(ROOT / "Snakefile")]
        self.where += ["--config", "folder=config"]
        foreign = ("MLFLOW", "SNAKEMAKE", "SLURM")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        self.environment |= {
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "SEGSHIFT_FAULTS": str(self.faults),
        }
        if warm:  # commands in which nothing bad happens go there
            self.environment["SEGSHIFT_WARM"] = str(warm)

    # ---- commands --------------------------------------------------------------------------------------

    def start(self, *words, **environment):
        """A workflow, as the leader of a process group of its own; its output goes to one pipe."""
        process = subprocess.Popen(
            [*self.command, *words, *self.where],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def kill(self, process):
        """kill -9 of a workflow and all its jobs."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def end(self):
        """Kill what a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                self.kill(process)

    def snakemake(self, *words, rc=0, **environment):
        """Output of a workflow that ended with this code."""
        process = self.start(*words, **environment)
        output, _ = process.communicate(timeout=TOO_LONG)
        assert process.returncode == rc, output
        return output

    def planned(self, *words, **environment):
        """What a dry run would do, as sorted `rule wildcards`; `all` left out."""
        looks = self.forked if self.forks else self.snakemake
        output = looks(*words, "-n", **environment)
        assert "This was a dry-run" in output or "Nothing to be done" in output, output
        jobs = []
        for block in re.split(r"^(?:local)?rule ", output, flags=re.MULTILINE)[1:]:
            found = re.search(r"^    wildcards: (.*)$", block, flags=re.MULTILINE)
            values = [pair.partition("=")[2] for pair in found[1].split(", ")] if found else []
            jobs.append(f"{block.partition(':')[0]} {'/'.join(values)}".strip())
        return sorted(job for job in jobs if job != "all")

    def forked(self, *words, **environment):
        """Output of a workflow that starts no job, in a fork of this process: importing Snakemake takes as
        long as a dry run."""
        from snakemake.cli import main

        with tempfile.TemporaryFile("w+") as output:
            child = os.fork()
            if not child:
                code = 1
                try:
                    for standard in (1, 2):
                        os.dup2(output.fileno(), standard)
                    sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
                    os.chdir(self.folder)
                    os.environ.clear()
                    os.environ.update(self.environment | environment)
                    main([*words, *self.where])
                except SystemExit as end:
                    code = end.code or 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            output.seek(0)
            said = output.read()
        assert code == 0, said
        return said

    def segshift(self, *words, rc=0, **environment):
        """Output of one command that ended with this code."""
        done = subprocess.run(
            ["segshift", *map(str, words)],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=TOO_LONG,
        )
        output = done.stdout + done.stderr
        assert done.returncode == rc, output
        return output

    def wait(self, until, what):
        """Until a condition holds."""
        end = time.monotonic() + TOO_LONG
        while not until():
            assert time.monotonic() < end, f"waited in vain: {what}"
            time.sleep(0.1)

    def settle(self):
        """Wait until the follower of the last workflow has made its last pass and ended."""
        self.wait(lambda: lock.take(self.results / "tracking" / "follow.lock"), "the follower goes on")

    # ---- damage ----------------------------------------------------------------------------------------

    def fault(self, name, words, at, **how):
        """Something bad happens once in a command with these words; see faults.py."""
        text = json.dumps({"words": shlex.split(words), "at": at, **how})
        (self.faults / f"{name}.json").write_text(text)

    def struck(self, output=""):
        """Names of the faults that happened since this was asked last; no fault may be left."""
        assert [file.name for file in self.faults.glob("*.json")] == [], output
        files = list(self.faults.glob("*.struck"))
        for file in files:
            file.unlink()
        return sorted(file.stem for file in files)

    @contextmanager
    def edited(self, name, old, new):
        """A config file with another text, for a while."""
        file = self.config / name
        before = file.read_text()
        assert old in before
        file.write_text(before.replace(old, new))
        try:
            yield
        finally:
            file.write_text(before)

    @contextmanager
    def without(self, *files):
        """Files of `results` that are gone for a while."""
        for file in files:
            (self.results / file).rename(self.results / f"{file}.gone")
        try:
            yield
        finally:
            for file in files:
                (self.results / f"{file}.gone").replace(self.results / file)

    # ---- what came out -----------------------------------------------------------------------------------

    def models(self):
        """sha256 of every model, by its path below results."""
        return {
            name: hashlib.sha256(content).hexdigest() for name, content in self._read("runs", "model.ckpt")
        }

    def numbers(self):
        """The bytes of every score file and table, by path."""
        scores = dict(self._read("runs", "scores.csv"))
        return scores | dict(self._read("tables", "*.csv")) | dict(self._read("tables", "*.md"))

    def _read(self, folder, pattern):
        files = sorted((self.results / folder).rglob(pattern))
        kept = [file for file in files if not {"ready", "partial"} & set(file.parts)]
        return [(str(file.relative_to(self.results)), file.read_bytes()) for file in kept]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Raw data of three scanners, 32 pixels."""
    folder = tmp_path_factory.mktemp("phantoms")
    words = "--size 32 --slices 4 --train 3 --validation 1 --test 1 --domains t1_a t2 flair"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "segshift", "phantom", str(folder), *words.split()]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def warm(tmp_path_factory):
    """The socket of a process that trainings and evaluations are forked from: to import what they need takes
    longer than they do."""
    path = tmp_path_factory.mktemp("warm") / "socket"
    words = [
        sys.executable,
        "-m",
        "segshift.warm",
        str(path),
        "segshift.stages.train",
        "segshift.stages.evaluate",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment)
    path.with_name("socket.pid").write_text(str(process.pid))  # who asks early waits for it
    yield path
    process.stdin.close()
    process.wait()


@pytest.fixture(scope="session")
def new_micro(phantoms, tmp_path_factory):
    """A function that makes a working directory in which nothing ran yet; see ``warm``."""

    made = []

    def make(warm=None):
        made.append(Micro(tmp_path_factory.mktemp("micro"), warm))
        (made[-1].folder / "raw").symlink_to(phantoms)
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="session")
def micro(new_micro, warm):
    """The micro workflow, run once undisturbed, and what came out: `before_models`, `before_numbers`.

    All tests share it. Each damages something and leaves it whole, but for test_new_domain.py, the last.
    """
    made = new_micro(warm)
    made.first_output = made.snakemake()
    made.before_models, made.before_numbers = made.models(), made.numbers()
    return made
