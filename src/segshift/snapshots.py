"""What a model in training makes of four validation slices, at five epochs.

The slices are the same in all epochs and in all trainings on a dataset. Each epoch's picture lies beside the
model, as ``snapshots/epoch-<number>.png``, and the journal names it, so that it is tracked.
"""

from pathlib import Path

import numpy as np

from segshift import pictures
from segshift.prepared import Prepared

EPOCHS, SLICES = 5, 4


def epochs(total: int) -> set[int]:
    """Epochs, counted from 1, that are shown: the first, the last and three between them."""
    return {1 + round(number * (total - 1) / (EPOCHS - 1)) for number in range(EPOCHS)}


def chosen(prepared: Prepared, split: str = "validation") -> dict[int, str]:
    """Index in a split -> caption of the slices that are shown.

    They are spread over the volumes and, within each, over the slices that show any class at all.
    """
    volumes, counts = prepared.volumes(split), prepared.counts(split)
    firsts = np.cumsum([0, *(volume.slices for volume in volumes)])
    at = [round(number) for number in np.linspace(0, len(volumes) - 1, SLICES)]
    found = {}
    for volume in sorted(set(at)):
        shows = np.flatnonzero(counts[volume][:, 1:].sum(1))
        shows = shows if len(shows) else np.arange(volumes[volume].slices)
        number = at.count(volume)
        for place in range(number):
            z = int(shows[(place + 1) * len(shows) // (number + 1)])
            found[int(firsts[volume]) + z] = f"{volumes[volume].id}, slice {z}"
    return found


def write(
    folder: Path,
    epoch: int,
    title: str,
    shown: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    classes: int,
) -> Path:
    """The picture of an epoch: for each caption a row of image, truth, prediction and error."""
    rows = [(caption, pictures.compared(*slices, classes)) for caption, slices in shown.items()]
    file = folder / "snapshots" / f"epoch-{epoch:04d}.png"
    pictures.save(pictures.sheet(title, rows, pictures.COMPARED), file)
    return file
