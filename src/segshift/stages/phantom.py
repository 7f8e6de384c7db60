"""``segshift phantom FOLDER``: phantoms (``segshift.phantoms``) as raw data in the layouts of real datasets.

``FOLDER/brain_<domain>`` and ``FOLDER/prostate_<domain>`` in the lab's HDF5 layout, ``FOLDER/spine_<domain>``
as PNG, ``FOLDER/tumor`` as NIfTI; ``FOLDER/phantom.json`` says what they were made from.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segshift import modules, phantoms
from segshift.errors import SegShiftError, unknown
from segshift.phantoms import layouts

SPLITS = ("train", "validation", "test")


def run(
    folder: Path,
    *,
    seed: int = 0,
    size: int = 56,
    slices: int = 8,
    train: int = 6,
    validation: int = 2,
    test: int = 4,
    domains: Sequence[str] = tuple(phantoms.DOMAINS),
) -> None:
    """Make phantoms; domains that lie there, made with the same settings, are left alone.

    With other settings or other code all are made again.

    Args:
        folder: where to; made if need be.
        seed: of all patients.
        size: pixels of a slice's side.
        slices: of each volume.
        train: volumes, each of another patient.
        validation: volumes.
        test: volumes.
        domains: of ``phantoms.DOMAINS``.

    Raises:
        SegShiftError: an unknown domain, a number that is too small, or nilearn is not installed.
    """
    settings = {"seed": seed, "size": size, "slices": slices}
    settings |= dict(zip(SPLITS, (train, validation, test), strict=True))
    _check(settings, domains)
    # with other code the same settings give other patients
    settings["code"] = modules.code_digest(Path(phantoms.__file__).parent.glob("*.py"))
    folder, record = Path(folder), Path(folder) / "phantom.json"
    made = _made(folder, record, settings)
    wanted = [domain for domain in domains if domain not in made]
    if not wanted:
        print(f"phantom: {folder} is up to date", flush=True)
    progress = _Progress(len(wanted) * (train + validation + test))
    for domain in wanted:
        _make(folder, domain, settings, progress)
        made.append(domain)
        part = record.with_name("phantom.json.part")
        part.write_text(json.dumps(settings | {"domains": made}, indent=1) + "\n")
        part.replace(record)


def _check(settings: dict[str, Any], domains: Sequence[str]) -> None:
    if not domains:
        raise SegShiftError("domains is empty")
    for domain in domains:
        if domain not in phantoms.DOMAINS:
            raise unknown("unknown phantom domain", domain, phantoms.DOMAINS)
    least = {"seed": 0, "size": 16, "slices": 1, "train": 1, "validation": 1, "test": 1}
    for name, smallest in least.items():
        if settings[name] < smallest:
            raise SegShiftError(f"{name} is {settings[name]}, it must be at least {smallest}")


def _made(folder: Path, record: Path, settings: dict[str, Any]) -> list[str]:
    """Domains that lie there whole, made with these settings. What was made with others is taken away."""
    if not record.is_file():
        return []
    before = json.loads(record.read_text())
    domains = before.pop("domains")
    if before == settings:
        return [
            domain for domain in domains if all((folder / file).is_file() for file in _files(domain, before))
        ]
    record.unlink()
    for file in {file for domain in domains for file in _files(domain, before)}:
        (folder / file).unlink(missing_ok=True)
    for domain in domains:
        root = folder / layouts.folder(domain, phantoms.DOMAINS[domain])
        for path in sorted([root, *root.rglob("*")], reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
    return []


def _files(domain: str, settings: dict[str, Any]) -> list[Path]:
    splits = {split: [name for _, name in ones] for split, ones in _patients(domain, settings)}
    return layouts.files(domain, phantoms.DOMAINS[domain], splits, settings["slices"])


def _patients(domain: str, settings: dict[str, Any]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each split with the numbers and names of its patients."""
    first, name = 0, layouts.FOLDERS.get(domain, domain)
    for split in SPLITS:
        numbers = range(first, first + settings[split])
        yield split, [(number, f"{name}_{number:03d}") for number in numbers]
        first += settings[split]


def _make(folder: Path, domain: str, settings: dict[str, Any], progress: "_Progress") -> None:
    """All splits of a domain."""
    anatomy = phantoms.DOMAINS[domain]
    root = folder / layouts.folder(domain, anatomy)
    root.mkdir(parents=True, exist_ok=True)
    drawn = {key: settings[key] for key in ("seed", "size", "slices")}
    for split, patients in _patients(domain, settings):
        scans = []
        for number, _ in patients:
            scans.append(phantoms.volume(domain, number, **drawn))
            progress.tell(f"{root.name}, {domain}, patient {number}, {split}")
        layouts.WRITERS[anatomy](root, domain, split, [name for _, name in patients], scans)


class _Progress:
    """How many patients are made, and how long the others will take."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()

    def tell(self, what: str) -> None:
        self.done += 1
        left = (time.monotonic() - self.started) / self.done * (self.total - self.done)
        print(f"phantom: {self.done}/{self.total} {what}, {left:.0f} s left", flush=True)
