"""Where MLflow is: does its server answer, and does its database lie on a disk that can lock files?"""

import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from segshift import tracking
from segshift.doctor.finding import Finding
from segshift.grid import Grid
from segshift.paths import Results

PATIENCE = 5.0  # seconds
MOUNTS = Path("/proc/self/mountinfo")
#: File systems over a network, on which SQLite's locks cannot be relied on (sqlite.org/lockingv3, section 6).
NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "glusterfs"),
    *("fuse.glusterfs", "fuse.sshfs", "afs", "9p", "pvfs2", "orangefs", "panfs", "wekafs", "fuse.beegfs"),
}
SERVER = "start a server (docs/tracking.md) and write its address as tracking: uri into project.yaml"


def check(grid: Grid, results: Results, mounts: str | None = None) -> Iterable[Finding]:
    """The tracking server or database.

    Args:
        grid: its configuration may name a server.
        results: where the database is otherwise.
        mounts: what ``/proc/self/mountinfo`` says; default: read it.
    """
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    shown = tracking.shown(uri)
    if file := tracking.database(uri):
        mounts = (MOUNTS.read_text() if MOUNTS.exists() else "") if mounts is None else mounts
        kind = filesystem(file, mounts)
        if kind in NETWORK:
            said = f"SQLite in {file} on {kind}, a network file system that may not lock it"
            yield Finding("note", "tracking", said, f"from one host alone it works; else {SERVER}")
        else:
            there = "" if file.exists() else ", which the first `segshift track` makes"
            yield Finding("ok", "tracking", f"SQLite in {file}{there}")
    elif uri.startswith(("http://", "https://")):
        yield _server(shown)
    else:
        yield Finding("note", "tracking", f"{shown} is not asked here", "segshift track says if it is away")


def _server(uri: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=PATIENCE) as answer:
            answer.read(64)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding("ok", "tracking", f"{uri} answers, and wants a name and a password")
        return Finding("fix", "tracking", f"{uri} answers {error.code}, as no MLflow does", SERVER)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(
            "fix", "tracking", f"{uri} does not answer: {reason}", "start it; trainings go on without it"
        )
    return Finding("ok", "tracking", f"{uri} answers")


def filesystem(file: Path, mounts: str) -> str:
    """The kind of file system on which a file lies, as ``/proc/self/mountinfo`` names it."""
    best, kind = -1, "unknown"
    place = file.resolve()
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mount = Path(fields[4].replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), after.split()[0]
    return kind
