"""``segshift prepare DATASET``: raw files to the prepared format, once.

Reads ``results/data/<dataset>/settings.yaml``, writes ``{train,validation,test}.h5``, the quality sheet
(``quality.json``, ``quality.html``) and, last, ``manifest.json`` beside it (see ``prepared.py``). A run that
fails leaves what an earlier one made as it was.
"""

import json
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from segshift.errors import SegShiftError
from segshift.preparation import leakage, lost, quality, sheet, steps
from segshift.preparation.cache import Cache
from segshift.preparation.cases import find_cases, split_cases, value_map
from segshift.preparation.volume import Made, prepare
from segshift.prepared import SPLITS, total_digest
from segshift.scores import SPLITS as SCORED
from segshift.volumes import Case

Splits = dict[str, list[dict[str, Any]]]


def run(
    dataset: str,
    results: Path,
    raw: Path,
    workers: int = 1,
    *,
    cache: float = 0,
    siblings: Sequence[str] = (),
    colours: list[str] | None = None,
) -> None:
    """Prepare one dataset.

    Args:
        dataset: its name.
        results: the results folder.
        raw: the folder with this dataset's raw files.
        workers: processes; each holds one volume in memory. The result does not depend on their number.
        cache: GB that ``results/cache`` may hold of volumes after their steps; 0 keeps none.
        siblings: other datasets of its anatomy, whose patients and scans must not be on both sides.
        colours: of the classes, for the quality sheet.

    Raises:
        SegShiftError: settings, splits or a volume are not what they should be, or a patient or scan is in
            two places; the first culprit is named.
    """
    folder = Path(results) / "data" / dataset
    text, settings = _settings(folder / "settings.yaml")
    by_split = split_cases(find_cases(settings, Path(raw)), settings.get("splits"))
    names = [*(f"{split}.h5" for split in SPLITS), "quality.json", "quality.html", "manifest.json"]
    parts = {name: folder / f"{name}.part" for name in names}
    kept = Cache(Path(results) / "cache", cache * 1e9)
    try:
        made = _write(dataset, settings, by_split, parts, workers, kept)
        entries = {split: [one["entry"] for one in volumes] for split, volumes in made.items()}
        manifest = _manifest(dataset, settings, text, entries)
        lost.check_dataset(lost.total(one["lost"] for volumes in made.values() for one in volumes), settings)
        leakage.check_manifest(dataset, manifest)
        _check_siblings(folder, manifest, siblings)
        numbers = quality.numbers(settings, made, [])
        samples = {split: [one["sample"] for one in volumes] for split, volumes in made.items()}
        parts["quality.json"].write_text(json.dumps(numbers, indent=1) + "\n")
        parts["quality.html"].write_text(sheet.page(numbers, samples, colours))
        parts["manifest.json"].write_text(json.dumps(manifest, indent=1) + "\n")
        # from here to the last line there is no manifest: a crash leaves "not prepared", never old beside new
        (folder / "manifest.json").unlink(missing_ok=True)
        for name, part in parts.items():
            part.replace(folder / name)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    try:  # again, for a sibling may have been finished meanwhile: of two, the later one sees the other
        _check_siblings(folder, manifest, siblings)
    except SegShiftError:
        (folder / "manifest.json").unlink()
        raise
    print(f"prepare {dataset}: done, sha256 {manifest['sha256'][:16]}", flush=True)


def _settings(file: Path) -> tuple[str, dict[str, Any]]:
    """A dataset's settings as text and as what it says, checked as far as this can be before any reading."""
    if not file.is_file():
        raise SegShiftError(f"{file} is not there; first: segshift settings --write")
    text = file.read_text()
    settings = yaml.safe_load(text)
    for key in ("classes", "plane", "modality", "reader"):
        if key not in settings:
            raise SegShiftError(f"{file} has no key {key!r}; it has: {', '.join(settings)}")
    for step in settings.get("preprocess") or []:
        name, given = steps.parse(step)  # a wrong name stops before the first volume is read
        if name == "plane" and given["plane"] != settings["plane"]:
            raise SegShiftError(
                f"preprocess: the step plane makes {given['plane']} slices, but the dataset's entry says "
                f"`plane: {settings['plane']}`"
            )
    value_map(settings)
    return text, settings


def _write(
    dataset: str,
    settings: dict[str, Any],
    by_split: dict[str, list[Case]],
    parts: dict[str, Path],
    workers: int,
    cache: Cache,
) -> Splits:
    """Write all volumes into the unfinished files; returns what else is known of each."""
    planned = [(split, case) for split in SPLITS for case in by_split[split]]
    made: Splits = {split: [] for split in SPLITS}
    first, begin = None, time.monotonic()
    kinds: dict[int, str] = {}  # axes of an image -> the first volume that has so many
    with ExitStack() as stack:
        files = {split: stack.enter_context(h5py.File(parts[f"{split}.h5"], "w")) for split in SPLITS}
        results = _volumes([case for _, case in planned], settings, workers, cache)
        for done, ((split, case), one) in enumerate(zip(planned, results, strict=True), 1):
            volume = one.volume
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
            entry = volume.write(files[split]) | {"fingerprint": one.fingerprint}
            if split in SCORED:
                entry |= volume.write_raw(files[split])
            made[split].append({"entry": entry, "lost": one.lost, "sample": one.sample})
            left = _duration((time.monotonic() - begin) / done * (len(planned) - done))
            reused = f"{one.reused} of {len(settings['preprocess'])} steps kept, " if one.reused else ""
            print(
                f"prepare {dataset}: {done}/{len(planned)} {split}/{case.id}, {reused}{left} left", flush=True
            )
    return made


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _volumes(cases: list[Case], settings: dict[str, Any], workers: int, cache: Cache) -> Iterator[Made]:
    """The prepared volumes in order, at most one a worker in memory."""
    if workers <= 1:
        yield from (prepare(case, settings, cache) for case in cases)
        return
    # spawn: a forked worker would inherit the HDF5 files that this process is writing
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        waiting: deque = deque()
        for case in cases:
            if len(waiting) == workers:
                yield waiting.popleft().result()
            waiting.append(pool.submit(prepare, case, settings, cache))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_siblings(folder: Path, manifest: dict[str, Any], siblings: Sequence[str]) -> None:
    for name, other in leakage.prepared(folder.parent, siblings).items():
        leakage.check_manifests(folder.name, manifest, name, other)


def _manifest(dataset: str, settings: dict[str, Any], text: str, entries: Splits) -> dict[str, Any]:
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
