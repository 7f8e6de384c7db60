"""Two locks. Of a workflow: dies with its process, nothing to unlock. Of a cell: one writer, across
machines."""

import fcntl
import json
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from segshift.errors import SegShiftError

BEAT = 10.0  # seconds between heartbeats
STALE = (
    120.0  # a heartbeat older than this is a dead process (file systems of a cluster differ in their clocks)
)
LOST = 75  # exit code of a holder that lost its lock: as an interrupted one (EX_TEMPFAIL)


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
    its holder lives. It is taken over if it is stale, if its process on this host is gone, or if another
    host holds it for this very job id (the scheduler started the job again). Whoever takes over first makes
    ``lock.claim``, again by hard link, and judges the lock once more under it, so that of several that saw
    the same dead holder one wins. A holder that finds its lock taken (it was suspended for minutes) ends at
    once, before it writes beside the new one.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "resume" / "lock"
        self.claim = self.file.with_name("lock.claim")
        self.me = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "job": os.environ.get("SLURM_JOB_ID"),
        }
        self.text = json.dumps(self.me | {"since": time.time_ns()})  # no two locks ever read alike
        self._stop = threading.Event()

    def __enter__(self) -> "CellLock":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        own = self.file.with_name(f"lock.{self.me['host']}.{self.me['process']}.{time.time_ns()}")
        own.write_text(self.text)
        try:
            while not (_link(own, self.file) or self._mine()):
                if not self._left_over():
                    continue
                if _link(own, self.claim):
                    self._take_over(own)
                else:
                    self._await_claim()
        finally:
            own.unlink()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _left_over(self) -> bool:
        """True if there is a lock that nobody holds any more, False if there is none.

        Raises:
            SegShiftError: somebody does, or the file cannot be read and is too young to be left over.
        """
        try:
            age = time.time() - self.file.stat().st_mtime
            holder = json.loads(self.file.read_text())
            who = f"process {holder['process']} on {holder['host']}"
        except FileNotFoundError:
            return False
        except (ValueError, TypeError, KeyError):
            holder, who = None, f"a process that {self.file} does not name, since it cannot be read"
        if age > STALE or (holder and self._gone(holder)):
            return True
        raise SegShiftError(f"{self.file.parent.parent} is being trained by {who}")

    def _gone(self, holder: dict) -> bool:
        if holder["host"] == self.me["host"]:  # a job may hold several processes, so its id says nothing here
            return not _alive(holder["process"])
        return self.me["job"] is not None and holder["job"] == self.me["job"]

    def _take_over(self, own: Path) -> None:
        """Put one's own file in the lock's place, if under the claim it is still nobody's."""
        try:
            if self._left_over():
                part = own.with_name(f"{own.name}.part")
                os.link(own, part)
                part.replace(self.file)
        finally:
            self.claim.unlink(missing_ok=True)

    def _await_claim(self) -> None:
        """Another process is taking over; one that died meanwhile leaves a claim that grows stale."""
        with suppress(FileNotFoundError):
            if time.time() - self.claim.stat().st_mtime > STALE:
                self.claim.unlink()
        time.sleep(0.01)

    def _mine(self) -> bool:
        try:
            return self.file.read_text() == self.text
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError):  # a network file system may fail for a moment; the next beat tries again
                if self._mine():
                    os.utime(self.file)
                elif not self._stop.is_set():
                    print(
                        f"{self.file} is not this process's any more, so it ends", file=sys.stderr, flush=True
                    )
                    os._exit(LOST)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._mine():
            self.file.unlink()


def _link(own: Path, name: Path) -> bool:
    """Make a name for a file; False if it is taken."""
    try:
        os.link(own, name)
        return True
    except FileExistsError:
        return False


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
