"""Which slice a figure shows: drawn by a seed among those that show at least half of the classes."""

from typing import NamedTuple

import numpy as np

from segshift.errors import SegShiftError
from segshift.prepared import Prepared
from segshift.sampling import generator

SPLIT = "test"


class Slice(NamedTuple):
    """A slice of a test volume: image (H, W) or (3, H, W) in [0, 1], label (H, W)."""

    volume: str
    place: int
    image: np.ndarray
    label: np.ndarray


def candidates(prepared: Prepared) -> list[tuple[str, int]]:
    """Volumes and places of the slices that show at least half of the foreground classes."""
    least = (len(prepared.classes) - 1) / 2
    volumes = zip(prepared.volumes(SPLIT), prepared.counts(SPLIT), strict=True)
    return [
        (volume.id, int(place))
        for volume, counts in volumes
        for place in np.flatnonzero((counts[:, 1:] > 0).sum(1) >= least)
    ]


def draw(prepared: Prepared, seed: int) -> Slice:
    """One of the candidates; the same seed draws the same slice.

    Raises:
        SegShiftError: no test slice shows half of the classes.
    """
    known = candidates(prepared)
    if not known:
        raise SegShiftError(f"{prepared.folder.name}: no test slice shows half of its classes")
    random = generator(seed, "figure", prepared.folder.name)
    volume, place = known[random.integers(len(known))]
    return Slice(volume, place, *prepared.slice(SPLIT, volume, place))
