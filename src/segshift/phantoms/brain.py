"""Brain phantoms: random smooth warps of a real template, seen by four made-up scanners.

Anatomy is the MNI152 template (T1 and tissue maps, 1 mm, skull-stripped, one averaged head) that nilearn
ships. Each patient is an affine and two smooth warps of it, with larger or smaller ventricles; skull and
scalp are made from the distance to the brain. A domain is a contrast and a scanner: gamma, bias field,
noise, blur, field of view, ghost. The numbers show that the tool works; they say nothing about patients.

Labels: see ``CLASSES``; deep gray matter is three hand-drawn ellipsoids a side. Every draw follows from
(seed, domain, patient), so a patient is the same whatever else is made.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from segshift.errors import SegShiftError
from segshift.phantoms.scanner import Scanner, scan

CLASSES = ("background", "ventricles", "cortical gray matter", "white matter", "deep gray matter")
FIELD_OF_VIEW = 224.0  # mm, of a slice
LOWEST, HIGHEST = 58.0, 112.0  # template z of the first and last slice, mm
MIDDLE = 98.0  # template x of the plane between the hemispheres, mm
TISSUES = ("vent", "gm", "wm", "deep", "scsf")  # partial volumes; scsf: fluid around the brain

# Intensities; vent: ventricles, gm, wm: cortical gray and white matter, deep: deep gray matter.
T1 = dict(vent=0.18, gm=0.55, wm=0.85, deep=0.63, scsf=0.20, skull=0.06, scalp=0.95, marrow=0.70)
T2 = dict(vent=0.98, gm=0.58, wm=0.36, deep=0.46, scsf=0.95, skull=0.05, scalp=0.55, marrow=0.35)
FLAIR = dict(vent=0.12, gm=0.72, wm=0.55, deep=0.62, scsf=0.18, skull=0.06, scalp=0.80, marrow=0.50)


@dataclass(frozen=True, kw_only=True)
class Domain(Scanner):
    """A contrast and a scanner.

    ``real`` is the share of the template's own T1 voxels in the image, ``texture`` how much of their
    deviation from the tissue means is added.
    """

    intensities: dict[str, float]
    real: float = 0.0
    texture: float = 0.0


# The order counts: a domain's place in it is part of its patients' seeds.
DOMAINS = {
    "t1_a": Domain(intensities=T1, real=0.65, bias=0.10, noise=0.02),
    "t1_b": Domain(
        intensities=T1, real=0.65, gamma=1.5, bias=0.35, noise=0.06, blur=(0.8, 0.2), view=1.08, ghost=0.10
    ),
    "t2": Domain(intensities=T2, texture=-0.9, bias=0.15, noise=0.03, blur=(0.3, 0.3), ghost=0.03),
    "flair": Domain(
        intensities=FLAIR, texture=0.5, bias=0.2, noise=0.035, blur=(0.5, 0.5), view=0.95, ghost=0.03
    ),
    "t1_c": Domain(  # a third T1-like site, for one's own entry
        intensities=T1,
        real=0.65,
        gamma=0.75,
        bias=0.25,
        noise=0.04,
        blur=(0.2, 0.6),
        view=0.95,
        resolution=0.8,
    ),
}


def volume(
    domain: str, index: int, *, seed: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """One patient's scan, see ``phantoms.volume``: from brain stem to the top of the ventricles."""
    scanner = DOMAINS[domain]
    random = np.random.default_rng([seed, list(DOMAINS).index(domain), index])
    pixel = FIELD_OF_VIEW / size * scanner.view * random.normal(1, 0.02)
    places = warp(grid(random, pixel, size, slices), random)
    head = Head(smoothed(size), places)
    image = paint(head, scanner, random, pixel)
    spacing = ((HIGHEST - LOWEST) / max(slices - 1, 1), pixel, pixel)
    return scan(image, scanner, random), head.label, spacing


