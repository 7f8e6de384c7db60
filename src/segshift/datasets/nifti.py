"""Scans found by pattern, one image and one label a case, such as BraTS: NIfTI, FreeSurfer's MGZ, NRRD,
MetaImage, or folders of DICOM slices.

How arrays are laid out along ``plane`` is said in ``layers/orientation.py``. Nothing is interpolated.
"""

from pathlib import Path
from typing import Any

from segshift.errors import unknown
from segshift.layers import pairing, patterns, scans
from segshift.layers.orientation import PLANES
from segshift.volumes import Case, Volume


def cases(
    folder: Path,
    *,
    image_files: str,
    label_files: str,
    mask_files: str | None = None,
    patient: str | None = None,
    plane: str = "axial",
    channel: int | None = None,
    split_names: dict[str, str] | None = None,
) -> list[Case]:
    """All images that match the pattern, each with its label, by name.

    Args:
        folder: the patterns are relative to it.
        image_files: path with ``{id}`` for the case and, if folders or names tell it, ``{split}``, such as
            ``{split}/{id}_T1.nii.gz``; other names in braces, such as ``{site}``, stand for anything. It may
            be the path of a folder of DICOM slices.
        label_files: the same for labels, with names that ``image_files`` has too.
        mask_files: the same for masks of the brain (or other region), for the steps that want one: what is
            not 0 is inside.
        patient: regular expression, searched in the id; its first group is the patient. Default: what
            ``{patient}`` stands for, else the id.
        plane: ``axial``, ``coronal`` or ``sagittal``.
        channel: which channel of 4D images, counted from 0.
        split_names: what ``{split}`` stands for where it is not the split's own name, such as ``{validation:
            val}``.

    Raises:
        SegShiftError: a missing folder or label, nothing found, an unknown plane or split, or an id without
            patient.
    """
    if plane not in PLANES:
        raise unknown("unknown plane", plane, PLANES)
    found = []
    for values, image, label in patterns.pairs(Path(folder), image_files, label_files, split_names):
        where = {"image": image, "label": label, "plane": plane, "channel": channel}
        if mask_files:
            where["mask"] = Path(folder) / patterns.fill(mask_files, values)
        found.append(Case(values["id"], patterns.patient(values, patient), values.get("split"), where))
    return found


def read(case: Case) -> Volume:
    """One volume, laid out along ``plane``.

    Raises:
        SegShiftError: a missing, truncated or other file; 4D without ``channel``; image and label of
            different shape or affine; a label that holds no class numbers.
    """
    where = case.where
    return scans.read(where["image"], where["label"], where["plane"], where["channel"], where.get("mask"))


def describe(case: Case) -> dict[str, Any]:
    """What the image's header says: ``orientation`` and ``channels``."""
    return scans.describe(case.where["image"])


def guess(folder: Path) -> dict[str, Any] | None:
    """Parameters for a folder of scans and labels that are told apart by a word in their names."""
    if (folder / "dataset.json").exists():
        return None  # nnU-Net's
    return pairing.guess(folder, scans.SUFFIXES)
