"""Lumbar spine phantoms: drawn, T2-like, sagittal; two scanners.

Curvature, size and place of vertebrae, degenerated discs, fat and bowel vary by patient. Made up: nothing
follows about patients.
"""

import numpy as np

from segshift.phantoms.scanner import Scanner, scan
from segshift.phantoms.shapes import Canvas

CLASSES = ("background", "L1", "L2", "L3", "L4", "L5", "canal")
CANAL = 6
FIELD_OF_VIEW, THICKNESS = 200.0, 4.0  # mm; a picture does not say them, so they are the same for all

DOMAINS = {
    "spine_a": Scanner(bias=0.12, noise=0.03, blur=(0.25, 0.25)),
    "spine_b": Scanner(gamma=1.25, bias=0.15, noise=0.045, blur=(0.6, 0.2), ghost=0.06, resolution=0.7),
}


def volume(
    domain: str, index: int, *, seed: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One patient's scan, see ``phantoms.volume``."""
    random = np.random.default_rng([seed, 200 + list(DOMAINS).index(domain), index])
    canvas = Canvas(random, size, slices, warp=0.02)
    column = _Column(random)
    _surroundings(canvas, column)
    _canal(canvas, column)
    for number in range(7):  # T12, L1 to L5, S1
        _vertebra(canvas, column, number)
    # a surface coil in the back: weaker towards the front
    canvas.image *= 1 + 0.25 * (canvas.x - 0.3) * random.uniform(0.75, 1.25)
    image, label = canvas.slices(len(CLASSES))
    pixel = FIELD_OF_VIEW / size
    return scan(image, DOMAINS[domain], random), label, (THICKNESS, pixel, pixel)


class _Column:
    """The curve of a spine, and where its vertebrae are."""

    def __init__(self, random: np.random.Generator) -> None:
        self.curve, self.phase = random.normal(0.20, 0.05), random.normal(0.1, 0.1)
        self.height = random.normal(0.255, 0.012)  # from one vertebra to the next
        self.first = -0.98 + random.normal(0, 0.025) + self.height / 2 - 0.12
        self.degenerated = random.random(7) < 0.35

    def x(self, y: np.ndarray | float) -> np.ndarray | float:
        """Where the middle of the vertebral bodies lies."""
        return -0.02 + self.curve * np.cos(1.5 * (y - self.phase)) - self.curve * 0.55

    def angle(self, y: float) -> float:
        """How a vertebra is tilted."""
        return float(np.arctan(-self.curve * 1.5 * np.sin(1.5 * (y - self.phase))))


def _surroundings(canvas: Canvas, column: _Column) -> None:
    """Belly with bowel and fat in front, muscle and fat behind, air."""
    behind = canvas.x - column.x(canvas.y)
    canvas.fill(behind < 9, 0.30 + canvas.lumpy(0.10, 2.5, 0.6) * (behind < -0.1))
    loops = canvas.lumpy(1, 4.5, 0.6)
    canvas.fill((behind < -0.27) & (loops > 0.75), 0.66 + canvas.lumpy(0.04, 1.5))
    canvas.fill((behind < -0.27) & (loops > 1.25), 0.40)
    vessel = np.abs(behind + 0.235 + canvas.lumpy(0.008, 5)) < 0.035
    canvas.fill(vessel, 0.06)  # aorta or vena cava, without signal
    canvas.fill(behind > 0.28, 0.24 + canvas.lumpy(0.05, 1.6, 0.5))
    canvas.fill(behind > 0.62 + canvas.lumpy(0.012, 4), 0.85 + canvas.lumpy(0.03, 1.5))
    canvas.fill(behind > 0.98, 0.02)


def _canal(canvas: Canvas, column: _Column) -> None:
    """The spinal canal: fluid with the cord above, and the cauda equina below."""
    behind, y, z = canvas.x - column.x(canvas.y), canvas.y, canvas.z
    canvas.fill((behind > 0.14) & (behind < 0.30), 0.10)
    inside = (behind > 0.155) & (behind < 0.285)
    canvas.fill(inside, 0.98, label=CANAL)
    canvas.fill(inside & (np.abs(behind - 0.225) < 0.030) & (y < -0.45), 0.50)
    for phase, place in ((0, 0.225), (2, 0.245)):
        root = np.abs(behind - place - 0.010 * np.sin(24 * y + 6 * z + phase)) < 0.011
        canvas.fill(inside & (y >= -0.45) & root, 0.62)
    canvas.fill((behind > 0.285) & (behind < 0.335) & (np.sin(24.6 * (y - column.first)) > 0.2), 0.78)  # fat


def _vertebra(canvas: Canvas, column: _Column, number: int) -> None:
    """A body with its cortex, the disc below it, and the spinous process behind it."""
    y = column.first + number * column.height
    x, angle = column.x(y), column.angle(y)
    across, down = canvas.x - x, canvas.y - y
    u = across * np.cos(angle) - down * np.sin(angle)
    v = across * np.sin(angle) + down * np.cos(angle)
    wide, high = 0.155 * (1 + 0.06 * number / 5), 0.094
    body = np.abs(u / wide) ** 4 + np.abs(v / (high * (1 + 0.12 * (u / wide) ** 2))) ** 4
    canvas.fill(body < 1.5, 0.10)
    bone = 0.48 + canvas.lumpy(0.04, 1, 0.5)
    canvas.fill(body < 1, bone, label=number if 1 <= number <= 5 else None)
    vein = canvas.ellipse(x + 0.10, y, 0.05, 0.012) < 1
    canvas.fill(vein & (body < 1), 0.64)
    below = v - column.height / 2
    gap = column.height / 2 - high + 0.004
    disc = np.abs(u / (wide * 1.02)) ** 3 + np.abs(below / gap) ** 3 < 1
    canvas.fill(disc, 0.20)
    if not column.degenerated[number]:
        nucleus = ((u - 0.01) / 0.095) ** 2 + (below / 0.024) ** 2
        canvas.fill(disc & (nucleus < 1), 0.50 + 0.25 * np.clip(1 - nucleus, 0, 1))
    process = canvas.ellipse(column.x(y) + 0.44, y + 0.09, 0.11, 0.05) + canvas.lumpy(0.06, 2)
    canvas.fill(process < 1.3, 0.12)
    canvas.fill(process < 1, 0.45 + canvas.lumpy(0.03, 1, 0.5))
