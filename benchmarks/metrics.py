"""Metrics of volumes of 256 × 256 × 256 with 15 classes, beside MONAI's: core-seconds and peak memory.

Truth and prediction are label volumes in memory, so what is measured is counting and distances alone. Each
way runs in a process of its own. ``counts``: Dice and IoU of slices and volume, as `evaluate` counts them;
``surfaces``: HD95, ASSD and NSD beside them. MONAI is given one-hot volumes: of all classes for Dice and IoU,
of one class after the other for surfaces, which are measured on some classes and scaled by their number.
Every volume costs the same, so twenty cost twenty times one.
"""

import subprocess
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path

import numpy as np

SIZE, CLASSES, VOLUMES, SCALED = 256, 15, 20, 4
SPACING = (0.7, 0.7, 0.7)


def labels() -> tuple[np.ndarray, np.ndarray]:
    """A head of 14 structures that fold around each other, and a prediction that is a little off."""
    from scipy import ndimage

    random = np.random.default_rng(0)
    small = ndimage.gaussian_filter(random.random((SIZE // 4,) * 3).astype(np.float32), 3)
    field = ndimage.zoom(small, 4, order=1)
    z, y, x = np.ogrid[:SIZE, :SIZE, :SIZE]
    centre = (SIZE - 1) / 2
    head = ((z - centre) ** 2 + (y - centre) ** 2 * 0.8 + (x - centre) ** 2) < (0.4 * SIZE) ** 2
    edges = np.quantile(small, np.linspace(0, 1, CLASSES)[1:-1])
    found = []
    for shift in (0, 1):
        moved = np.roll(field, shift, axis=1)
        moved[::7] += shift * 0.002
        found.append(((1 + np.digitize(moved, edges)) * head).astype(np.uint8))
    return found[0], found[1]


def ours(truth, prediction, surfaces: bool) -> None:
    """Ours."""
    import torch

    from segshift.surfaces import surfaces as measure
    from segshift.tally import Tally

    tally = Tally(CLASSES)
    for start in range(0, SIZE, 8):
        parts = (torch.from_numpy(one[start : start + 8]) for one in (prediction, truth))
        tally.add(*parts)
    tally.slice_dice()
    if surfaces:
        measure(truth, prediction, CLASSES, SPACING, 1.0)


def theirs(truth, prediction, surfaces: bool) -> None:
    """MONAI's Dice and IoU; with ``surfaces`` its three metrics of a class alone, for some classes."""
    import torch
    from monai import metrics

    def one_hot(label, classes):
        stacked = torch.stack([torch.from_numpy(label == number) for number in classes])
        return stacked.float()[None]

    if not surfaces:
        both = [one_hot(one, range(CLASSES)) for one in (prediction, truth)]
        metrics.compute_dice(*both, include_background=False)
        metrics.compute_iou(*both, include_background=False)
        return
    for number in range(1, 1 + SCALED):
        both = [one_hot(one, [number]) for one in (prediction, truth)]
        options = {"include_background": True, "spacing": list(SPACING)}
        metrics.compute_hausdorff_distance(*both, percentile=95, **options)
        metrics.compute_average_surface_distance(*both, symmetric=True, **options)
        metrics.compute_surface_dice(*both, class_thresholds=[1.0], **options)


def measure(way: str) -> None:
    """One way; prints core-seconds and peak MB above what was there before."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    who, what = way.split()
    if who == "monai":
        import_module("monai.metrics")  # no part of what is measured
    truth, prediction = (np.load(f"{sys.argv[2]}/{name}.npy") for name in ("truth", "prediction"))
    before, started = peak(), time.process_time()
    {"ours": ours, "monai": theirs}[who](truth, prediction, what == "surfaces")
    print(time.process_time() - started, peak() - before)


def peak() -> float:
    """Largest resident memory of this process, MB. (Not ru_maxrss, which a process inherits.)"""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def main() -> None:
    import tempfile

    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, label in zip(("truth", "prediction"), labels(), strict=True):
            np.save(f"{folder}/{name}.npy", label)
        for way in ("ours counts", "ours surfaces", "monai counts", "monai surfaces"):
            command = [sys.executable, __file__, way, folder]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            took, memory = (float(one) for one in printed.split())
            scaled = way == "monai surfaces"
            took *= (CLASSES - 1) / SCALED if scaled else 1
            figures[way] = took, memory
            note = f" (measured on {SCALED} of {CLASSES - 1} classes)" if scaled else ""
            print(
                f"{way}: {took:.1f} core-s a volume, {VOLUMES * took:.0f} for {VOLUMES}, "
                f"{memory:.0f} MB more than before{note}",
                flush=True,
            )
    for what in ("counts", "surfaces"):
        seconds, memory = (figures[f"monai {what}"][i] / figures[f"ours {what}"][i] for i in (0, 1))
        print(f"ratio monai / ours, {what}: {seconds:.1f} in core-seconds, {memory:.1f} in memory")


if __name__ == "__main__":
    measure(sys.argv[1]) if len(sys.argv) == 3 else main()
