"""`segshift export-dataset NAME --nnunet FOLDER`: a prepared dataset in the layout of nnU-Net v2.

``imagesTr`` and ``labelsTr`` hold training and validation, ``imagesTs`` and ``labelsTs`` the test volumes;
``splits_final.json`` has one fold, the project's split. Files are NIfTI; labels hold class indices. Source:
documentation/dataset_format.md and manual_data_splits.md of nnU-Net 2.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from segshift import config as configuration
from segshift import plugins
from segshift.entries import Config
from segshift.errors import SegShiftError, unknown
from segshift.mask_files import file_names, settings_of
from segshift.paths import Results, appearing
from segshift.preparation import cases
from segshift.prepared import SPLITS, Prepared

ENDING = ".nii.gz"
PLACES = {"train": "Tr", "validation": "Tr", "test": "Ts"}
NAMED = re.compile(r"Dataset\d{3}_\w+")  # what nnU-Net finds


class Exported(NamedTuple):
    """A volume as it is written: ``image`` float32 [channel, z, y, x], ``label`` uint8 [z, y, x], and the
    affine from (z, y, x) to mm."""

    split: str
    name: str
    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray


def run(config_folder: str, results: Results, name: str, folder: Path, space: str = "prepared") -> None:
    """Write a dataset.

    Args:
        config_folder: the configuration.
        results: where the prepared dataset lies.
        name: an entry of datasets.yaml.
        folder: the dataset's own, such as ``nnUNet_raw/Dataset501_hcp1``.
        space: ``prepared``: images and labels as our models see them; ``native``: as the raw files have them,
            with the labels' values as class indices.

    Raises:
        SegShiftError: an unknown or unprepared dataset, files that are there already, two volumes of one
            name, or raw files that are gone.
    """
    config = configuration.read(config_folder)
    if name not in config.datasets:
        raise unknown("unknown dataset", name, config.datasets)
    prepared = Prepared(results.data(name))
    names = file_names(prepared)
    native = space == "native"
    with appearing(folder) as part:
        for place in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
            (part / place).mkdir()
        channels = 1
        found = _native(config, results, name, prepared, names) if native else _volumes(prepared, names)
        for volume in found:
            channels = _write(part, volume)
        modality = config.datasets[name].modality
        _describe(part, name, space, prepared, names, [modality] if channels == 1 else ["R", "G", "B"])
    counts = ", ".join(f"{len(names[split])} {split}" for split in SPLITS)
    print(f"{name}: {counts} volumes in {folder}")
    if not NAMED.fullmatch(folder.name):
        print(f"nnU-Net finds folders that are named as Dataset501_{name} is; {folder.name} is not")


def _volumes(prepared: Prepared, names: dict[str, dict[str, str]]) -> Iterator[Exported]:
    """As prepared."""
    for split in SPLITS:
        for volume in prepared.volumes(split):
            image, label = prepared.volume(split, volume.id)
            image = image[None] if image.ndim == 3 else np.moveaxis(image, 1, 0)
            yield Exported(split, names[split][volume.id], image, label, volume.affine)


def _native(
    config: Config, results: Results, name: str, prepared: Prepared, names: dict[str, dict[str, str]]
) -> Iterator[Exported]:
    """As the raw files have them."""
    settings, raw = settings_of(prepared), config.raw(results.home, name)
    by_split = cases.split_cases(cases.find_cases(settings, raw), settings["splits"])
    for split in SPLITS:
        there = {case.id: case for case in by_split[split]}
        if lost := sorted(names[split].keys() ^ there.keys()):
            raise SegShiftError(f"{name}: {lost[0]} of {split} was not prepared, or its raw file is gone")
        for id, case in there.items():
            volume = plugins.load("datasets", settings["reader"]["module"]).read(case)
            image = np.asarray(volume.image, np.float32)
            image = image[None] if image.ndim == 3 else np.moveaxis(image, -1, 0)
            label = cases.map_labels(volume.label, settings)
            yield Exported(split, names[split][id], image, label, volume.affine)


def _write(folder: Path, volume: Exported) -> int:
    """Its files; returns how many channels it has."""
    place = PLACES[volume.split]
    for number, channel in enumerate(volume.image):
        file = folder / f"images{place}" / f"{volume.name}_{number:04d}{ENDING}"
        _nifti(channel.astype(np.float32), volume.affine, file)
    _nifti(volume.label.astype(np.uint8), volume.affine, folder / f"labels{place}" / f"{volume.name}{ENDING}")
    return len(volume.image)


def _nifti(array: np.ndarray, affine: np.ndarray, file: Path) -> None:
    """[z, y, x] as NIfTI [x, y, z]: what reads it in the order of SimpleITK gets the slices first again."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(array.T), affine[:, [2, 1, 0, 3]], dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 1)
    nibabel.save(image, file)


def _describe(
    folder: Path,
    name: str,
    space: str,
    prepared: Prepared,
    names: dict[str, dict[str, str]],
    channels: list[str],
) -> None:
    """dataset.json, and the split as the one fold."""
    train, validation = (sorted(names[split].values()) for split in ("train", "validation"))
    described = {
        "channel_names": {str(number): channel for number, channel in enumerate(channels)},
        # that name of 0 is one that nnU-Net looks for
        "labels": {"background": 0} | {one: index for index, one in enumerate(prepared.classes) if index},
        "numTraining": len(train) + len(validation),
        "file_ending": ENDING,
        "name": name,
        "description": f"{name}, {space} voxels; segshift {prepared.sha256[:16]}",
    }
    (folder / "dataset.json").write_text(json.dumps(described, indent=1) + "\n")
    folds = [{"train": train, "val": validation}]
    (folder / "splits_final.json").write_text(json.dumps(folds, indent=1) + "\n")
