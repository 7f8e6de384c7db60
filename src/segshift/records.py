"""The sha256 of weights files that nobody has verified: what `fetch` got first, held from then on.

``results/weights/<name>.sha256`` is as the command ``sha256sum`` writes it, and each run.json says which
files its model was built from. A model's settings.yaml says ``null`` for such a file, and goes on saying so
when the same digest is written into weights.yaml: that changes no model.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.paths import Results

LENGTH = 64  # hexadecimal digits


def read(results: Results, name: str) -> str | None:
    """The digest of a weights file that was fetched without one, or None.

    Raises:
        SegShiftError: the record is damaged.
    """
    file = results.weights_record(name)
    try:
        digest = file.read_text().partition(" ")[0]
    except FileNotFoundError:
        return None
    if len(digest) != LENGTH or set(digest) - set("0123456789abcdef"):
        raise SegShiftError(f"{file} holds no sha256; remove it, then: segshift fetch {name}")
    return digest


def write(results: Results, name: str, digest: str | None) -> None:
    """Record a digest, by rename; None takes the record away."""
    file = results.weights_record(name)
    if digest is None:
        file.unlink(missing_ok=True)
        return
    part = file.with_name(f"{file.name}.part")
    part.write_text(f"{digest}  {name}\n")
    part.replace(file)


def held(results: Results, model: str, digests: Mapping[str, str | None]) -> dict[str, str | None]:
    """What a model's settings.yaml says of its weights.

    Args:
        results: where records and models are.
        model: its path.
        digests: of the entries in weights.yaml, by name.

    Returns:
        The same, with None in place of a digest that was recorded before the entry had it.
    """
    found = {}
    for name, digest in digests.items():
        recorded = digest and (read(results, name) or _of_model(results.run(model), name))
        found[name] = None if digest == recorded else digest
    return found


def _of_model(folder: Path, name: str) -> str | None:
    """The digest of a weights file for which a finished model's settings said ``null``."""
    try:
        record = json.loads((folder / "run.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    unverified = record.get("configuration", {}).get("weights", {}).get(name, "") is None
    return record.get("files", {}).get(name) if unverified else None


def files(results: Results, weights: Mapping[str, str | None]) -> dict[str, str | None]:
    """What a model's weights files must be: its settings' digests, and recorded ones where those are None."""
    return {name: digest or read(results, name) for name, digest in weights.items()}
