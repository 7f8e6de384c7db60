"""The verbs that look at raw data before it is prepared: ``add-dataset``, ``look``, ``split``."""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Arguments = argparse.Namespace


def declare(verb: Callable[..., argparse.ArgumentParser], *options: Callable) -> None:
    """Add the verbs and their options; ``options`` are those of the folders of results and configuration."""
    text = "Look at a folder of scans, and write its entry and split."
    sub = verb("add-dataset", text, _add_dataset, *options)
    sub.add_argument("data", type=Path, metavar="FOLDER", help="stacks in HDF5, scans, pictures or nnU-Net's")
    sub.add_argument(
        "--dry-run", action="store_true", help="show it, and what training would cost; write nothing"
    )
    for name, text in (
        ("name", "of the entry (default: the folder's)"),
        ("anatomy", "an entry of anatomies.yaml, whose classes it has (default: a new one)"),
        ("modality", "such as T1w or CT"),
        ("module", "its reader, where several would fit"),
        ("images", "pattern of the images, such as '{id}_T1.nii.gz'"),
        ("labels", "pattern of their labels, such as '{id}_seg.nii.gz'"),
        ("patient", "regular expression whose group, in a file's or volume's name, is the patient"),
        ("volume", "pictures: regular expression whose group, in a file's name, is the volume"),
        ("channel", "number of the channel, of several"),
        ("model", "backbone/tuning/head whose cost is told (default: the first of the experiments)"),
    ):
        sub.add_argument(f"--{name}", metavar=name.upper(), help=text)
    sub.add_argument(
        "--plane", choices=("axial", "coronal", "sagittal"), help="of slices (default: the thickest)"
    )
    sub.add_argument("--depth", type=int, metavar="NUMBER", help="pictures: slices of every volume")
    sub.add_argument("--seed", type=int, default=42, metavar="NUMBER", help="of the split (default: 42)")
    sub.add_argument("--classes", nargs="+", default=[], metavar="VALUE=CLASS", help="what label values mean")
    sub = verb("look", "Read all raw files of a dataset and say what they hold.", _look, *options)
    sub.add_argument("dataset", nargs="+", help="entries of datasets.yaml")
    sub = verb("split", "Draw once which patients are in which split.", _split, *options)
    sub.add_argument("dataset", nargs="+", help="entries of datasets.yaml that share one file of splits")
    text = "read all labels, and leave out patients with a volume of background alone"
    sub.add_argument("--labelled", action="store_true", help=text)


def _add_dataset(arguments: Arguments) -> None:
    from segshift.errors import SegShiftError
    from segshift.paths import Results

    classes = {}
    for pair in arguments.classes:
        value, _, name = pair.partition("=")
        if not (value.isdigit() and name):
            raise SegShiftError(f"--classes {pair!r} is not VALUE=CLASS, such as 1=kidney")
        classes[int(value)] = name
    keys = {"images": "image_files", "labels": "label_files"}
    names = ("images", "labels", "patient", "volume", "channel", "depth")
    given = {keys.get(name, name): getattr(arguments, name) for name in names}
    reader = {key: value for key, value in given.items() if value is not None}
    if str(reader.get("channel", "")).isdigit():
        reader["channel"] = int(reader["channel"])
    said = {
        name: getattr(arguments, name) for name in ("name", "anatomy", "modality", "plane", "module", "model")
    }
    options = _stage("add_dataset").Options(**said, reader=reader, classes=classes, seed=arguments.seed)
    where = (arguments.data, Path(arguments.config), Results(arguments.results), _read(arguments)[1])
    _stage("add_dataset").run(*where, options, arguments.dry_run)


def _look(arguments: Arguments) -> None:
    config, raw = _read(arguments)
    for name in arguments.dataset:
        _stage("look").run(name, Path(arguments.config), raw / (config.datasets[name].folder or name))


def _split(arguments: Arguments) -> None:
    _stage("split").run(arguments.dataset, Path(arguments.config), _read(arguments)[1], arguments.labelled)


def _read(arguments: Arguments) -> tuple[Any, Path]:
    """The configuration, with the datasets that were named known in it, and the folder of all raw data."""
    from segshift import grid
    from segshift.errors import unknown
    from segshift.paths import Results

    config = grid.read(arguments.config).config
    for name in getattr(arguments, "dataset", ()):
        if name not in config.datasets:
            raise unknown("unknown dataset", name, config.datasets)
    return config, Results(arguments.results).home / config.project.raw


def _stage(name: str) -> Any:
    return import_module(f"segshift.stages.{name}")
