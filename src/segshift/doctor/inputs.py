"""What a grid is made from: weights, and raw or prepared data."""

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from segshift import records
from segshift.doctor.finding import Finding
from segshift.entries import Weights
from segshift.grid import Grid
from segshift.paths import Results
from segshift.splits import SPLITS


def weights(grid: Grid, results: Results) -> Iterable[Finding]:
    """Each weights file that a cell needs: present, verified or recorded, its licence; or where it will come
    from."""
    folder = results.home / grid.config.project.weights
    needed = dict.fromkeys(name for model in grid.jobs.values() for name in grid.weights(model))
    for name in needed:
        yield _weights(name, grid.config.weights[name], folder, results)


def _weights(name: str, entry: Weights, folder: Path, results: Results) -> Finding:
    subject, licence = f"weights {name}", f"licence {entry.licence}"
    if results.weights(name).is_file():
        recorded = records.read(results, name)
        if entry.sha256:
            return Finding("ok", subject, f"present, sha256 verified when it was fetched, {licence}")
        if recorded:
            said = f"present, sha256 recorded and not verified ({recorded[:8]}), {licence}"
            return Finding("ok", subject, said)
        said = f"present, but nobody knows what it should be, {licence}"
        return Finding("note", subject, said, f"segshift fetch {name}")
    if (folder / entry.file).is_file():
        return Finding("ok", subject, f"in {folder / entry.file}, fetched when it is needed, {licence}")
    if entry.package and _in_package(entry.package):
        return Finding("ok", subject, f"in the package {entry.package.partition('/')[0]}, {licence}")
    if entry.url or entry.hub:
        said = f"not here yet, from {entry.url or entry.hub}, {licence}"
        return Finding("note", subject, said, f"where there is internet: segshift fetch {name}")
    to_do = f"put the file {entry.file} into {folder}" + (f"; {entry.note}" if entry.note else "")
    return Finding("fix", subject, f"nowhere, {licence}", to_do)


def _in_package(place: str) -> bool:
    top, _, inside = place.partition("/")
    spec = find_spec(top)
    folders = (spec.submodule_search_locations or []) if spec else []
    return any((Path(folder) / inside).is_file() for folder in folders)


def datasets(grid: Grid) -> list[str]:
    """Datasets that the cells of the grid learn from or are tested on."""
    used = {name for model in grid.jobs.values() for name in (model.source, model.target) if name}
    used |= {target for targets in grid.targets.values() for target in targets}
    return [name for name in grid.datasets() if name in used]


def dataset(grid: Grid, results: Results, name: str) -> Iterable[Finding]:
    """Patients of each split of a dataset: of the prepared one, else of its raw files.

    Raises:
        SegShiftError: raw files are not as the entry says.
    """
    subject = f"data {name}"
    raw = grid.config.raw(results.home, name)
    manifest = results.data(name) / "manifest.json"
    if manifest.is_file():
        splits = json.loads(manifest.read_text())["splits"]
        patients = {
            split: {one["patient"] for one in splits.get(split, {}).get("volumes", ())} for split in SPLITS
        }
        gone = "" if raw.is_dir() else f"; raw files are not in {raw}"
        yield Finding("ok", subject, f"prepared, {_counted(patients)}{gone}")
        return
    if not raw.is_dir():
        to_do = f"put the raw files into {raw}: docs/data.md says where they come from"
        yield Finding("fix", subject, f"there is no {raw}", to_do)
        return
    from segshift.preparation.cases import find_cases, split_cases  # readers load libraries for images

    settings = grid.dataset_settings(name)
    by_split = split_cases(find_cases(settings, raw), settings["splits"])
    patients = {split: {case.patient for case in cases} for split, cases in by_split.items()}
    if empty := [split for split in SPLITS if not patients.get(split)]:
        to_do = f"segshift look {name}"
        yield Finding("fix", subject, f"raw in {raw}, without a patient to {' or '.join(empty)}", to_do)
    else:
        yield Finding("ok", subject, f"raw in {raw}, {_counted(patients)}")


def _counted(patients: dict[str, set[str]]) -> str:
    return "patients: " + ", ".join(f"{len(found)} {split}" for split, found in patients.items())