class Head:
    """The template's maps at the places of a patient's voxels."""

    def __init__(self, maps: dict[str, np.ndarray], places: np.ndarray) -> None:
        def at(name: str, outside: float = 0) -> np.ndarray:
            return ndimage.map_coordinates(maps[name], places, order=1, mode="constant", cval=outside)

        self.places = places
        self.tissue = {name: np.clip(at(name), 0, 1) for name in TISSUES}
        self.distance = at("distance", outside=40)  # mm to the brain, 0 inside
        self.t1, self.texture = at("t1"), at("texture")
        inside = np.clip(sum(self.tissue.values()), 0, 1)
        rim = (self.distance < 3.5) & (self.distance > 0)
        self.tissue["scsf"] = np.clip(self.tissue["scsf"] + rim * (1 - inside), 0, 1)
        self.background = np.clip(1 - sum(self.tissue[name] for name in TISSUES[:4]), 0, 1)
        every = [self.background, *(self.tissue[name] for name in TISSUES[:4])]
        self.label = np.stack(every).argmax(0).astype(np.uint8)


def grid(random: np.random.Generator, pixel: float, size: int, slices: int) -> np.ndarray:
    """Template x, y, z (mm, and voxels of 1 mm) of each voxel of a slightly turned, scaled and moved head."""
    heights = np.linspace(LOWEST, HIGHEST, slices) + random.uniform(-3, 3)
    across = (np.arange(size) - (size - 1) / 2) * pixel
    z, y, x = np.meshgrid(heights, across, across, indexing="ij")
    turn, tilt, scale = random.normal(0, 0.10), random.normal(0, 0.05), random.normal(1, 0.05, 2)
    x, y = (
        (x * np.cos(turn) - y * np.sin(turn)) * scale[0],
        (x * np.sin(turn) + y * np.cos(turn)) * scale[1],
    )
    z = z + tilt * y
    return np.stack([MIDDLE + x + random.normal(0, 3), 116 - y + random.normal(0, 3), z])  # row 0 is anterior


def warp(places: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two smooth warps, coarse and fine (amplitude in mm), then ventricles pulled in or out."""
    x, y, z = places
    extent = _template()["t1"].shape
    for knots, amplitude in ((6, 4.5), (12, 2.2)):
        field = ndimage.gaussian_filter(random.normal(size=(3, knots, knots, knots)), (0, 0.7, 0.7, 0.7))
        field /= field.std()
        at = np.stack([x / extent[0], y / extent[1], z / extent[2]]) * (knots - 1)
        x, y, z = (
            axis + share * amplitude * ndimage.map_coordinates(along, at, order=3, mode="nearest")
            for axis, along, share in zip((x, y, z), field, (1, 1, 0.6), strict=True)
        )
    pull = random.normal(0, 0.22)
    near = ((x - MIDDLE) / 22) ** 2 + ((y - 120) / 42) ** 2
    factor = 1 + pull * np.exp(-1.2 * near)
    return np.stack([MIDDLE + (x - MIDDLE) * factor, 120 + (y - 120) * (1 + 0.5 * (factor - 1)), z])


def paint(head: Head, scanner: Domain, random: np.random.Generator, pixel: float) -> np.ndarray:
    """Tissue intensities, with the patient's own shifts, texture, skull and scalp."""
    level = {name: value + random.normal(0, 0.02) for name, value in scanner.intensities.items()}
    image = sum(head.tissue[name] * level[name] for name in TISSUES)
    inside = head.distance <= 0
    if scanner.real:  # the template's own voxels, stretched to the patient's fluid and white matter
        real = (head.t1 - 0.30) / 0.565 * (level["wm"] - level["vent"]) + level["vent"]
        image = (1 - scanner.real) * image + scanner.real * np.where(inside, real, 0)
    image = image + scanner.texture * head.texture
    image = np.where(inside, image, head.tissue["scsf"] * level["scsf"])
    fine = ndimage.gaussian_filter(random.normal(size=image.shape), (0, 1.2, 1.2))
    image = image + 0.02 * fine / fine.std() * inside
    return _cover(image, head.distance, level, random, pixel)


def _cover(
    image: np.ndarray,
    distance: np.ndarray,
    level: dict[str, float],
    random: np.random.Generator,
    pixel: float,
) -> np.ndarray:
    """Skull with marrow, and scalp, at distances from the brain (mm) that vary smoothly."""
    broad = 6 * image.shape[1] / 64
    uneven = ndimage.gaussian_filter(random.normal(size=image.shape), (0, broad, broad))
    uneven /= uneven.std()
    bone = 3.2 + 0.6 * uneven
    skin = bone + 6 + 1.2 * uneven
    air = skin + 5.5 + 1.5 * np.roll(uneven, 5, 1)

    def beyond(edge: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(distance - edge) / (0.22 * pixel)))

    marrow = np.exp(-(((distance - (bone + skin) / 2) / 1.6) ** 2))
    skull = level["skull"] + marrow * (level["marrow"] - level["skull"])
    in_bone, in_skin, in_air = beyond(bone), beyond(skin), beyond(air)
    return image * (1 - in_bone) + in_bone * (1 - in_skin) * skull + in_skin * (1 - in_air) * level["scalp"]


