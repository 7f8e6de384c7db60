"""What Slurm knows of this folder's jobs.

Snakemake's executor forgets its jobs when its process is killed, while Slurm goes on with them. A second
submission of such a job would first delete the outputs that the first one finished meanwhile, so whoever
starts a workflow waits for them here.
"""

import getpass
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from segshift.errors import SegShiftError

EVERY = 10.0  # seconds between two looks
PATIENCE = 60  # seconds for Slurm's answer


class Job(NamedTuple):
    """A job that Slurm still has: its number, its state and what it is about."""

    number: str
    state: str
    about: str


def jobs(folder: str | Path) -> list[Job]:
    """This user's jobs that were submitted from a folder, running or waiting; none where there is no Slurm.

    Args:
        folder: the working directory of the workflow.

    Raises:
        SegShiftError: Slurm is there and does not answer.
    """
    if not shutil.which("squeue"):
        return []
    words = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i|%T|%k|%Z"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise SegShiftError(f"Slurm gave no answer in {PATIENCE} s (squeue); try again later") from None
    if said.returncode:
        raise SegShiftError(f"Slurm cannot say which jobs of this folder run: {said.stderr.strip()}")
    here = str(Path(folder).resolve())
    found = []
    for line in said.stdout.splitlines():
        number, state, about, where = line.split("|", 3)
        if where == here:
            found.append(Job(number, state, re.sub(r"^rule_|wildcards_", "", about)))
    return found


def wait(folder: str | Path, say: Callable[[str], None], every: float = EVERY) -> int:
    """Wait until Slurm has no job of a folder any more.

    Args:
        folder: the working directory of the workflow.
        say: told once what is waited for, and again whenever a job has ended.
        every: seconds between two looks.

    Returns:
        How many jobs there were at first.
    """
    found = first = jobs(folder)
    said: list[Job] = []
    while found:
        if len(found) != len(said):
            names = ", ".join(f"{job.about} ({job.number}, {job.state.lower()})" for job in found[:5])
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            say(f"Jobs of an earlier workflow go on in Slurm and are waited for: {names}{more}")
            said = found
        time.sleep(every)
        found = jobs(folder)
    return len(first)
