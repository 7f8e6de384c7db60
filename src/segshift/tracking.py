"""The journal beside a model: what its training said, one JSON object a line. Standard library only.

Training appends to ``journal/<attempt>.jsonl`` and contacts nobody, so a tracking server that is down costs
no GPU work; ``segshift track`` sends the lines to MLflow later. Every attempt (also a restart after an
interruption) has a file of its own. Attempts that carry the same ``run`` key continue one training and become
one MLflow run; a training started afresh has a new key.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from segshift import lock
from segshift.errors import SegShiftError
from segshift.identity import Model
from segshift.paths import Results
from segshift.scores import Row

Status = Literal["FINISHED", "FAILED", "KILLED"]


def now() -> int:
    """Milliseconds since 1970, the unit of every ``time`` in a journal."""
    return time.time_ns() // 1_000_000


class Journal:
    """The journal of one attempt, open for appending."""

    def __init__(self, folder: Path) -> None:
        """Open the next free ``journal/<NNN>.jsonl`` of a model's folder; attempts count from 001."""
        journals = Path(folder) / "journal"
        journals.mkdir(parents=True, exist_ok=True)
        number = max((int(file.stem) for file in _files(folder)), default=0) + 1
        while True:
            self.file = journals / f"{number:03d}.jsonl"
            try:
                self._descriptor = os.open(
                    self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666
                )
                return
            except FileExistsError:
                number += 1

    def start(self, run: str, parameters: Mapping[str, str | int | float], tags: Mapping[str, str]) -> None:
        """The first line.

        Args:
            run: key of the training; an attempt that resumes one carries the key of the attempt before it.
            parameters: what decided the training, for MLflow's parameters.
            tags: what describes this attempt (host, device, job).
        """
        self._append("start", run=run, parameters=dict(parameters), tags=dict(tags))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Points of curves, such as ``train/loss``, at an optimizer step."""
        self._append("log", step=int(step), values={key: float(value) for key, value in values.items()})

    def event(self, name: str, **fields: Any) -> None:
        """Anything else worth keeping, such as ``resumed``. It is not sent to MLflow."""
        self._append(name, **fields)

    def end(self, status: Status, error: str | None = None) -> None:
        """The last line; ``error`` in one sentence. A journal without it is of a killed or living process."""
        self._append("end", status=status, error=error)
        os.close(self._descriptor)

    def _append(self, event: str, **fields: Any) -> None:
        line = (json.dumps({"time": now(), "event": event, **fields}) + "\n").encode()
        whole = os.fstat(self._descriptor).st_size
        try:
            while line:  # one write, unless the disk is nearly full: then the second raises
                line = line[os.write(self._descriptor, line) :]
        except OSError:
            os.ftruncate(self._descriptor, whole)  # the next line would make one that nobody can read
            raise


@dataclass(frozen=True)
class Point:
    """Values of curves at a step; ``time`` in milliseconds."""

    time: int
    step: int
    values: dict[str, float]


@dataclass
class Attempt:
    """One journal file, parsed. Times in milliseconds; ``last`` is that of the last complete line.

    ``run`` is None where not even the first line was written, ``status`` where the last one is missing.
    """

    number: int
    run: str | None = None
    parameters: dict[str, str | int | float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    started: int | None = None
    last: int | None = None
    status: Status | None = None
    error: str | None = None

    def add(self, line: dict[str, Any]) -> None:
        """Take in one line."""
        self.last = line["time"]
        match line["event"]:
            case "start":
                self.run, self.started = line["run"], line["time"]
                self.parameters, self.tags = line["parameters"], line["tags"]
            case "log":
                self.points.append(Point(line["time"], line["step"], line["values"]))
            case "end":
                self.status, self.error = line["status"], line["error"]
            case _:
                self.events.append(line)


def read(folder: Path) -> list[Attempt]:
    """All attempts of a model's folder, oldest first. A line torn by a kill at the end of a file is dropped.

    Raises:
        SegShiftError: another line is no journal line; the file and the line are named.
    """
    return [_attempt(file) for file in sorted(_files(folder), key=lambda file: int(file.stem))]


def _files(folder: Path) -> list[Path]:
    return [file for file in (Path(folder) / "journal").glob("*.jsonl") if file.stem.isdigit()]


def _attempt(file: Path) -> Attempt:
    attempt = Attempt(int(file.stem))
    *lines, _torn = file.read_bytes().split(b"\n")  # what follows the last newline is torn, or empty
    for number, line in enumerate(lines, 1):
        try:
            attempt.add(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise SegShiftError(f"{file}: line {number} is no journal line ({error!r})") from None
    return attempt


def read_record(folder: Path) -> dict[str, Any] | None:
    """``run.json``: what training wrote about a finished model; None where there is none yet.

    Raises:
        SegShiftError: it is no JSON, or lacks ``run`` or ``parameters: trainable``.
    """
    file = Path(folder) / "run.json"
    try:
        record = json.loads(file.read_text())
        record["run"], record["parameters"]["trainable"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise SegShiftError(f"{file} is no record of a training ({error!r})") from None
    return record


def scored_before(record: dict[str, Any], results: Results) -> list[str]:
    """Datasets that were prepared anew, to other data, since another tool's masks were scored on them."""
    found = []
    for dataset, sha256 in record.get("scored", {}).items():
        manifest = results.data(dataset) / "manifest.json"
        if manifest.exists() and json.loads(manifest.read_text())["sha256"] != sha256:
            found.append(dataset)
    return found


def checked_for_leakage(model: Model, record: dict[str, Any] | None, dataset: str) -> bool:
    """False of another tool's masks where nobody could look for their test patients among those that the
    model was trained on, or did not say so. Our own models are not scored without."""
    return not model.external or dataset in (record or {}).get("leakage_checked", [])


def outdated(record: dict[str, Any], rows: list[Row]) -> bool:
    """True if scores are of an older model than the one whose digest ``run.json`` names."""
    mine = record.get("model")
    return mine is not None and any(row.checkpoint == "model" and row.model != mine for row in rows)


def lives(folder: Path) -> bool:
    """True while a process holds the folder's ``resume/lock``: a journal without an end may still go on."""
    file = Path(folder) / "resume" / "lock"
    try:
        age = time.time() - file.stat().st_mtime
        holder = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return False
    dead = holder["host"] == socket.gethostname() and not lock._alive(holder["process"])
    return not dead and age <= lock.STALE


def uri(results: Results, configured: str | None) -> str:
    """Where MLflow is: ``MLFLOW_TRACKING_URI``, else what project.yaml says, else a file below results."""
    own = (results.tracking / "mlflow.db").resolve()
    return os.environ.get("MLFLOW_TRACKING_URI") or configured or f"sqlite:///{own}"


def database(uri: str) -> Path | None:
    """The file of a SQLite URI, else None."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def key(results: Results, uri: str) -> str:
    """Under what ``runs.json`` and ``cursors.json`` remember a store; one below results moves with them."""
    file = database(uri)
    if file and file.is_relative_to(folder := results.tracking.resolve()):
        return str(file.relative_to(folder))
    return shown(uri)


def shown(uri: str) -> str:
    """A URI as it may be printed and stored: without user and password."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if scheme in ("http", "https") else uri
