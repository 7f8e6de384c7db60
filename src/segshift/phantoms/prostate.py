"""Prostate phantoms: a drawn pelvis, T2-like, axial; without and with an endorectal coil.

Anatomy (size and shape of gland and zones, rectum, bladder, muscles) varies by patient. The coil widens the
rectum and makes what is near it bright. Made up: nothing follows about patients.
"""

import numpy as np

from segshift.phantoms.scanner import Scanner, scan
from segshift.phantoms.shapes import Canvas

CLASSES = ("background", "peripheral zone", "transition zone")
FIELD_OF_VIEW, THICKNESS = 160.0, 4.0  # mm
COIL = "prostate_coil"

DOMAINS = {
    "prostate_body": Scanner(bias=0.12, noise=0.03, blur=(0.3, 0.3)),
    COIL: Scanner(gamma=0.9, bias=0.10, noise=0.035, blur=(0.3, 0.3), view=0.95, ghost=0.04),
}


def volume(
    domain: str, index: int, *, seed: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One patient's scan, see ``phantoms.volume``."""
    random = np.random.default_rng([seed, 100 + list(DOMAINS).index(domain), index])
    scanner = DOMAINS[domain]
    canvas = Canvas(random, size, slices, warp=0.035)
    canvas.x, canvas.y = canvas.x * scanner.view, canvas.y * scanner.view
    _pelvis(canvas)
    rectum = _rectum(canvas, coil=domain == COIL)
    _gland(canvas)
    if domain == COIL:  # its sensitivity falls with the distance from the rectum
        distance = (canvas.x - rectum) ** 2 + (canvas.y - 0.45) ** 2
        canvas.image *= 0.45 + 1.5 * np.exp(-distance / 0.16)
    image, label = canvas.slices(len(CLASSES))
    pixel = FIELD_OF_VIEW / size * scanner.view
    return scan(image, scanner, random), label, (THICKNESS, pixel, pixel)


def _pelvis(canvas: Canvas) -> None:
    """Fat, muscles, bone, vessels, bladder."""
    body = canvas.ellipse(0, 0.05, 1.08, 0.86) + canvas.lumpy(0.03, 6) < 1
    canvas.fill(body, 0.76 + canvas.lumpy(0.05, 1, 0.5) + canvas.lumpy(0.04, 4))
    muscle = 0.22 + canvas.lumpy(0.025, 1.2, 0.5)
    for side in (-1, 1):
        canvas.fill(canvas.ellipse(side * 0.70, 0.10, 0.20, 0.42) + canvas.lumpy(0.08, 3) < 1, muscle)
        canvas.fill(canvas.ellipse(side * 0.72, -0.42, 0.22, 0.16) + canvas.lumpy(0.08, 3) < 1, muscle + 0.08)
        marrow = canvas.ellipse(side * 0.82, 0.12, 0.11, 0.31)
        canvas.fill(marrow < 1.25, 0.06)  # cortical bone
        canvas.fill(marrow < 1, 0.42 + canvas.lumpy(0.03, 1, 0.5))
        gluteal = (canvas.ellipse(side * 0.50, 0.78, 0.36, 0.16) + canvas.lumpy(0.10, 3) < 1) & body
        canvas.fill(gluteal, muscle)
        canvas.fill(canvas.ellipse(side * 0.50, -0.50, 0.05, 0.05) < 1, 0.05)
        levator = canvas.ellipse(side * 0.36, 0.38, 0.045, 0.30) + canvas.lumpy(0.12, 3) < 1
        canvas.fill(levator, muscle + 0.02)
    canvas.fill(canvas.ellipse(0, -0.52, 0.11, 0.09) + canvas.lumpy(0.1, 2) < 1, 0.45)  # symphysis
    grown = np.clip(0.6 + canvas.z, 0.001, 1)  # the bladder is on upper slices
    bladder = canvas.ellipse(0, -0.40, 0.34 * grown, 0.24 * grown) + canvas.lumpy(0.06, 5)
    canvas.fill(bladder < 1.25, 0.28)
    canvas.fill(bladder < 1, 1.0)


def _rectum(canvas: Canvas, coil: bool) -> float:
    """The rectum, wide and round around a coil; returns its x."""
    random = canvas.random
    x = random.normal(0, 0.04)
    radius = random.uniform(0.15, 0.24) if coil else random.uniform(0.09, 0.17)
    filled = 0.05 if coil or random.random() < 0.5 else 0.42 + 0.1 * random.random()
    wall = canvas.ellipse(x, 0.52, radius * 1.25, radius) + (0.02 if coil else 1) * canvas.lumpy(0.12, 2)
    canvas.fill(wall < 1.55, 0.32)
    content = filled + (canvas.lumpy(0.06, 1.5) if filled > 0.1 else 0 * canvas.x)
    canvas.fill(wall < 1, content)
    return x


def _gland(canvas: Canvas) -> None:
    """The prostate: capsule, peripheral zone, and in it a nodular transition zone. Smaller at its ends."""
    random = canvas.random
    along = np.sqrt(np.clip(1 - (canvas.z / 1.25) ** 2, 0.05, 1))
    across, down = 0.36 * along * random.lognormal(0, 0.10), 0.27 * along * random.lognormal(0, 0.10)
    gland = canvas.ellipse(0, 0.05, across, down) + canvas.lumpy(0.05, 3.5)
    canvas.fill(gland < 1.16, 0.16)
    canvas.fill(gland < 1, 0.80 + canvas.lumpy(0.06, 1.2, 0.5), label=1)
    wide, high = 0.70 * across * random.lognormal(0, 0.08), 0.66 * down * random.lognormal(0, 0.10)
    inner = canvas.ellipse(0, 0.05 - 0.28 * down, wide, high) + canvas.lumpy(0.10, 2.5)
    canvas.fill((inner < 1.14) & (gland < 1), 0.24)
    nodules = 0.42 + canvas.lumpy(0.11, 1.8, 0.8)
    canvas.fill((inner < 1) & (gland < 1), nodules)
    canvas.label[(inner < 1.07) & (gland < 1)] = 2
    canvas.fill((canvas.ellipse(0, 0.05 - 0.1 * down, 0.03, 0.035) < 1) & (gland < 1), 0.85)  # urethra
