"""How far a training is, from both ends of its newest journal: a journal has thousands of lines, a glance
needs three of them."""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

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
    journals = folder / "journal"
    try:
        numbers = [name.removesuffix(".jsonl") for name in os.listdir(journals) if name.endswith(".jsonl")]
    except FileNotFoundError:
        return None
    if not (numbers := [number for number in numbers if number.isdigit()]):
        return None
    head, tail = _ends(journals / f"{max(numbers, key=int)}.jsonl")
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
        size = stream.seek(0, 2)
        stream.seek(max(0, size - END))
        end = stream.read()
    ending = end.split(b"\n")[:-1]
    return _parsed(start.split(b"\n")[:-1]), _parsed(reversed(ending if size <= END else ending[1:]))


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Lines as they are asked for: of hundreds, three are."""
    for line in lines:
        try:
            content = json.loads(line)
            content["event"], content["time"]
        except (ValueError, TypeError, KeyError):  # `segshift track` names a damaged line
            continue
        yield content
