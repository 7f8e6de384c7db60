"""``segshift prepare DATASET``: raw files to the prepared format, once.

Reads ``results/data/<dataset>/settings.yaml``, writes ``{train,validation,test}.h5`` and, last,
``manifest.json`` beside it (see ``prepared.py``). A run that fails leaves what an earlier one made as it was.
"""

import json
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from segshift import modules, plugins
from segshift.errors import SegShiftError, unknown
from segshift.preparation import steps
from segshift.prepared import SPLITS, VolumeInfo, total_digest
from segshift.raw_labels import VolumeWithRawLabel
from segshift.scores import SPLITS as SCORED
from segshift.splits import DRAW, UNUSED
from segshift.volumes import Case, Volume

ROUNDING = 1e-6  # interpolation of values in [0, 1] may leave it by a rounding error


def run(dataset: str, results: Path, raw: Path, workers: int = 1) -> None:
    """Prepare one dataset.

    Args:
        dataset: its name.
        results: the results folder.
        raw: the folder with this dataset's raw files.
        workers: processes; each holds one volume in memory.

    Raises:
        SegShiftError: settings, splits or a volume are not what they should be; the first culprit is named.
    """
    folder = Path(results) / "data" / dataset
    file = folder / "settings.yaml"
    if not file.is_file():
        raise SegShiftError(f"{file} is not there; first: segshift settings --write")
    text = file.read_text()
    settings = yaml.safe_load(text)
    for key in ("classes", "plane", "modality", "reader"):
        if key not in settings:
            raise SegShiftError(f"{file} has no key {key!r}; it has: {', '.join(settings)}")
    for step in settings.get("preprocess") or []:
        steps.parse(step)  # a wrong name stops before the first volume is read
    value_map(settings)
    by_split = split_cases(find_cases(settings, Path(raw)), settings.get("splits"))
    parts = {split: folder / f"{split}.h5.part" for split in SPLITS}
    try:
        entries = _write(dataset, settings, by_split, parts, workers)
        manifest = _manifest(dataset, settings, text, entries)
        (folder / "manifest.json.part").write_text(json.dumps(manifest, indent=1) + "\n")
        # from here to the last line there is no manifest: a crash leaves "not prepared", never old beside new
        (folder / "manifest.json").unlink(missing_ok=True)
        for split, part in parts.items():
            part.replace(folder / f"{split}.h5")
        (folder / "manifest.json.part").replace(folder / "manifest.json")
    finally:
        for part in [*parts.values(), folder / "manifest.json.part"]:
            part.unlink(missing_ok=True)
    print(f"prepare {dataset}: done, sha256 {manifest['sha256'][:16]}", flush=True)


def find_cases(settings: dict[str, Any], raw: Path) -> list[Case]:
    """The cases that the entry's reader finds, its parameters checked.

    Raises:
        SegShiftError: no such module, an unknown or missing parameter, or what the reader raises.
    """
    reader = dict(settings["reader"])
    module = reader.pop("module")
    known, required = modules.parameters("datasets", module)
    for key in reader:
        if key not in known:
            raise unknown(f"reader {module} has no parameter", key, known)
    missing = [key for key in required if key not in reader]
    if missing:
        raise SegShiftError(f"reader {module} needs {', '.join(missing)}")
    if "plane" in known:
        reader.setdefault("plane", settings["plane"])
    if not raw.is_dir():
        raise SegShiftError(f"no such folder: {raw}")
    return plugins.load("datasets", module).cases(raw, **reader)


