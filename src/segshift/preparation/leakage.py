"""Who and what is in two places: patients, scans under two names. From manifests alone, so that it costs
nothing."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segshift.errors import SegShiftError
from segshift.grid import same_data
from segshift.preparation.fingerprints import NEAR, distances
from segshift.prepared import SPLITS

SEEN = ("train", "validation")  # splits that a model was made with
BLOCK = 512  # volumes compared at once
ACCEPT = "if they are two scans all the same: `accept: [duplicates]` in the dataset's entry"


@dataclass(frozen=True)
class Entry:
    """One volume of a manifest."""

    dataset: str
    split: str
    id: str
    patient: str
    voxels: str | None
    hash: str | None

    def __str__(self) -> str:
        return f"{self.id} (patient {self.patient}) in {self.split} of {self.dataset}"


def entries(dataset: str, splits: dict[str, Any]) -> list[Entry]:
    """The volumes of a manifest's ``splits``; those prepared by older versions have no fingerprints."""
    return [
        Entry(
            dataset,
            split,
            volume["id"],
            volume["patient"],
            volume.get("fingerprint", {}).get("voxels"),
            volume.get("fingerprint", {}).get("hash"),
        )
        for split in SPLITS
        for volume in splits[split]["volumes"]
    ]


def check_manifest(dataset: str, manifest: dict[str, Any]) -> None:
    """Look for a patient in two splits, and for one scan under two names.

    The same voxels are refused wherever they are, alike ones where they are in two splits.

    Raises:
        SegShiftError: names the first two.
    """
    found = entries(dataset, manifest["splits"])
    split_of: dict[str, str] = {}
    for entry in found:
        if split_of.setdefault(entry.patient, entry.split) != entry.split:
            raise SegShiftError(
                f"{dataset}: patient {entry.patient} is in two splits, {split_of[entry.patient]} and "
                f"{entry.split}"
            )
    if _accepts_duplicates(manifest):
        return
    for first, second in _same_voxels(found, found):
        raise SegShiftError(f"{first} and {second} hold the same voxels; {ACCEPT}")
    for one, two in combinations(SPLITS, 2):
        for first, second, apart in _alike(_of(found, one), _of(found, two)):
            raise SegShiftError(f"{first} and {second} are nearly the same scan ({apart}); {ACCEPT}")


def check_manifests(dataset: str, manifest: dict[str, Any], sibling: str, other: dict[str, Any]) -> None:
    """Look for patients and scans of one dataset's training or validation in the other's test, both ways.

    Raises:
        SegShiftError: names the first; or the two differ in plane or classes.
    """
    for key in ("plane", "classes"):
        if manifest[key] != other[key]:
            raise SegShiftError(
                f"{dataset} and its sibling {sibling} were prepared with unequal {key}: {manifest[key]} and "
                f"{other[key]}"
            )
    both = entries(dataset, manifest["splits"]), entries(sibling, other["splits"])
    accepted = _accepts_duplicates(manifest) or _accepts_duplicates(other)
    for one, two in (both, both[::-1]):
        _check_tested([entry for entry in one if entry.split in SEEN], _of(two, "test"), accepted)


def _check_tested(seen: list[Entry], tested: list[Entry], accepted: bool) -> None:
    of_patient = {entry.patient: entry for entry in seen}
    for entry in tested:
        if first := of_patient.get(entry.patient):
            raise SegShiftError(
                f"patient {entry.patient} is in {first.split} of {first.dataset} and in test of its sibling "
                f"{entry.dataset}: give both entries the same `splits`"
            )
    if accepted:
        return
    for first, second in _same_voxels(seen, tested):
        raise SegShiftError(f"{first} and {second} hold the same voxels; {ACCEPT}")
    for first, second, apart in _alike(seen, tested):
        raise SegShiftError(f"{first} and {second} are nearly the same scan ({apart}); {ACCEPT}")


def _accepts_duplicates(manifest: dict[str, Any]) -> bool:
    return "duplicates" in (yaml.safe_load(manifest["settings"]).get("accept") or [])


def _of(found: list[Entry], split: str) -> list[Entry]:
    return [entry for entry in found if entry.split == split]


def _same_voxels(found: list[Entry], others: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    first: dict[str, Entry] = {}
    for entry in found:
        if entry.voxels:
            first.setdefault(entry.voxels, entry)
    for entry in others:
        if entry.voxels in first and first[entry.voxels] != entry:
            yield first[entry.voxels], entry


def _alike(found: list[Entry], others: list[Entry]) -> Iterator[tuple[Entry, Entry, str]]:
    """Pairs of different patients whose hashes are near."""
    for length in {len(entry.hash) for entry in found if entry.hash}:
        ours, theirs = ([e for e in each if e.hash and len(e.hash) == length] for each in (found, others))
        for start, begin in product(range(0, len(ours), BLOCK), range(0, len(theirs), BLOCK)):
            a, b = ours[start : start + BLOCK], theirs[begin : begin + BLOCK]
            apart = distances([e.hash for e in a], [e.hash for e in b])
            for i, j in np.argwhere(apart < NEAR):
                if a[i].patient != b[j].patient:
                    yield a[i], b[j], f"their hashes differ by {100 * apart[i, j]:.0f} %"


def prepared(data: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Manifests of those datasets that are prepared from their entries of today.

    One of yesterday says nothing: two datasets whose common split list changed are prepared one after the
    other.

    Args:
        data: the folder ``results/data``.
        names: of datasets.
    """
    found = {}
    for name in names:
        try:
            manifest = json.loads((data / name / "manifest.json").read_text())
            settings = (data / name / "settings.yaml").read_text()
        except (FileNotFoundError, ValueError):
            continue
        if same_data(manifest["settings"], settings):
            found[name] = manifest | {"settings": settings}  # what is accepted today counts
    return found
