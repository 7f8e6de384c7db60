"""``segshift phantom FOLDER``: brain phantoms (see ``phantoms.py``) as raw data in the lab's HDF5 layout.

``FOLDER/brain_<domain>/data_{train,validation,test}.hdf5``, to be read by ``datasets/hdf5_stack.py``;
``FOLDER/phantom.json``, written last, says what they were made from.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segshift import modules, phantoms
from segshift.errors import SegShiftError, unknown


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
    """Make phantoms; does nothing where the same ones lie already, and makes all again where others do.

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
    counts = {"train": train, "validation": validation, "test": test}
    settings = {"seed": seed, "size": size, "slices": slices, **counts, "domains": list(domains)}
    _check(settings)
    # with other code the same settings give other brains
    settings["code"] = modules.code_digest([Path(phantoms.__file__)])
    folder, record = Path(folder), Path(folder) / "phantom.json"
    files = [_file(folder, domain, split) for domain in domains for split in counts]
    if record.is_file():
        before = json.loads(record.read_text())
        if before == settings and all(file.is_file() for file in files):
            print(f"phantom: {folder} is up to date", flush=True)
            return
        record.unlink()
        _remove(folder, before["domains"])
    done, total = 0, len(domains) * sum(counts.values())
    for domain in domains:
        first = 0
        for split, count in counts.items():
            scans = []
            for index in range(first, first + count):
                scans.append(phantoms.volume(domain, index, seed=seed, size=size, slices=slices))
                done += 1
                print(f"phantom: {done}/{total} brain_{domain}, patient {index}, {split}", flush=True)
            patients = [f"{domain}_{index:03d}" for index in range(first, first + count)]
            _write(_file(folder, domain, split), scans, patients)
            first += count
    part = record.with_name("phantom.json.part")
    part.write_text(json.dumps(settings, indent=1) + "\n")
    part.replace(record)


def _check(settings: dict[str, Any]) -> None:
    if not settings["domains"]:
        raise SegShiftError("domains is empty")
    for domain in settings["domains"]:
        if domain not in phantoms.DOMAINS:
            raise unknown("unknown phantom domain", domain, phantoms.DOMAINS)
    least = {"seed": 0, "size": 16, "slices": 1, "train": 1, "validation": 1, "test": 1}
    for name, smallest in least.items():
        if settings[name] < smallest:
            raise SegShiftError(f"{name} is {settings[name]}, it must be at least {smallest}")


def _file(folder: Path, domain: str, split: str) -> Path:
    return folder / f"brain_{domain}" / f"data_{split}.hdf5"


def _remove(folder: Path, domains: list[str]) -> None:
    """Take away what an earlier call made, so that no domain of other settings stays beside the new ones."""
    for domain in domains:
        for split in ("train", "validation", "test"):
            _file(folder, domain, split).unlink(missing_ok=True)
        made = folder / f"brain_{domain}"
        if made.is_dir() and not any(made.iterdir()):
            made.rmdir()


def _write(file: Path, scans: list[tuple[np.ndarray, np.ndarray, tuple]], patients: list[str]) -> None:
    """One split in the lab's layout: slices of all volumes stacked, one entry a volume for the rest."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    images, labels, spacings = zip(*scans, strict=True)
    try:
        with h5py.File(part, "w") as content:
            content["images"], content["labels"] = np.concatenate(images), np.concatenate(labels)
            for key, axis in (("nz", 0), ("ny", 1), ("nx", 2)):
                content[key] = np.array([image.shape[axis] for image in images])
            for key, axis in (("pz", 0), ("py", 1), ("px", 2)):
                content[key] = np.array([spacing[axis] for spacing in spacings])
            content.create_dataset("patients", data=patients, dtype=h5py.string_dtype())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
