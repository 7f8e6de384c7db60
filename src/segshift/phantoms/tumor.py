"""Brain tumor phantoms: the brain phantom's warps with a glioma, two contrasts of the same patients.

A tumor is three nested lumpy balls: oedema, which keeps to white matter and to its hemisphere, tissue, and
necrosis. Made up: nothing follows about patients.
"""

import numpy as np
from scipy import ndimage

from segshift.phantoms import brain
from segshift.phantoms.scanner import scan
from segshift.phantoms.shapes import field

CLASSES = ("background", "oedema", "tumor tissue", "necrosis")
WHITE = brain.CLASSES.index("white matter")
PATIENTS, LOOKS = 300, 301  # of seeds: what a patient is, and how a contrast sees it

DOMAINS = {
    "tumor_flair": brain.Domain(intensities=brain.FLAIR, texture=0.5, bias=0.15, noise=0.03, blur=(0.4, 0.4)),
    "tumor_t2": brain.Domain(
        intensities=brain.T2, texture=-0.9, bias=0.15, noise=0.03, blur=(0.3, 0.3), ghost=0.03
    ),
}
INTENSITIES = {"tumor_flair": (0.98, 0.80, 0.34), "tumor_t2": (0.82, 0.64, 1.05)}  # as CLASSES[1:]


def volume(
    domain: str, index: int, *, seed: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One patient's scan, see ``phantoms.volume``: a patient's label is the same in both contrasts."""
    patient = np.random.default_rng([seed, PATIENTS, index])
    pixel = brain.FIELD_OF_VIEW / size * patient.normal(1, 0.02)
    places = brain.warp(brain.grid(patient, pixel, size, slices), patient)
    head = brain.Head(brain.smoothed(size), places)
    label = _tumor(head, patient)
    random = np.random.default_rng([seed, LOOKS + list(DOMAINS).index(domain), index])
    image = brain.paint(head, DOMAINS[domain], random, pixel)
    fine = 0.05 * field(random, image.shape, (0.5, 1, 1))
    for number, value in enumerate(INTENSITIES[domain], 1):
        share = ndimage.gaussian_filter((label >= number).astype(float), (0, 0.5, 0.5))
        image = image * (1 - share) + share * (value + fine)
    spacing = ((brain.HIGHEST - brain.LOWEST) / max(slices - 1, 1), pixel, pixel)
    return scan(image, DOMAINS[domain], random), label, spacing


def _tumor(head: brain.Head, random: np.random.Generator) -> np.ndarray:
    """Classes of a tumor whose middle is in white matter, off the midline and not at the ends."""
    tissue = head.label
    size = tissue.shape[1]
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, count) for count in tissue.shape), indexing="ij")
    side = head.places[0] - brain.MIDDLE  # mm
    middle = (tissue == WHITE) & (np.abs(side) > 14) & (np.abs(side) < 45) & (np.abs(z) <= 0.6)
    found = np.argwhere(middle if middle.any() else tissue == WHITE)
    centre = tuple(found[random.integers(len(found))])
    radius = random.uniform(0.30, 0.44)
    away = np.sqrt((x - x[centre]) ** 2 + (y - y[centre]) ** 2 + (0.45 * (z - z[centre])) ** 2) / radius
    rough, rougher = (field(random, tissue.shape, (1, size / n, size / n)) for n in (20, 26))
    inside = ndimage.binary_closing(tissue > 0, np.ones((1, 3, 3)), iterations=2)
    same = side * np.sign(side[centre]) > -2  # the falx is in the way
    oedema = (away * (1 - 0.25 * (tissue == WHITE)) + 0.14 * rough < 1) & inside & same
    solid = (away + 0.08 * rougher < 0.64) & oedema
    dead = (away + 0.07 * rougher < 0.40) & solid
    return oedema.astype(np.uint8) + solid + dead
