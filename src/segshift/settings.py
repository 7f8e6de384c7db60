"""settings.yaml of a model's folder: everything that decides it, and the digests that its checkpoint
carries."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from segshift import modules
from segshift.errors import SegShiftError

# What every model's numbers go through.
ENGINE = (
    *("contracts", "model", "training", "cell", "objectives", "features", "losses", "metrics", "plugins"),
    *("optimizers", "watch", "shared_pass", "validation", "finished_files"),
    *("prepared", "slices", "sampling", "augment"),
)


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


def digest(value: Any) -> str:
    """Digest of anything that JSON can say."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def code_files(settings: dict[str, Any]) -> list[Path]:
    """Source files that decide a model's numbers: the engine's, the cell's modules, and their layers.

    They follow from the names of backbone, tuning, head and adaptation: ``Reading`` asks once for each.
    """
    files = [modules.PACKAGE / f"{name}.py" for name in ENGINE]
    for folder, section in (("backbones", "backbone"), ("tunings", "tuning"), ("heads", "head")):
        files.append(modules.source(folder, settings[section]["module"]))
    if side := settings["tuning"].get("side"):
        files.append(modules.source("backbones", side["module"]))
    if adaptation := settings.get("adaptation"):
        files.append(modules.source("adaptations", adaptation["module"]))
    return files + sorted(set().union(*(modules.layers(file) for file in files)))


def code_digest(settings: dict[str, Any]) -> str:
    """Digest of the source that decides a model."""
    return modules.code_digest(code_files(settings))


def outdated(folder: Path, settings: dict[str, Any]) -> bool:
    """True if a finished model was made by other code than today's; nothing re-runs by itself.

    Raises:
        SegShiftError: run.json is no JSON.
    """
    file = folder / "run.json"
    try:
        record = json.loads(file.read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        raise SegShiftError(
            f"{file} is no record of a training; segshift rerun makes the model again"
        ) from None
    return record.get("code") not in (None, code_digest(settings))
