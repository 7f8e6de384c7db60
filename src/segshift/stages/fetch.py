"""Bring one weights file to where the workflow expects it, from the user's folder, a package, or the web."""

import os
import shutil
import time
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from segshift.errors import SegShiftError
from segshift.weights import sha256

SILENCE = 60  # seconds without a byte after which a server counts as gone
REPORT = 10  # seconds between two progress lines
CHUNK = 1 << 20  # bytes


def run(name: str, entry: dict[str, Any], folder: Path | None, output: Path) -> None:
    """Place a weights file at ``output``, from the first of these that there is: folder, package, web.

    The file appears under its name only after its SHA-256 was found right. An entry without one is refused,
    with
    the line to write into it: a checksum that comes after a training would train every cell again. What was
    downloaded for it stays in the user's folder.

    Args:
        name: the entry's name in ``weights.yaml``, for messages.
        entry: ``file`` (its name in ``folder``), ``package`` (``top_package/path/of/file`` in an installed
            distribution, which is not imported), ``url`` (http or https) and ``sha256``; each may be missing.
        folder: where the user keeps weights.
        output: where it must go.

    Raises:
        SegShiftError: no source has it, the download broke off, or the SHA-256 is another or not known.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f"{output.name}.part")
    part.unlink(missing_ok=True)
    try:
        local = _in_folder(entry, folder) or _in_package(entry)
        if local is not None:
            print(f"weights {name}: from {local}", flush=True)
            _check(name, entry, local, str(local))
            if output.exists() and local.samefile(output):
                return
            _link_or_copy(local, part)
        elif entry.get("url"):
            _download(name, entry["url"], part)
            if entry.get("sha256") is None and folder is not None and entry.get("file"):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.move(part, kept := folder / entry["file"])
                _check(name, entry, kept, str(kept))
            _check(name, entry, part, entry["url"])
        else:
            raise SegShiftError(_nowhere(name, entry, folder))
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _in_folder(entry: dict[str, Any], folder: Path | None) -> Path | None:
    file = folder / entry["file"] if folder is not None and entry.get("file") else None
    return file if file is not None and file.is_file() else None


def _in_package(entry: dict[str, Any]) -> Path | None:
    """The file inside an installed package, which is found without running its code."""
    if not entry.get("package"):
        return None
    top, _, inside = entry["package"].partition("/")
    spec = find_spec(top)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        if (file := Path(place) / inside).is_file():
            return file
    return None


def _nowhere(name: str, entry: dict[str, Any], folder: Path | None) -> str:
    tried = []
    if entry.get("file"):
        tried.append(f"the file {folder / entry['file']}" if folder else "no folder, since none is set")
    if entry.get("package"):
        tried.append(f"the package file {entry['package']} (not installed)")
    return f"weights {name}: not found; tried {' and '.join(tried) or 'nothing'}, and its entry has no url"


def _check(name: str, entry: dict[str, Any], file: Path, source: str) -> None:
    found = sha256(file)
    expected = entry.get("sha256")
    if expected is None:
        raise SegShiftError(
            f"weights {name}: weights.yaml has no sha256 for it; that of {source} is {found}: compare it "
            "with what its authors say, then write it there"
        )
    if found != expected.lower():
        raise SegShiftError(f"weights {name}: {source} has sha256 {found}, expected {expected}")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _download(name: str, url: str, target: Path) -> None:
    if not url.startswith(("http://", "https://")):
        raise SegShiftError(f"weights {name}: url {url} must start with http:// or https://")
    print(f"weights {name}: from {url}", flush=True)
    try:
        with urlopen(Request(url, headers={"User-Agent": "segshift"}), timeout=SILENCE) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise SegShiftError(
                    f"weights {name}: {url} answers with a web page, not a file; download it by hand "
                    "into the weights folder"
                )
            total = answer.headers.get("Content-Length")
            received = _receive(name, answer, target, int(total) if total else None)
    except (OSError, HTTPException) as error:  # URLError, timeouts and broken connections are OSErrors
        raise SegShiftError(f"weights {name}: {url} cannot be downloaded: {error}") from error
    if total and received != int(total):
        raise SegShiftError(f"weights {name}: {url} broke off after {received} of {total} bytes")


def _receive(name: str, answer: Any, target: Path, total: int | None) -> int:
    """Stream a body into a file and return its length in bytes."""
    received, reported = 0, time.monotonic()
    with target.open("wb") as stream:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            received += len(chunk)
            if time.monotonic() - reported >= REPORT:
                reported = time.monotonic()
                share = f" of {total / 1e6:.0f}" if total else ""
                print(f"weights {name}: {received / 1e6:.0f}{share} MB", flush=True)
    return received