def split_cases(cases: list[Case], lists: dict[str, list] | None) -> dict[str, list[Case]]:
    """The cases of each split, by id: from lists of patients where there are some, else from the reader.

    Raises:
        SegShiftError: a patient in two splits, in a list without a case or the reverse, or a case without a
            split.
    """
    split_of: dict[str, str] = {}
    if lists is None:
        pairs = [(case.patient, case.split) for case in cases]
        for case in cases:
            if case.split is None:
                raise SegShiftError(
                    f"case {case.id} has no split: the reader finds none, so `splits` must list patients"
                )
    else:
        if DRAW in lists:
            raise SegShiftError(
                "`splits` says how many patients each split has, not yet who; first: segshift split DATASET"
            )
        unused = set(lists.get(UNUSED, ()))
        cases = [case for case in cases if case.patient not in unused]
        named = {split: patients for split, patients in lists.items() if split != UNUSED}
        pairs = [(str(patient), split) for split, patients in named.items() for patient in patients or []]
    for patient, split in pairs:
        if split not in SPLITS:
            raise unknown("unknown split", split, SPLITS)
        if split_of.setdefault(patient, split) != split:
            raise SegShiftError(f"patient {patient} is in two splits, {split_of[patient]} and {split}")
    absent = sorted(set(split_of) - {case.patient for case in cases})
    if absent:
        raise SegShiftError(
            f"`splits` lists patient {absent[0]} in {split_of[absent[0]]}, of whom there is no file"
        )
    by_split: dict[str, list[Case]] = {split: [] for split in SPLITS}
    for case in sorted(cases, key=lambda case: case.id):
        if case.patient not in split_of:
            raise SegShiftError(
                f"case {case.id} of patient {case.patient} is in none of the lists of `splits`"
            )
        by_split[split_of[case.patient]].append(case)
    for split, members in by_split.items():
        for first, second in pairwise(members):
            if first.id == second.id:
                raise SegShiftError(f"two cases of {split} have the same id, {first.id}")
    return by_split


def value_map(settings: dict[str, Any]) -> dict[int, int]:
    """Raw label value -> class index, from the entry's ``labels``.

    Raises:
        SegShiftError: a label of no known class, or more classes than a byte can tell.
    """
    classes = settings["classes"]
    if len(classes) > 256:
        raise SegShiftError(f"{len(classes)} classes are more than the 256 that prepared labels can hold")
    labels = settings.get("labels")
    if labels is None:
        return {index: index for index in range(len(classes))}
    for name in labels.values():
        if name not in classes:
            raise unknown("labels: unknown class", name, classes)
    return {int(value): classes.index(name) for value, name in labels.items()}


def prepare_volume(case: Case, settings: dict[str, Any]) -> VolumeWithRawLabel:
    """Read, check and pre-process one volume.

    Raises:
        SegShiftError: naming the volume and what is wrong with it.
    """
    try:
        volume = plugins.load("datasets", settings["reader"]["module"]).read(case)
        _check(volume)
        mapped = volume.with_(label=_map_labels(volume.label, settings))
        done = steps.apply(mapped, settings.get("preprocess") or [])
        low, high = float(done.image.min()), float(done.image.max())
        if not (low >= -ROUNDING and high <= 1 + ROUNDING):
            raise SegShiftError(
                f"values lie in [{low:g}, {high:g}] after the steps, not in [0, 1]: `preprocess` lacks a "
                "step that brings them there (percentile or min_max), or the reader hdf5_stack `scale: 255`"
            )
    except SegShiftError as error:
        raise SegShiftError(f"volume {case.id}: {error}") from error
    label = done.label.astype(np.uint8)
    counts = [np.bincount(each.ravel(), minlength=len(settings["classes"])) for each in label]
    info = VolumeInfo(
        id=case.id,
        patient=f"{settings.get('patients') or settings['dataset']}:{case.patient}",
        slices=len(label),
        shape=label.shape[1:],
        spacing=tuple(float(side) for side in done.spacing),
        affine=np.asarray(done.affine, np.float64),
        raw_shape=volume.image.shape[:3],
        raw_affine=np.asarray(volume.affine, np.float64),
    )
    image = np.clip(done.image, 0, 1).astype(np.float16)
    return VolumeWithRawLabel(info, image, label, np.array(counts, np.uint32), mapped.label)


