"""settings.yaml of a model's folder: everything that decides it."""

from pathlib import Path
from typing import Any

import yaml

from segshift.errors import SegShiftError


def read_settings(folder: Path) -> dict[str, Any]:
    """Read it.

    Raises:
        SegShiftError: there is none; names the command that writes it.
    """
    file = folder / "settings.yaml"
    if not file.exists():
        raise SegShiftError(
            f"{file} is not there; is the cell in an experiment? then: segshift settings --write"
        )
    return yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
