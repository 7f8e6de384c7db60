"""Patients and scans in two places, found from manifests alone."""

import json

import numpy as np
import pytest
import yaml

from segshift.errors import SegShiftError
from segshift.preparation import leakage


def manifest(settings=(), plane="axial", **splits):
    """``train=[("id", "patient", seed)]``: volumes of one seed are one scan; seed None has no fingerprint."""

    def volume(id, patient, seed):
        if seed is None:
            return {"id": id, "patient": patient}
        codes = np.random.default_rng(int(seed)).choice([-1, 0, 1], 1344)
        codes[: round(1344 * (seed % 1))] *= -1  # seed 3.05: scan 3, 5 % of it turned round
        packed = "".join(np.packbits(codes == sign).tobytes().hex() for sign in (1, -1))
        return {"id": id, "patient": patient, "fingerprint": {"voxels": str(seed), "hash": packed}}

    found = {split: {"volumes": [volume(*v) for v in splits.get(split, [])]} for split in leakage.SPLITS}
    return {
        "plane": plane,
        "classes": ["a", "b"],
        "settings": yaml.safe_dump(dict(settings)),
        "splits": found,
    }


BASE = {"train": [("t", "p:t", 1)], "validation": [("v", "p:v", 2)], "test": [("x", "p:x", 3)]}


def test_different_people_and_scans_pass():
    leakage.check_manifest("one", manifest(**BASE))
    other = {"train": [("t", "q:t", 4)], "test": [("x", "q:x", 5)]}
    leakage.check_manifests("one", manifest(**BASE), "two", manifest(**other))
    leakage.check_manifests("one", manifest(**BASE), "same", manifest(**BASE))  # other contrast, same splits


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"test": [("x", "p:t", 3)]}, "one: patient p:t is in two splits, train and test"),
        (
            {"train": [("t", "p:t", 1), ("u", "p:u", 1)]},
            r"t \(patient p:t\) in train of one and u \(patient p:u\) in train of one hold the same voxels",
        ),
        (
            {"test": [("x", "p:x", 1.05)]},
            r"t \(patient p:t\) in train of one and x \(patient p:x\) in test of one are nearly the same "
            r"scan \(their hashes differ by \d %\); .*accept: \[duplicates\]",
        ),
        ({"test": [("x", "p:x", 2.1)]}, r"v .* in validation of one and x .* nearly the same"),
    ],
)
def test_one_dataset(change, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        leakage.check_manifest("one", manifest(**BASE | change))


def test_what_is_alike_within_a_split_or_accepted_passes():
    leakage.check_manifest("one", manifest(**BASE | {"train": [("t", "p:t", 1), ("u", "p:u", 1.05)]}))
    doubles = BASE | {"test": [("x", "p:x", 1), ("y", "p:y", 2.05)]}
    leakage.check_manifest("one", manifest({"accept": ["duplicates"]}, **doubles))
    leakage.check_manifest("one", manifest(**BASE | {"test": [("x", "p:x", None)]}))  # of an older version


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"test": [("y", "p:t", 9)]}, "patient p:t is in train of one and in test of its sibling two"),
        ({"test": [("y", "p:v", 9)]}, "patient p:v is in validation of one and in test of its sibling two"),
        (
            {"validation": [("y", "p:x", 9)]},
            "patient p:x is in validation of two and in test of its sibling one",
        ),
        (
            {"test": [("y", "q:y", 1)]},
            r"t \(.*\) in train of one and y \(.*\) in test of two hold the same voxels",
        ),
        ({"train": [("y", "q:y", 3.05)]}, r"y \(.*\) in train of two and x \(.*\) in test of one are nearly"),
    ],
)
def test_siblings(other, sentence):
    one = manifest(**BASE)
    with pytest.raises(SegShiftError, match=sentence):
        leakage.check_manifests("one", one, "two", manifest(**other))
    if "patient p" in sentence:  # a patient on both sides is no matter of opinion
        with pytest.raises(SegShiftError, match=sentence):
            leakage.check_manifests("one", one, "two", manifest({"accept": ["duplicates"]}, **other))
    else:
        leakage.check_manifests("one", one, "two", manifest({"accept": ["duplicates"]}, **other))
    # a scan in training here and there is seen twice, and tests nothing
    leakage.check_manifests("one", one, "two", manifest(train=[("y", "q:y", 1)]))


def test_siblings_of_unequal_plane():
    with pytest.raises(
        SegShiftError, match="one and its sibling two were prepared with unequal plane: axial and"
    ):
        leakage.check_manifests("one", manifest(**BASE), "two", manifest(plane="coronal"))


def test_many_volumes_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr(leakage, "BLOCK", 7)
    many = {"train": [(f"t{n}", f"p:t{n}", n) for n in range(30)]}
    many["test"] = [(f"x{n}", f"p:x{n}", n + 100) for n in range(19)] + [("copy", "p:copy", 23.05)]
    with pytest.raises(SegShiftError, match=r"t23 .* and copy .* nearly the same"):
        leakage.check_manifest("one", manifest(**many))


def test_only_what_is_prepared_from_todays_entry_is_compared(tmp_path):
    texts = {"today": "a: 1\n", "stricter": "a: 1\naccept: [x]\n", "yesterday": "a: 2\n", "broken": None}
    for name, settings in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.yaml").write_text("a: 1\n")
        text = "{" if settings is None else json.dumps({"settings": settings})
        (tmp_path / name / "manifest.json").write_text(text)
    found = leakage.prepared(tmp_path, [*texts, "never"])
    assert list(found) == ["today", "stricter"]
    assert found["stricter"]["settings"] == "a: 1\n"  # what is accepted today
