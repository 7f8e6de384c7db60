"""Which volumes there are, which split each belongs to, and what their label values mean."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from segshift import modules, plugins
from segshift.errors import SegShiftError, unknown
from segshift.prepared import SPLITS
from segshift.splits import DRAW, UNUSED
from segshift.volumes import Case


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


def map_labels(label: np.ndarray, settings: dict[str, Any]) -> np.ndarray:
    """Raw label values as class indices, uint8.

    Raises:
        SegShiftError: a value that stands for no class.
    """
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


def name_of(case: Case) -> str:
    """A case in an error: its id, its patient and the files that it is read from."""
    paths = []
    for value in case.where.values():
        paths += [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Path)]
    files = f", {paths[0].name}" if paths else ""
    return f"volume {case.id} (patient {case.patient}{files})"
