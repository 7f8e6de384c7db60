"""Who works in a folder of results: the process that holds its lock, and jobs that Slurm has of it."""

import re
import socket
import threading

from segshift import lock, slurm
from segshift.errors import SegShiftError
from segshift.paths import Results

HOLDER = re.compile(r"process (\d+) on (.+)")
PATIENCE = 5.0  # seconds that an overview waits for Slurm


def holder(results: Results) -> str | None:
    """``process 12 on host``, if a workflow works here; on another host, that cannot be told: None.

    The lock itself is not touched: to try it would refuse a workflow that starts in the same moment.
    """
    try:
        text = (results.root / ".lock").read_text()
    except FileNotFoundError:
        return None
    match = HOLDER.fullmatch(text.strip())
    here = match is not None and match[2] == socket.gethostname()
    return text.strip() if here and lock._alive(int(match[1])) else None


def jobs(results: Results, patience: float = PATIENCE) -> tuple[list[slurm.Job], str]:
    """What Slurm has of the workflow in this folder, and a sentence where it could not say so in time.

    Args:
        results: the folder; Slurm is asked only if jobs were submitted from here.
        patience: seconds.
    """
    if not results.slurm.is_dir():
        return [], ""
    found: list[slurm.Job] = []
    said = [f"Slurm gave no answer in {patience:g} s, so what waits in its queue is not shown"]

    def ask() -> None:
        try:
            found.extend(slurm.jobs(results.home))
            said[0] = ""
        except SegShiftError as error:
            said[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return ([] if thread.is_alive() else found), said[0]
