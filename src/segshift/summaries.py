"""What tables need of score files: Dice of each test volume, and of which checkpoint. Standard library only.

A grid has thousands of score files of thousands of lines, so what was read is remembered, and a file is read
again when its size or time stamp differs (as in ``tracking/cursors.json``). The memory is lost at no cost.
"""

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segshift.errors import SegShiftError
from segshift.scores import COLUMNS, check_columns, mean

CHECKPOINT, SPLIT, SPACE = "model", "test", "prepared"  # what tables show
VERSION = 1  # of the memory's layout

Volumes = list[tuple[str, str, float]]  # name, patient, Dice in percent: the mean over classes


@dataclass(frozen=True)
class Summary:
    """Of one score file: digests of the models that were scored, and test volumes by target."""

    models: list[str]
    targets: dict[str, Volumes]

    def dice(self, target: str) -> float:
        """The mean over volumes, to the bit what ``scores.dice`` says of all rows.

        Raises:
            SegShiftError: no volume has a Dice.
        """
        if not self.targets[target]:
            raise SegShiftError(f"no Dice of checkpoint {CHECKPOINT} on the {SPLIT} volumes of {target}")
        return mean(dice for _, _, dice in self.targets[target])


def read(file: Path) -> Summary:
    """Read a score file; several times as fast as all of its cells.

    Raises:
        SegShiftError: it is missing, has other columns, or a Dice is no number; the line is named.
    """
    target, split, checkpoint, volume, patient, dice, model = (
        COLUMNS.index(name)
        for name in ("target", "split", "checkpoint", "volume", "patient", "dice", "model")
    )
    models: dict[str, None] = {}
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    try:
        with file.open(newline="") as stream:
            reader = csv.reader(stream)
            check_columns(file, header := tuple(next(reader, ())))
            space = header.index("space") if "space" in header else None
            for line in reader:
                if len(line) != len(header):
                    raise SegShiftError(
                        f"{file}: line {reader.line_num} has {len(line)} cells, not {len(header)}"
                    )
                if space is not None and line[space] != SPACE:
                    continue
                volumes = found.setdefault(line[target], {})
                if line[checkpoint] != CHECKPOINT:
                    continue
                models.setdefault(line[model])
                if line[split] == SPLIT and (text := line[dice]):
                    volumes.setdefault((line[volume], line[patient]), []).append(
                        _number(file, reader.line_num, text)
                    )
    except FileNotFoundError:
        raise SegShiftError(f"the score file {file} is missing") from None
    return Summary(
        list(models),
        {name: [(*one, mean(classes)) for one, classes in own.items()] for name, own in found.items()},
    )


def _number(file: Path, line: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SegShiftError(f"{file}: line {line}: dice is {text!r}, which is no number") from None


class Memory:
    """Summaries of score files by a name for each, kept in a JSON file between processes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known = self._read()
        self.new: dict[str, Any] = {}

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.file.read_text())
            return content["files"] if content["version"] == VERSION else {}
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return {}

    def read(self, file: Path, name: str) -> Summary:
        """The summary of a score file, which is remembered under a name; errors as of ``read``."""
        try:
            status = file.stat()
        except FileNotFoundError:
            raise SegShiftError(f"the score file {file} is missing") from None
        stamp = [status.st_size, status.st_mtime_ns]
        known = self.known.get(name)
        if not known or known["stamp"] != stamp:
            found = read(file)
            known = {"stamp": stamp, "models": found.models, "targets": found.targets}
            self.known[name] = self.new[name] = known
        return Summary(known["models"], known["targets"])

    def write(self) -> None:
        """Keep what was read, beside what other processes did."""
        if not self.new:
            return
        files = self._read() | self.new
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"version": VERSION, "files": files}))
        part.replace(self.file)
        self.new = {}
