"""nnU-Net's raw format, both versions: ``imagesTr``, ``labelsTr``, ``dataset.json``, ``splits_final.json``.

A channel is a file, ``imagesTr/<case>_0000.nii.gz``; the entry chooses one. ``imagesTs`` with ``labelsTs`` is
the test split. A fold of ``splits_final.json`` tells training from validation; without one, the entry's
``splits`` must. How arrays are laid out is said in ``layers/orientation.py``.
Source: Isensee et al. 2021; documentation/dataset_format.md of nnU-Net 1 and 2.
"""

import json
from pathlib import Path
from typing import Any

from segshift.errors import SegShiftError, unknown
from segshift.layers import patterns, scans
from segshift.layers.orientation import PLANES
from segshift.volumes import Case, Volume

FOLDERS = {"imagesTr": "labelsTr", "imagesTs": "labelsTs"}


def cases(
    folder: Path,
    *,
    channel: int | str | None = None,
    patient: str | None = None,
    plane: str = "axial",
    folds: str = "splits_final.json",
    fold: int = 0,
) -> list[Case]:
    """All cases with a label, by name.

    Args:
        folder: the one that holds ``dataset.json``.
        channel: number of the channel, or its name in ``dataset.json``; may be left out where there is one.
        patient: regular expression, searched in the case's name; its first group is the patient. Default: the
            name.
        plane: ``axial``, ``coronal`` or ``sagittal``.
        folds: the file of folds, below ``folder``; it need not be there.
        fold: which of them, counted from 0.

    Raises:
        SegShiftError: a missing or broken file, an unknown channel, plane or fold, a case without image or
            label, or one that the fold does not list.
    """
    folder = Path(folder)
    if plane not in PLANES:
        raise unknown("unknown plane", plane, PLANES)
    described = description(folder)
    number = _channel(channel, described["channels"], folder)
    split_of = _fold(folder / folds, fold)
    found = []
    for images, labels in FOLDERS.items():
        if images == "imagesTs" and not (folder / labels).is_dir():
            continue  # a challenge's hidden test set
        for name, label in _labels(folder / labels, described["ending"]):
            image = folder / images / f"{name}_{number:04d}{described['ending']}"
            if not image.exists():
                raise SegShiftError(f"no such file: {image}, the image of {label.name}")
            split = "test" if images == "imagesTs" else split_of.get(name)
            if split_of and split is None:
                raise SegShiftError(f"{folder / folds}: fold {fold} does not list {name}")
            where = {"image": image, "label": label, "plane": plane}
            found.append(Case(name, patterns.patient({"id": name}, patient), split, where))
    for name in split_of:
        if name not in {case.id for case in found}:
            raise SegShiftError(f"{folder / folds}: fold {fold} lists {name}, of which there is no label")
    if not found:
        raise SegShiftError(f"{folder / 'labelsTr'} holds no file named {described['ending']}")
    return found


def read(case: Case) -> Volume:
    """One volume.

    Raises:
        SegShiftError: a missing, truncated or other file; image and label of different shape or affine; a
            label that holds no class numbers.
    """
    return scans.read(case.where["image"], case.where["label"], case.where["plane"])


def describe(case: Case) -> dict[str, Any]:
    """What the image's header says: ``orientation`` and ``channels``."""
    return scans.describe(case.where["image"])


def guess(folder: Path) -> dict[str, Any] | None:
    """Parameters for a folder that holds ``dataset.json`` and ``labelsTr``; the first channel of several."""
    if not ((folder / "dataset.json").is_file() and (folder / "labelsTr").is_dir()):
        return None
    return {"channel": 0} if len(description(folder)["channels"]) > 1 else {}


def names(folder: Path) -> dict[int, str]:
    """Class names that ``dataset.json`` gives, by label value.

    Raises:
        SegShiftError: a missing or broken file, or labels that are regions of several values.
    """
    return description(Path(folder))["labels"]


def description(folder: Path) -> dict[str, Any]:
    """``channels`` (names in order), ``labels`` (value -> name) and ``ending`` of a ``dataset.json``."""
    file = folder / "dataset.json"
    content = _json(file)
    channels = content.get("channel_names", content.get("modality"))  # version 2, version 1
    if not isinstance(channels, dict) or not isinstance(content.get("labels"), dict):
        raise SegShiftError(f"{file} has no channel_names (version 1: modality) and labels")
    labels = {}
    for first, second in content["labels"].items():
        # version 1 writes {"0": "background"}, version 2 {"background": 0}
        value, name = (second, first) if not str(first).isdigit() else (first, second)
        if name == "ignore":
            raise SegShiftError(f"{file}: the label `ignore` is not supported; give these voxels a class")
        if not str(value).isdigit():
            raise SegShiftError(f"{file}: label {name!r} is the region {value}; a label must be one value")
        labels[int(value)] = str(name)
    ordered = [str(channels[key]) for key in sorted(channels, key=int)]
    return {"channels": ordered, "labels": labels, "ending": _ending(content, file)}


def _ending(content: dict[str, Any], file: Path) -> str:
    ending = content.get("file_ending", ".nii.gz")
    if ending not in scans.SUFFIXES:
        raise SegShiftError(
            f"{file}: file_ending {ending} is read by none of {', '.join(scans.SUFFIXES)}; for pictures use "
            "`module: png` with image_files: imagesTr/{id}_0000.png and label_files: labelsTr/{id}.png"
        )
    return ending


def _channel(channel: int | str | None, known: list[str], folder: Path) -> int:
    listed = [f"{number} {name}" for number, name in enumerate(known)]
    if channel is None:
        if len(known) > 1:
            raise SegShiftError(f"{folder} has channels {', '.join(listed)}; say which with `channel`")
        return 0
    if channel in known:
        return known.index(channel)
    if not str(channel).isdigit() or int(channel) >= len(known):
        raise SegShiftError(f"{folder} has channels {', '.join(listed)}, not {channel}")
    return int(channel)


def _labels(folder: Path, ending: str) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise SegShiftError(f"no such folder: {folder}")
    found = patterns.find(folder, f"{{id}}{ending}")
    return [(values["id"], file) for values, file in found if not values["id"].startswith(".")]


def _fold(file: Path, number: int) -> dict[str, str]:
    """Case -> split, of one fold; nothing without the file."""
    if not file.is_file():
        if number or file.name != "splits_final.json":
            raise SegShiftError(f"no such file: {file}, of which the entry wants fold {number}")
        return {}
    content = _json(file)
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise SegShiftError(f"{file} is no list of folds, each with train and val")
    if not 0 <= number < len(content):
        raise SegShiftError(f"{file} has folds 0 to {len(content) - 1}, not {number}")
    split_of: dict[str, str] = {}
    for key, split in (("train", "train"), ("val", "validation")):
        for name in content[number].get(key) or []:
            if split_of.setdefault(name, split) != split:
                raise SegShiftError(f"{file}: fold {number} has {name} in train and in val")
    return split_of


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise SegShiftError(f"no such file: {file}") from None
    except ValueError as error:
        raise SegShiftError(f"{file} is no JSON: {error}") from None
