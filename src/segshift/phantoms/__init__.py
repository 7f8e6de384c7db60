"""Phantoms: made-up patients of four anatomies, each seen by made-up scanners (domains).

An anatomy is a module with ``CLASSES``, ``DOMAINS`` and ``volume``; anatomy varies by patient, appearance by
domain. Every draw follows from (seed, domain, patient), so a patient is the same whatever else is made. The
numbers that models reach on them show that the tool works; they say nothing about patients.
"""

import numpy as np

from segshift.errors import unknown
from segshift.phantoms import brain, prostate, spine, tumor
from segshift.phantoms.brain import CLASSES

__all__ = ["ANATOMIES", "CLASSES", "DOMAINS", "volume"]

ANATOMIES = {"brain": brain, "prostate": prostate, "spine": spine, "tumor": tumor}
DOMAINS = {domain: name for name, module in ANATOMIES.items() for domain in module.DOMAINS}


def volume(
    domain: str, index: int, *, seed: int = 0, size: int = 56, slices: int = 8
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One patient's scan.

    Args:
        domain: a key of ``DOMAINS``.
        index: which patient of the domain.
        seed: of all patients.
        size: pixels of a slice's side.
        slices: of the volume.

    Returns:
        Image float32 [slices, size, size] in [0, 1]; label uint8 of the same shape; spacing (z, y, x) in mm.
        Axial slices have the front in row 0, sagittal ones in column 0.

    Raises:
        SegShiftError: an unknown domain, or nilearn, whose template brains are made from, is not installed.
    """
    if domain not in DOMAINS:
        raise unknown("unknown phantom domain", domain, DOMAINS)
    return ANATOMIES[DOMAINS[domain]].volume(domain, index, seed=seed, size=size, slices=slices)
