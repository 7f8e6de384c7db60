"""What a folder of scans holds: every volume is read once, and what matters of it is kept."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segshift import modules, plugins
from segshift.errors import SegShiftError, unknown
from segshift.volumes import Case, Volume

THICK = 1.3  # times thicker than other voxels: then slices were taken along that axis
PLANES = {0: "axial", 1: "coronal", 2: "sagittal"}  # axis (z, y, x) of an axial volume across the slices


@dataclass
class Seen:
    """One volume: its case, size (z, y, x), mm (z, y, x), extremes, voxels of each label value."""

    case: Case
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    low: float
    high: float
    voxels: dict[int, int]
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Found:
    """What was found in a folder, and the reader that finds it."""

    folder: Path
    module: str
    reader: dict[str, Any]
    volumes: list[Seen]

    @property
    def values(self) -> list[int]:
        """All label values, in order."""
        return sorted({value for one in self.volumes for value in one.voxels})

    @property
    def patients(self) -> list[str]:
        """Everybody, once, in order."""
        return sorted({one.case.patient for one in self.volumes})

    def splits(self) -> dict[str, list[str]]:
        """Patients of each split that the files tell; those of no split under an empty name.

        Raises:
            SegShiftError: a patient is in two of them.
        """
        split_of: dict[str, str] = {}
        for one in self.volumes:
            split = one.case.split or ""
            if split_of.setdefault(one.case.patient, split) != split:
                both = [name or "none" for name in (split_of[one.case.patient], split)]
                raise SegShiftError(f"patient {one.case.patient} is in two splits, {both[0]} and {both[1]}")
        return {
            split: sorted(who for who, name in split_of.items() if name == split)
            for split in dict.fromkeys(split_of.values())
        }


def recognize(folder: Path, module: str | None, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The reader that fits a folder, and its parameters; ``given`` ones are laid over what is guessed.

    Raises:
        SegShiftError: no such folder, or no reader or several recognize it.
    """
    if not folder.is_dir():
        raise SegShiftError(f"no such folder: {folder}")
    known = modules.available("datasets")
    if module is not None and module not in known:
        raise unknown("--module", module, known)
    if "image_files" in given and "label_files" in given:
        pictures = given["image_files"].lower().endswith((".png", ".tif", ".tiff"))
        guessed = {module or ("png" if pictures else "nifti"): {}}
    else:
        readers = {name: plugins.load("datasets", name) for name in ([module] if module else known)}
        tried = {name: one.guess(folder) for name, one in readers.items() if hasattr(one, "guess")}
        guessed = {name: parameters for name, parameters in tried.items() if parameters is not None}
    if len(guessed) != 1:
        what = f"looks like {' and '.join(guessed)}; say which with --module" if guessed else (
            "holds nothing that is recognized (stacks in HDF5, scans with labels, pictures in images/ and "
            "labels/, nnU-Net's raw format); --images and --labels say what is what"
        )  # fmt: skip
        raise SegShiftError(f"{folder} {what}")
    ((name, parameters),) = guessed.items()
    allowed, _ = modules.parameters("datasets", name)
    for key in given:
        if key not in allowed:
            raise unknown(f"reader {name} has no parameter", key, allowed)
    return name, parameters | given


def cases(folder: Path, module: str, reader: dict[str, Any], plane: str) -> list[Case]:
    """What a reader finds."""
    known, _ = modules.parameters("datasets", module)
    parameters = reader | ({"plane": plane} if "plane" in known else {})
    return plugins.load("datasets", module).cases(folder, **parameters)


def plane_of(folder: Path, module: str, reader: dict[str, Any]) -> str:
    """The plane across which the first volume's voxels are thickest; axial where they are about cubes."""
    if "plane" not in modules.parameters("datasets", module)[0]:
        return "axial"
    first = cases(folder, module, reader, "axial")[0]
    spacing = _read(module, first).spacing
    thickest = int(np.argmax(spacing))
    return PLANES[thickest] if spacing[thickest] > THICK * sorted(spacing)[1] else "axial"


def look(
    folder: Path,
    module: str,
    reader: dict[str, Any],
    plane: str,
    tell: Callable[[str], None] = lambda text: None,
) -> Found:
    """Read every volume once, one at a time in memory.

    Args:
        folder: the raw files.
        module: a file of ``datasets/``.
        reader: its parameters.
        plane: of slices.
        tell: is called with a line before each volume.

    Raises:
        SegShiftError: the first volume that cannot be read; volume, patient and file are named.
    """
    every = cases(folder, module, reader, plane)
    volumes = []
    for number, case in enumerate(every, 1):
        tell(f"{number}/{len(every)} {case.id}")
        volumes.append(_see(case, _read(module, case), module))
    return Found(folder, module, reader, volumes)


def _read(module: str, case: Case) -> Volume:
    try:
        return plugins.load("datasets", module).read(case)
    except SegShiftError as error:
        raise SegShiftError(f"volume {case.id} of patient {case.patient}: {error}") from error


def _see(case: Case, volume: Volume, module: str) -> Seen:
    values, counts = np.unique(volume.label, return_counts=True)
    finite = volume.image[np.isfinite(volume.image)]
    extremes = (float(finite.min()), float(finite.max())) if finite.size else (float("nan"),) * 2
    voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    reader = plugins.load("datasets", module)
    details = reader.describe(case) if hasattr(reader, "describe") else {}
    spacing = tuple(float(side) for side in volume.spacing)
    return Seen(case, volume.label.shape, spacing, *extremes, voxels, details)


def lines(found: Found) -> Iterable[str]:
    """What was found, for people."""
    volumes = found.volumes
    total = sum(sum(one.voxels.values()) for one in volumes)
    shares = {value: sum(one.voxels.get(value, 0) for one in volumes) / total for value in found.values}
    yield f"{found.folder}: {found.module}, {len(volumes)} volumes of {len(found.patients)} patients"
    yield from _rows(
        [
            ("slices, rows, columns", _tally(" × ".join(map(str, one.shape)) for one in volumes)),
            ("spacing, mm", _tally(" × ".join(f"{side:.4g}" for side in one.spacing) for one in volumes)),
            *(
                (name, _tally(str(one.details[name]) for one in volumes if name in one.details))
                for name in dict.fromkeys(key for one in volumes for key in one.details)
            ),
            ("values", f"{min(one.low for one in volumes):g} to {max(one.high for one in volumes):g}"),
            ("labels", ", ".join(f"{value} ({share:.2%})" for value, share in shares.items())),
            ("splits of the files", _split_text(found.splits())),
        ]
    )


def _split_text(splits: dict[str, list[str]]) -> str:
    named = [f"{split} {len(patients)}" for split, patients in splits.items() if split]
    return ", ".join(named) + (f", none {len(splits[''])}" if named and "" in splits else "") or "none"


def _tally(texts: Iterable[str]) -> str:
    counted = Counter(texts).most_common()
    if len(counted) == 1:
        return counted[0][0]
    shown = ", ".join(f"{text} ({number})" for text, number in counted[:4])
    return shown + (f" and {len(counted) - 4} others" if len(counted) > 4 else "")


def _rows(rows: list[tuple[str, str]]) -> Iterable[str]:
    width = max(len(name) for name, _ in rows)
    return (f"  {name:{width}}  {text}" for name, text in rows)
