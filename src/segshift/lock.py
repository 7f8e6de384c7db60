"""Two locks. Of a workflow: dies with its process, nothing to unlock. Of a cell: one writer, across
machines."""

import fcntl
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import IO

from segshift.errors import SegShiftError

BEAT = 10.0  # seconds between heartbeats
STALE = (
    120.0  # a heartbeat older than this is a dead process (file systems of a cluster differ in their clocks)
)


def take(file: str | Path) -> IO[str] | None:
    """The open, locked file (keep it alive), or None if another process holds it."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    handle = open(file, "a+")  # noqa: SIM115 - it stays open, that is the lock
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    handle.truncate(0)
    handle.write(f"process {os.getpid()} on {socket.gethostname()}")
    handle.flush()
    return handle


class CellLock:
    """``resume/lock``: who trains this cell. Compute nodes share a network file system, so no flock here.

    The file is made by hard link (atomic everywhere), holds host, process and job id, and is touched while
    its holder lives. It is taken over if it is stale, if its process on this host is gone, or if it holds
    this very job id (the scheduler started the job again).
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "resume" / "lock"
        self._stop = threading.Event()

    def __enter__(self) -> "CellLock":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        me = {"host": socket.gethostname(), "process": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
        own = self.file.with_name(f"lock.{me['host']}.{me['process']}")
        own.write_text(json.dumps(me))
        try:
            while not self._link(own):
                self._take_over(me)
        finally:
            own.unlink()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _link(self, own: Path) -> bool:
        try:
            os.link(own, self.file)
            return True
        except FileExistsError:
            return False

    def _take_over(self, me: dict) -> None:
        """Remove a lock that nobody holds any more.

        Raises:
            SegShiftError: somebody does.
        """
        try:
            holder = json.loads(self.file.read_text())
            age = time.time() - self.file.stat().st_mtime
        except (FileNotFoundError, json.JSONDecodeError):
            return
        here = holder["host"] == me["host"]
        dead = here and not _alive(holder["process"])
        again = me["job"] is not None and holder["job"] == me["job"]
        if not (dead or again or age > STALE):
            who = f"process {holder['process']} on {holder['host']}"
            raise SegShiftError(f"{self.file.parent.parent} is being trained by {who}")
        self.file.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            try:
                os.utime(self.file)
            except FileNotFoundError:
                return

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.file.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A zombie holds nothing.
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return True