def _check(volume: Volume) -> None:
    image, label = volume.image, volume.label
    colour = image.ndim == 4 and image.shape[3] == 3
    if not (image.ndim == 3 or colour) or 0 in image.shape:
        raise SegShiftError(f"the image has shape {image.shape}, not [slices, H, W] or [slices, H, W, 3]")
    if label is None:
        raise SegShiftError("there is no label")
    if label.shape != image.shape[:3]:
        raise SegShiftError(f"the image has shape {image.shape}, the label {label.shape}")
    bad = int(np.count_nonzero(~np.isfinite(image)))
    if bad:
        raise SegShiftError(f"{bad} voxels of the image are NaN or infinite")
    if image.min() == image.max():
        raise SegShiftError(f"every voxel of the image has the same value, {image.flat[0]:g}")


def _map_labels(label: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    to_class = value_map(settings)
    result = np.zeros(label.shape, np.uint8)
    for value in np.unique(label):
        if int(value) not in to_class:
            listed = ", ".join(str(known) for known in sorted(to_class))
            raise SegShiftError(
                f"the label holds the value {value}, which is no class; known values: {listed}"
            )
        result[label == value] = to_class[int(value)]
    return result


def _write(
    dataset: str,
    settings: dict[str, Any],
    by_split: dict[str, list[Case]],
    parts: dict[str, Path],
    workers: int,
) -> dict[str, list[dict[str, Any]]]:
    """Write all volumes into the unfinished files; returns the manifest's entries."""
    planned = [(split, case) for split in SPLITS for case in by_split[split]]
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    first, begin = None, time.monotonic()
    kinds: dict[int, str] = {}  # axes of an image -> the first volume that has so many
    with ExitStack() as stack:
        files = {split: stack.enter_context(h5py.File(part, "w")) for split, part in parts.items()}
        made = _volumes([case for _, case in planned], settings, workers)
        for done, ((split, case), volume) in enumerate(zip(planned, made, strict=True), 1):
            first = first or volume.info
            kinds.setdefault(volume.image.ndim, case.id)
            if len(kinds) > 1:
                raise SegShiftError(
                    f"volume {kinds[4]} is in colour, {kinds[3]} is gray; they cannot be one dataset"
                )
            if volume.info.shape != first.shape:
                raise SegShiftError(
                    f"volume {case.id} has slices of {volume.info.shape}, {first.id} of {first.shape} after "
                    "pre-processing: `preprocess` lacks a step that makes them equal (crop_pad or resize)"
                )
            entries[split].append(volume.write(files[split]))
            if split in SCORED:
                entries[split][-1] |= volume.write_raw(files[split])
            left = (time.monotonic() - begin) / done * (len(planned) - done)
            print(
                f"prepare {dataset}: {done}/{len(planned)} {split}/{case.id}, {left:.0f} s left", flush=True
            )
    return entries


def _volumes(cases: list[Case], settings: dict[str, Any], workers: int) -> Iterator[VolumeWithRawLabel]:
    """The prepared volumes in order, at most one a worker in memory."""
    if workers <= 1:
        yield from (prepare_volume(case, settings) for case in cases)
        return
    # spawn: a forked worker would inherit the HDF5 files that this process is writing
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        waiting: deque = deque()
        for case in cases:
            if len(waiting) == workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(prepare_volume, case, settings))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _manifest(dataset: str, settings: dict[str, Any], text: str, entries: dict[str, list]) -> dict[str, Any]:
    def fractions(volumes: list[dict[str, Any]]) -> list[float]:
        counts = np.sum([entry["counts"] for entry in volumes], axis=0, dtype=np.int64)
        return (counts / counts.sum()).tolist() if volumes else []

    return {
        "dataset": dataset,
        "sha256": total_digest(entries),
        "classes": settings["classes"],
        "plane": settings["plane"],
        "modality": settings["modality"],
        "settings": text,
        "splits": {
            split: {"volumes": volumes, "class_fractions": fractions(volumes)}
            for split, volumes in entries.items()
        },
    }
