"""Reading and checking weight files."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from segshift.errors import SegShiftError


def read(file: Path) -> dict[str, Any]:
    """Read a weights file onto the CPU, without running code from it.

    Args:
        file: in the format of safetensors, or what ``torch.save`` wrote; its name does not matter.

    Returns:
        What the file holds: tensors by name, or for some official files a dict of those under ``model`` or
        ``state_dict``.

    Raises:
        SegShiftError: the file is missing, damaged, or holds something else; names it.
    """
    if not file.is_file():
        raise SegShiftError(f"weights file {file} does not exist")
    try:
        if _is_safetensors(file):
            return load_file(file)
        # Many official files carry their training's command line; a Namespace is data only.
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # which errors a damaged file raises is not documented
        raise SegShiftError(f"weights file {file} cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise SegShiftError(f"weights file {file} holds a {type(state).__name__}, not tensors by name")
    return state


def _is_safetensors(file: Path) -> bool:
    """Its header is JSON behind eight bytes of length; a fetched file has no suffix to go by."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{"


def sha256(file: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
