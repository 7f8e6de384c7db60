"""Where a cell's words are: its own logs, and what Slurm wrote of a job that died without a word."""

import re
from pathlib import Path
from typing import NamedTuple

from segshift import row_plan
from segshift.paths import Results

TAIL = 1 << 14  # bytes of a log's end in which its last words are looked for
VERBS = ("train", "adapt", "evaluate")
ERROR = re.compile(rf"segshift ({'|'.join(VERBS)}): |(\w+\.)*[A-Z]\w*(Error|Exception|Interrupt)\b")
#: What Slurm's daemons write into a job's file when they end it.
SLURM = re.compile(r"slurmstepd: error|DUE TO|oom.kill|Out Of Memory|Exceeded job memory|srun: error", re.I)


class Log(NamedTuple):
    """A log of a rule's newest attempt."""

    rule: str
    file: Path


def own(results: Results, path: str) -> list[Log]:
    """The logs beside a model that exist, in the order of the work; ``row``: of a training with others."""
    folder = results.run(path)
    return [Log(verb, file) for verb in ("row", *VERBS) if (file := folder / f"{verb}.log").is_file()]


def of_slurm(results: Results, path: str, rule: str) -> Path | None:
    """Slurm's file of the newest job of a rule about a model: it may say what the job itself could not.

    The executor writes ``<folder>/rule_<rule>/<wildcards joined by _>/<job>.log``, of a row, which has no
    wildcards, ``<folder>/rule_<its name>/<job>.log``, and removes those of jobs that went well.
    """
    if rule == "row":
        names = [name for name, row in row_plan.read(results).items() if path in row.models]
        folders = [results.slurm / f"rule_{name}" for name in names]
    else:
        folders = [results.slurm / f"rule_{rule}" / path.replace("/", "_")]
    files = [file for folder in folders for file in folder.glob("*.log")]
    return max(files, key=lambda file: file.stat().st_mtime, default=None)


def tail(file: Path) -> list[str]:
    """The last lines of a file that say something; none where it is not there."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - TAIL))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.split("\n") if line.strip()]


def last_line(log: Path) -> str:
    """The last line that says something."""
    if not log.exists():
        return "it left no log"
    lines = tail(log)
    return lines[-1] if lines else "its log is empty"


def error(file: Path) -> str | None:
    """The last line of a log, if it is an error's."""
    lines = tail(file)
    return lines[-1] if lines and ERROR.match(lines[-1]) else None


def slurm_error(file: Path | None) -> str | None:
    """Why Slurm ended a job, as its file says it."""
    said = [line for line in tail(file) if SLURM.search(line)] if file else []
    return said[-1] if said else None
