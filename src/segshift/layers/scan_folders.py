"""A folder of inputs: which files are scans, which of them one case's channels, and what their masks are
called."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from segshift.errors import SegShiftError
from segshift.layers import canvas, scans
from segshift.layers.patterns import natural

CHANNEL = re.compile(r"(.+)_(\d{4})$")  # nnU-Net's names: case_0000.nii.gz, case_0001.nii.gz
PAIRS = {".img": ".hdr", ".raw": ".mhd"}  # what belongs to another file of the same name


class Job(NamedTuple):
    """One mask to be made. ``problem``: why its input cannot be used, as far as names tell."""

    name: str
    image: Path
    output: Path
    problem: str | None = None


def jobs(folder: Path, output: Path, channel: int | None = None) -> list[Job]:
    """What is to be segmented in a folder, by name, numbers in it by their value.

    Files that are no scans are left out; folders of DICOM slices are scans. Where every name ends in four
    digits and some end in 0000, the names are nnU-Net's.

    Args:
        folder: of the inputs.
        output: the folder of the masks.
        channel: which of nnU-Net's channels.

    Raises:
        SegShiftError: nothing is found, two inputs would have one mask, a mask would replace an input, or the
            names are those of several channels and ``channel`` is None.
    """
    images = sorted(_scans(folder), key=lambda file: natural(file.name))
    if not images:
        raise SegShiftError(
            f"{folder} holds no scan (known: {', '.join(canvas.READ)}, folders of DICOM slices); if it is "
            "itself a folder of DICOM slices, name the mask .nii.gz"
        )
    if output.resolve() == folder.resolve():
        raise SegShiftError(f"the masks cannot go into {folder}, where the scans are")
    found = _by_channel(images, output, channel) or [
        Job(one.name, one, output / f"{_stem(one)}{canvas.mask_suffixes(one)[0]}") for one in images
    ]
    taken: dict[Path, Job] = {}
    for job in found:
        if (other := taken.setdefault(job.output, job)) is not job:
            raise SegShiftError(f"{folder}: {other.name} and {job.name} would both become {job.output.name}")
    return found


def _scans(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if scans.is_series(entry):
                yield entry
        elif (ending := canvas.suffix(entry)) and not (
            ending in PAIRS and entry.with_suffix(PAIRS[ending]).exists()
        ):
            yield entry


def _stem(file: Path) -> str:
    """A name without its ending."""
    ending = None if file.is_dir() else canvas.suffix(file)
    return file.name[: -len(ending)] if ending else file.name


def _by_channel(images: list[Path], output: Path, channel: int | None) -> list[Job]:
    """Jobs by nnU-Net's names; none if the names are others."""
    matches = [CHANNEL.match(_stem(one)) for one in images]
    if not (all(matches) and any(match[2] == "0000" for match in matches)):
        return []
    cases: dict[str, dict[int, Path]] = {}
    for image, match in zip(images, matches, strict=True):
        cases.setdefault(match[1], {})[int(match[2])] = image
    numbers = sorted({number for files in cases.values() for number in files})
    if channel is None and len(numbers) > 1:
        raise SegShiftError(
            f"{images[0].parent} holds channels 0 to {numbers[-1]} of {len(cases)} cases by its names; "
            "say which with --channel"
        )
    wanted = numbers[0] if channel is None else channel
    found = []
    for name, files in cases.items():
        image = files.get(wanted)
        problem = None if image else f"{name} has no channel {wanted}, no file {name}_{wanted:04d}"
        image = image or next(iter(files.values()))
        found.append(Job(name, image, output / f"{name}{canvas.mask_suffixes(image)[0]}", problem))
    return found
