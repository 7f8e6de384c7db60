"""`segshift log CELL`: what its newest attempt said, and Slurm where that died without a word."""

import os
import sys
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.paths import Results, locate
from segshift.steering import logs
from segshift.steering.journals import glance


def run(cell: str, root: str | Path, number: int, every: bool = False, follow: bool = False) -> None:
    """Print the end of the log that tells most, and of Slurm's own where that one ends without a word.

    Args:
        cell: path or folder of a model.
        root: the results folder.
        number: lines of each log; 0 means all.
        every: all logs of the cell, not only the newest.
        follow: go on printing what is written to the newest, until it is interrupted.

    Raises:
        SegShiftError: no cell, or it has no log.
    """
    results, path = locate(cell, root)
    found = logs.own(results, path)
    if not every and found:
        found = [max(found, key=lambda log: log.file.stat().st_mtime)]
    shown = [(f"{log.rule}, newest attempt", log.file) for log in found]
    verb = "adapt" if path.count("/") == 6 else "train"
    rules = [log.rule for log in found] or ["row", verb, "evaluate"]
    for rule in rules:
        file = logs.of_slurm(results, path, rule)
        if file and (every or _silent(results, path, rule)):
            shown.append((f"{rule}, as Slurm tells it, job {file.stem}", file))
    if not shown:
        raise SegShiftError(f"{results.run(path)} has no log; segshift why {path} says what is known")
    for title, file in shown:
        print(f"==> {title}: {file}")
        print("\n".join(_end(file, number)))
    if seen := glance(results.run(path)):
        how = {"FINISHED": "finished", "FAILED": f"failed: {seen.error}", "KILLED": f"ended: {seen.error}"}
        print(f"==> its last training {how.get(seen.status or '', 'has written no last word')}")
    if follow:
        sys.stdout.flush()
        os.execvp("tail", ["tail", "-n", "0", "-F", str(shown[0][1])])


def _silent(results: Results, path: str, rule: str) -> bool:
    """True if a job's own log does not say how it ended."""
    own = results.run(path) / f"{rule}.log"
    if rule != "evaluate":
        seen = glance(results.run(path))
        if seen and seen.status:
            return False
    return logs.error(own) is None


def _end(file: Path, number: int) -> list[str]:
    lines = file.read_text(errors="replace").rstrip("\n").split("\n")
    return lines[-number:] if number else lines
