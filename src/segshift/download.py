"""Downloading one file: resumable, never half there. Standard library only."""

import json
import re
import time
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from segshift.errors import SegShiftError

SILENCE = 60  # seconds without a byte after which a server counts as gone
REPORT = 10  # seconds between two progress lines
CHUNK = 1 << 20  # bytes
REFUSED = (401, 403)
BY_HAND = "download it by hand into the weights folder"
BEYOND = 416  # the range that was asked for lies behind the file's end


def download(what: str, url: str, target: Path) -> None:
    """Bring what a URL gives to ``target``, going on where an earlier call broke off.

    What an earlier call received lies in ``target`` itself, and beside it what the server said of its
    version; it is gone on with only where the server confirms that it still has that version.

    Args:
        what: the subject of every message.
        url: http or https.
        target: a file for this download alone.

    Raises:
        SegShiftError: another scheme, no answer, a web page, or the download broke off.
    """
    if not url.startswith(("http://", "https://")):
        raise SegShiftError(f"{what}: url {url} must start with http:// or https://")
    print(f"{what}: from {url}", flush=True)
    try:
        with _open(url, target) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise SegShiftError(f"{what}: {url} answers with a web page, not a file; {BY_HAND}")
            _receive(what, url, answer, target)
    except HTTPError as error:
        more = f"; {BY_HAND}" if error.code in REFUSED else ""
        raise SegShiftError(f"{what}: {url} cannot be downloaded: {error}{more}") from error
    except (OSError, HTTPException) as error:  # URLError, timeouts and broken connections are OSErrors
        raise SegShiftError(f"{what}: {url} cannot be downloaded: {error}{_advice(target)}") from error
    _version(target).unlink(missing_ok=True)


def forget(target: Path) -> None:
    """Remove what an earlier call received."""
    target.unlink(missing_ok=True)
    _version(target).unlink(missing_ok=True)


def _version(target: Path) -> Path:
    """Where it stands which version of which URL the file is a part of."""
    return target.with_name(f"{target.name}.version")


def _advice(target: Path) -> str:
    return "; the same command goes on from there" if _version(target).exists() else ""


def _open(url: str, target: Path) -> Any:
    """The answer of the server: the rest of the file where an earlier call broke off, else all of it."""
    headers = {"User-Agent": "segshift"}
    try:
        known = json.loads(_version(target).read_text())
        received = target.stat().st_size
    except (OSError, ValueError):
        known, received = {}, 0
    if known.get("url") == url and received:
        more = {"Range": f"bytes={received}-", "If-Range": known["version"]}
        try:
            return urlopen(Request(url, headers=headers | more), timeout=SILENCE)
        except HTTPError as error:
            if error.code != BEYOND:
                raise
    return urlopen(Request(url, headers=headers), timeout=SILENCE)


def _receive(what: str, url: str, answer: Any, target: Path) -> None:
    """Stream a body behind what is there already, or from the start where the server gives all of it."""
    first, total = _extent(answer, target)
    if not first:
        forget(target)
        if version := _validator(answer):
            _version(target).write_text(json.dumps({"url": url, "version": version}))
    received, reported = first, time.monotonic()
    with target.open("ab" if first else "wb") as stream:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            received += len(chunk)
            if time.monotonic() - reported >= REPORT:
                reported = time.monotonic()
                share = f" of {total / 1e6:.0f}" if total else ""
                print(f"{what}: {received / 1e6:.0f}{share} MB", flush=True)
    if total is not None and received != total:
        raise SegShiftError(f"{what}: {url} broke off after {received} of {total} bytes{_advice(target)}")


def _extent(answer: Any, target: Path) -> tuple[int, int | None]:
    """Where the body begins in the file, and the whole file's length in bytes, if it is said.

    Raises:
        OSError: the server gives another part than was asked for.
    """
    length = answer.headers.get("Content-Length")
    if answer.status != 206:
        return 0, int(length) if length else None
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if said is None or int(said[1]) != target.stat().st_size:
        forget(target)
        raise OSError("the server gave another part than was asked for")
    return int(said[1]), None if said[2] == "*" else int(said[2])


def _validator(answer: Any) -> str | None:
    """What the server calls this version of the file; weak tags do not promise equal bytes."""
    tag = answer.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")
