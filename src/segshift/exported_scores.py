"""Scores that leave a site: what of a model's files may, under which names, and how they are hashed.

A folder that ``export-scores`` writes holds ``export.json`` and a folder a model, ``cells/<path>`` with
``scores.csv``, ``settings.yaml`` and ``record.json``. Patients and volumes are HMAC-SHA256 of their ids with
a secret salt, 16 digits of it. Only what is listed here leaves: names on the axes, settings without the
reader's, digests and counts; no path, no file name, no host, no id.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from segshift import scores
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.scores import Row

IMPORTED = "imported"  # origin of models whose scores came from another folder
FORMAT = 1
LEAST = 16  # bytes of a salt
DATASET = ("dataset", "anatomy", "plane", "patients", "preprocess", "labels", "version")  # of source, target
SETTINGS = ("cell", "classes", "backbone", "tuning", "head", "seed", "training", "weights", "adaptation")
SETTINGS += ("external",)
# Not the digest of all settings: they hold the split and file patterns, of which it would confirm a guess.
RECORD = ("cell", "parameters", "model", "code", "data", "files", "seed", "epochs", "best")
RECORD += ("budget", "collapsed", "guard", "device_seconds", "origin", "leakage_checked")


def secret(results: Results, file: Path | None) -> bytes:
    """The salt: of a file, or one that is made once for a results folder and stays there.

    Raises:
        SegShiftError: the file is not there, or shorter than 16 bytes.
    """
    own = results.root / ".salt"
    if file is None and not own.exists():
        own.parent.mkdir(parents=True, exist_ok=True)
        part = own.with_name(f".salt.{os.getpid()}.part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
        with suppress(FileExistsError):  # of two that begin at once one makes it
            os.link(part, own)
        part.unlink()
    try:
        found = (file or own).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise SegShiftError(f"the salt {file} cannot be read: {error.strerror}") from None
    if len(found) < LEAST:
        raise SegShiftError(f"the salt {file or own} has {len(found)} bytes; {LEAST} are the least")
    return found


def hashed(salt: bytes, *words: str) -> str:
    """What stands for an id, 16 hexadecimal digits."""
    return hmac.new(salt, "\0".join(words).encode(), hashlib.sha256).hexdigest()[:16]


def fingerprint(salt: bytes) -> str:
    """Tells whether two exports used the same salt, and nothing else of it."""
    return hashed(salt, "fingerprint")


def rows(found: Sequence[Row], salt: bytes) -> list[Row]:
    """Rows with hashed volumes and patients, in an order that says nothing of their ids."""
    made = [
        replace(
            row,
            volume=hashed(salt, "volume", row.target, row.volume),
            patient=hashed(salt, "patient", row.patient),
        )
        for row in found
    ]
    order = {name: place for place, name in enumerate(scores.SPLITS)}
    # stable: classes and spaces of a volume stay in their order
    return sorted(made, key=lambda row: (row.target, order[row.split], row.checkpoint, row.volume))


def settings(found: Mapping[str, Any]) -> dict[str, Any]:
    """A model's settings without what says where data lie and who is in them."""
    kept = {key: found[key] for key in SETTINGS if key in found}
    for part in ("source", "target"):
        if part in found:
            kept[part] = {key: found[part][key] for key in DATASET if key in found[part]}
            if reader := found[part].get("reader"):
                kept[part]["reader"] = {"module": reader["module"]}
    return kept


def record(found: Mapping[str, Any]) -> dict[str, Any]:
    """What training said of a model without machine, times and patients."""
    return {key: found[key] for key in RECORD if key in found}


def read(folder: Path) -> dict[str, Any]:
    """``export.json`` of a folder.

    Raises:
        SegShiftError: it is not there, or of another format.
    """
    file = folder / "export.json"
    try:
        content = json.loads(file.read_text())
        content["format"], content["salt"]
        if not isinstance(content["pools"], dict):
            raise ValueError("pools are no object")
    except FileNotFoundError:
        raise SegShiftError(f"{folder} holds no export.json; segshift export-scores writes it") from None
    except (ValueError, KeyError, TypeError) as error:
        raise SegShiftError(f"{file} is damaged ({error!r})") from None
    if content["format"] != FORMAT:
        raise SegShiftError(f"{file}: its format is {content['format']}, and {FORMAT} is what is read here")
    return content
