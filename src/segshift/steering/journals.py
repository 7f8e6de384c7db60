"""How far a training is, from both ends of its newest journal: a journal has thousands of lines, a glance
needs three of them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

START, END = 1 << 16, 1 << 13  # bytes that are read of both ends


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
    files = [file for file in (folder / "journal").glob("*.jsonl") if file.stem.isdigit()]
    if not files:
        return None
    first, last = _ends(max(files, key=lambda file: int(file.stem)))
    if not last:
        return None
    start = first[0] if first and first[0].get("event") == "start" else {}
    end = last[-1] if last[-1]["event"] == "end" else {}
    parameters = start.get("parameters", {})
    epoch, left = _progress(parameters, _logs(first), _logs(last))
    begun = start.get("time", last[-1]["time"])
    return Glance(
        status=end.get("status"),
        error=" ".join(end["error"].split()) if end.get("error") else None,
        epoch=epoch,
        epochs=parameters.get("epochs"),
        left=left,
        spent=(last[-1]["time"] - begun) / 1000,
        ended=last[-1]["time"] / 1000,
        job=start.get("tags", {}).get("job"),
    )


def _progress(
    parameters: dict[str, Any], first: list[dict[str, Any]], last: list[dict[str, Any]]
) -> tuple[int | None, float | None]:
    """Finished epochs, and seconds left at the speed of this attempt."""
    total, epochs = parameters.get("steps"), parameters.get("epochs")
    if not (total and epochs and last):
        return None, None
    done = last[-1]["step"] + 1
    epoch = done * epochs // total
    steps = last[-1]["step"] - first[0]["step"] if first else 0
    if steps <= 0:
        return epoch, None
    return epoch, (total - done) * (last[-1]["time"] - first[0]["time"]) / 1000 / steps


def _logs(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "log"]


def _ends(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Complete lines at the start and at the end of a journal; a torn one is nobody's."""
    with file.open("rb") as stream:
        start = stream.read(START)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - END))
        end = stream.read()
    ending = end.split(b"\n")[:-1]
    return _parsed(start.split(b"\n")[:-1]), _parsed(ending if size <= END else ending[1:])


def _parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    found = []
    for line in lines:
        try:
            content = json.loads(line)
            content["event"], content["time"]
        except (ValueError, TypeError, KeyError):  # `segshift track` names a damaged line
            continue
        found.append(content)
    return found