@cache
def smoothed(size: int) -> dict[str, np.ndarray]:
    """The template for a pixel size, smoothed against aliasing; distances stay sharp."""
    width = FIELD_OF_VIEW / size * 0.36
    return {
        name: part if name == "distance" else ndimage.gaussian_filter(part, (width, width, 1.0))
        for name, part in _template().items()
    }


@cache
def _template() -> dict[str, np.ndarray]:
    """Maps of the template, float32 [x, y, z] at 1 mm: T1, tissues, texture, distance to the brain."""
    t1, gm, wm = (_load(name) for name in ("t1", "gm", "wm"))
    solid = ndimage.binary_closing(gm + wm > 0.3, iterations=3) | (t1 > 0.1)
    brain = ndimage.binary_fill_holes(solid)
    csf = np.clip(1 - gm - wm, 0, 1) * brain
    depth = ndimage.distance_transform_edt(brain)
    x, y, z = np.ogrid[tuple(slice(n) for n in t1.shape)]
    vent = _ventricles(csf, depth, (x, y, z))
    side = np.abs(x - MIDDLE)
    nuclei = [  # thalamus, putamen and pallidum, caudate: centre and radii in mm
        ((side - a) / ra) ** 2 + ((y - b) / rb) ** 2 + ((z - c) / rc) ** 2 < 1
        for a, ra, b, rb, c, rc in (
            (15, 13, 117, 20, 80, 13),
            (24, 11, 134, 23, 76, 14),
            (13, 7, 145, 16, 84, 18),
        )
    ]
    region = ndimage.gaussian_filter(np.logical_or.reduce(nuclei).astype(np.float32), 1) > 0.5
    deep = np.where(region, np.clip(1 - csf - np.clip((t1 - 0.74) / 0.1, 0, 1), 0, 1), 0)
    maps = {
        "t1": t1,
        "vent": vent,
        "gm": gm * ~region,
        "wm": np.where(region, np.clip(1 - csf - deep, 0, 1), wm),
        "deep": deep,
        "scsf": np.clip(csf - vent, 0, 1),
        "texture": (t1 - (0.30 * csf + 0.65 * gm + 0.865 * wm)) * brain,
        "distance": ndimage.distance_transform_edt(~brain),
    }
    return {name: part.astype(np.float32) for name, part in maps.items()}


def _ventricles(csf: np.ndarray, depth: np.ndarray, axes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Fluid in the three largest connected pools deep in the middle of the brain."""
    x, y, z = axes
    middle = ((x - MIDDLE) / 45) ** 2 + ((y - 118) / 60) ** 2 + ((z - 82) / 34) ** 2 < 1
    pools, _ = ndimage.label((csf > 0.5) & (depth > 14) & middle)
    largest = 1 + np.argsort(np.bincount(pools.ravel())[1:], kind="stable")[-3:]
    return csf * ndimage.binary_dilation(np.isin(pools, largest), iterations=2) * (depth > 12)


def _load(kind: str) -> np.ndarray:
    # found without importing nilearn, which takes seconds and pulls in scikit-learn
    package = find_spec("nilearn")
    if package is None:
        raise SegShiftError(
            "phantoms need the brain template that the package nilearn ships; it is not installed"
        )
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    file = Path(package.origin).parent / "datasets" / "data" / name
    if not file.is_file():
        raise SegShiftError(f"this version of nilearn ships no {name}")
    return np.asarray(nibabel.load(file).dataobj).astype(np.float32) / 255
