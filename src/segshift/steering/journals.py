"""How far a training is, from both ends of its newest journal: a journal has thousands of lines, a glance
needs three of them."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

START, END = 1 << 14, 1 << 13  # bytes that are read of both ends


class Glance(NamedTuple):
    """Of the newest attempt: how it ended, where it is, and how long it has still to go.

    ``epoch`` (finished ones) and ``epochs`` are None where no point of a curve was written yet, ``left`` (in
    seconds) where there are not two. ``spent``: seconds between first and last line. ``ended``: time of the
    last line in seconds since 1970.
    """

    status: str | None
    error: str | None
    epoch: int | None
    epochs: int | None
    left: float | None
    spent: float
    ended: float
    job: str | None


def glance(folder: Path) -> Glance | None:
    """Look at a model's newest journal; None where no attempt has written a line."""
    if not (files := _newest(folder)):
        return None
    head, tail = _ends(files[0])
    last = next(tail, None)
    if last is None:
        return None
    first = next(head, {})
    start = first if first.get("event") == "start" else {}
    end = last if last["event"] == "end" else {}
    parameters = start.get("parameters", {})
    newest = next((line for line in chain([last], tail) if line["event"] == "log"), None)
    oldest = next((line for line in head if line["event"] == "log"), newest)
    epoch, left = _progress(parameters, oldest, newest)
    begun = start.get("time", last["time"])
    return Glance(
        status=end.get("status"),
        error=" ".join(end["error"].split()) if end.get("error") else None,
        epoch=epoch,
        epochs=parameters.get("epochs"),
        left=left,
        spent=(last["time"] - begun) / 1000,
        ended=last["time"] / 1000,
        job=start.get("tags", {}).get("job"),
    )


def without_end(folder: Path, most: int) -> int:
    """How many of a model's newest attempts, one after the other, have no last word; ``most`` at most."""
    ends = (next(_ends(file)[1], {}) for file in _newest(folder)[:most])
    return sum(1 for _ in takewhile(lambda last: last.get("event") != "end", ends))


def _newest(folder: Path) -> list[Path]:
    """A model's journals, the newest first."""
    try:
        names = os.listdir(folder / "journal")
    except FileNotFoundError:
        return []
    numbers = [name.removesuffix(".jsonl") for name in names if name.endswith(".jsonl")]
    ordered = sorted((number for number in numbers if number.isdigit()), key=int, reverse=True)
    return [folder / "journal" / f"{number}.jsonl" for number in ordered]


def _progress(
    parameters: dict[str, Any], oldest: dict[str, Any] | None, newest: dict[str, Any] | None
) -> tuple[int | None, float | None]:
    """Finished epochs, and seconds left at the speed of this attempt, between two points of its curves."""
    total, epochs = parameters.get("steps"), parameters.get("epochs")
    if not (total and epochs and oldest and newest):
        return None, None
    done = newest["step"] + 1
    epoch, steps = done * epochs // total, newest["step"] - oldest["step"]
    if steps <= 0:
        return epoch, None
    return epoch, (total - done) * (newest["time"] - oldest["time"]) / 1000 / steps


def _ends(file: Path) -> tuple[Iterator[dict[str, Any]], Iterator[dict[str, Any]]]:
    """Lines from the start of a journal on, and from its end back; a torn one is nobody's."""
    with file.open("rb") as stream:
        start = stream.read(START)
        ending = _ending(stream)
    return _parsed(start.split(b"\n")[:-1]), _parsed(reversed(ending))


def _ending(stream: BinaryIO) -> list[bytes]:
    """Whole lines at the end of a file; the last one is among them, however long an error it names."""
    size, length = stream.seek(0, os.SEEK_END), END
    while True:
        stream.seek(max(0, size - length))
        lines = stream.read().split(b"\n")[:-1]
        if length >= size:
            return lines
        if len(lines) > 1:
            return lines[1:]
        length *= 2


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Lines as they are asked for: of hundreds, three are."""
    for line in lines:
        try:
            content = json.loads(line)
            content["event"], content["time"]
        except (ValueError, TypeError, KeyError):  # `segshift track` names a damaged line
            continue
        yield content
