"""Python, the pinned packages, and room on the disk."""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

from segshift import modules
from segshift.doctor.finding import Finding

NEEDED = (3, 11)
ROOM = 20  # GB below which a grid soon fails
LOCK = "requirements.lock"
SHOWN = 5
INSTALL = "make install, and . .venv/bin/activate"


def python() -> Iterable[Finding]:
    """The interpreter."""
    said = f"Python {platform.python_version()} in {sys.prefix}"
    if sys.version_info < NEEDED:
        yield Finding(
            "fix", "python", said, f"SegShift needs {'.'.join(map(str, NEEDED))} or newer: {INSTALL}"
        )
    else:
        yield Finding("ok", "python", said)


def packages(lock: Path | None = None) -> Iterable[Finding]:
    """Installed versions beside the pinned ones.

    Args:
        lock: a file of ``name==version`` lines; default: that of this checkout.
    """
    lock = lock or next((file for file in _places() if file.is_file()), None)
    if lock is None:
        yield Finding(
            "note", "packages", f"there is no {LOCK} here to compare with", "run it in the checkout"
        )
        return
    absent, others, number = [], [], 0
    for name, pinned in _pins(lock):
        number += 1
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(f"{name} {pinned}")
            continue
        if installed.partition("+")[0] != pinned.partition("+")[0]:
            others.append(f"{name} {installed} for {pinned}")
    if absent:
        yield Finding("fix", "packages", f"{len(absent)} are not installed: {_some(absent)}", INSTALL)
    if others:
        said = f"{len(others)} have other versions than {lock.name}: {_some(others)}"
        yield Finding("note", "packages", said, f"numbers were tested with the pinned ones: {INSTALL}")
    if not (absent or others):
        yield Finding("ok", "packages", f"all {number} as {lock.name} pins them")


def disk(results: Path) -> Iterable[Finding]:
    """Room where results go."""
    there = next(folder for folder in (results.resolve(), *results.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    said = f"{free:.0f} GB free for {results}"
    if free < ROOM:
        yield Finding("note", "disk", said, f"less than {ROOM} GB: a training that cannot write fails")
    else:
        yield Finding("ok", "disk", said)


def _places() -> Iterable[Path]:
    return Path(LOCK), modules.PACKAGE.parents[1] / LOCK


def _pins(lock: Path) -> Iterable[tuple[str, str]]:
    """Names and versions that count on this machine."""
    for line in lock.read_text().splitlines():
        if not (line := line.partition("#")[0].strip()) or line.startswith("-"):
            continue
        requirement = Requirement(line)
        pins = [one.version for one in requirement.specifier if one.operator == "=="]
        if pins and (requirement.marker is None or requirement.marker.evaluate()):
            yield requirement.name, pins[0]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
