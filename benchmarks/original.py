"""Loader and validation against the way of the thesis's code: slices per second, core-seconds and memory.

That way is rebuilt here from a description of what the code does: each slice is augmented by itself on the
CPU, in three equal channels of 0 to 255, with a resampling a transform; in validation, predictions and truths
are made one-hot, kept for a whole volume and compared then. Where the description leaves a choice the faster
one was taken: channels are resampled in two dimensions, without anti-aliasing, and Pillow goes to HSV and
back (saturation and hue are computed there though they do nothing to gray).

First both are given the same draws, one transform at a time, and must come to the same slice; both
validations must come to the same Dice of every class. Then

    python benchmarks/original.py [--slices 256]

prints what each takes: slices a second as seen from the training process, and a core-second of all its
processes together, which other programs on the machine do not change. ``--slices`` is the depth of the
volume in validation; the memory of the original grows with it, ours does not.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import synthetic
import torch
from PIL import Image
from scipy import ndimage
from synthetic import loader_rates
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from segshift import augment, devices
from segshift.loading import Loader
from segshift.slices import Positions, TrainingSlices, augmented, tensors

SIZE, CLASSES, BATCH = 256, 15, 4
TURN = {"ours": 50, "original": 20}  # batches
SLICES = 1000  # of the dataset: as many as ours sees
RECIPE = {
    "elastic": {"probability": 0.25, "sigma": 20, "alpha": 1000},
    # three coins, as that code has, so that both do the same work
    "structural": {"probability": 0.25, "translate": 10, "rotate": 10, "scale": [0.9, 1.1], "separate": True},
    "photometric": {"probability": 0.5, "brightness": 32 / 255, "contrast": [0.5, 1.5]},
}


# ---- the original's augmentation ---------------------------------------------------------------------------


def elastic(image: np.ndarray, label: np.ndarray, field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image (H, W, 3) and label (H, W), each channel at its displaced places."""
    where = np.indices(label.shape) + field
    bent = [ndimage.map_coordinates(image[..., one], where, order=1, mode="reflect") for one in range(3)]
    return np.stack(bent, -1), ndimage.map_coordinates(label, where, order=0, mode="reflect")


def translate(image: np.ndarray, label: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moved = [ndimage.shift(image[..., one], shift, order=1) for one in range(3)]
    return np.stack(moved, -1), ndimage.shift(label, shift, order=0)


def rotate(image: np.ndarray, label: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    turned = [ndimage.rotate(image[..., one], angle, reshape=False, order=1) for one in range(3)]
    return np.stack(turned, -1), ndimage.rotate(label, angle, reshape=False, order=0)


def rescale(image: np.ndarray, label: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Another number of pixels, then the centre, or zeros around it."""
    larger = [ndimage.zoom(image[..., one], factor, order=1) for one in range(3)]
    return _centre(np.stack(larger, -1), label.shape), _centre(
        ndimage.zoom(label, factor, order=0), label.shape
    )


def _centre(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, side in enumerate(shape):
        spare = side - array.shape[axis]
        if spare < 0:
            array = array.take(range(-spare // 2, -spare // 2 + side), axis)
        else:
            around = [(0, 0)] * array.ndim
            around[axis] = spare // 2, spare - spare // 2
            array = np.pad(array, around)
    return array


def light(image: np.ndarray, add: float, factor: float) -> np.ndarray:
    """Brightness and contrast, each clipped and cut to whole numbers."""
    for changed in (lambda one: one + add, lambda one: one * factor):
        image = np.clip(changed(image.astype(np.float32)), 0, 255).astype(np.uint8)
    return image


def colour(image: np.ndarray, factor: float, turn: float) -> np.ndarray:
    """Saturation and hue, of 256 steps, each by a way to HSV and back."""
    for channel, change in ((1, lambda one: np.clip(one * factor, 0, 255)), (0, lambda one: one + turn)):
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., channel] = change(hsv[..., channel].astype(np.float32)).astype(np.int32) % 256
        image = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    return image


class Original(Dataset):
    """Slices of the same file, each read, scaled and augmented by itself."""

    def __init__(self, slices: TrainingSlices) -> None:
        self.slices = slices

    def __len__(self) -> int:
        return SLICES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        random = np.random.default_rng(index)
        image, label = self.slices.image(index % len(self.slices))
        if image.min() >= 0 and image.max() <= 1:
            image = image * 255
        image = np.stack([image] * 3, -1)
        if random.random() < 0.25:
            noise = random.uniform(-1, 1, (2, *label.shape))
            field = np.stack([ndimage.gaussian_filter(one, 20, mode="constant") for one in noise]) * 1000
            image, label = elastic(image, label, field)
        if random.random() < 0.25:
            image, label = translate(image, label, random.uniform(-10, 10, 2))
        if random.random() < 0.25:
            image, label = rotate(image, label, random.uniform(-10, 10))
        if random.random() < 0.25:
            image, label = rescale(image, label, round(random.uniform(0.9, 1.1), 2))
        add = random.uniform(-32, 32) if random.random() < 0.5 else 0
        image = light(image, add, random.uniform(0.5, 1.5) if random.random() < 0.5 else 1)
        if random.random() < 0.5:  # each of both in every second slice costs what both in every second do
            image = colour(image, random.uniform(0.5, 1.5), random.uniform(-18, 18))
        image = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        return torch.from_numpy(image), torch.from_numpy(label.astype(np.int64))


# ---- the same results --------------------------------------------------------------------------------------


def compare() -> None:
    """Each transform with one draw, on a smooth slice: images agree where no border is near."""
    random = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(random.random((SIZE, SIZE)), 6)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    label = (smooth * (CLASSES - 0.01)).astype(np.uint8)
    colour = np.stack([smooth * 255] * 3, -1)
    drawn = augment.draw({"elastic": {"probability": 1}}, 0, 0, 0, (SIZE, SIZE))
    field = augment.displacement(drawn, (SIZE, SIZE)).numpy()
    shift, angle, factor = np.array([7.3, -4.1]), 8.5, 1.07
    still = {"shift": np.zeros(2), "angle": 0.0, "zoom": 1.0}
    # the middle of round(256 · 1.07) pixels, corner on corner, lies half a pixel off where that number is odd
    pixels = round(SIZE * factor)
    off = (pixels - 1) / 2 - (pixels - SIZE) // 2 - (SIZE - 1) / 2
    zoomed = {"shift": np.full(2, off), "zoom": (pixels - 1) / (SIZE - 1)}
    pairs = {
        "elastic": (elastic(colour, label, field), drawn),
        "translation": (translate(colour, label, shift), still | {"shift": shift}),
        "rotation": (rotate(colour, label, angle), still | {"angle": angle}),
        "scale": (rescale(colour, label, factor), still | zoomed),
        "light": ((light(colour, 12, 1.3), label), {"brightness": 12 / 255, "contrast": 1.3}),
    }
    inner = slice(32, -32)
    for name, ((image, mask), one) in pairs.items():
        own = (torch.from_numpy(array)[None] for array in (smooth[None], label))
        found, _, moved = augment.apply(*own, [one])
        apart = np.abs(found[0, 0].numpy() - image[..., 0] / 255)[inner, inner].max()
        same = (moved[0].numpy() == mask)[inner, inner].mean()
        print(f"{name}: images at most {apart:.4f} apart, {100 * same:.2f} % of the labels are the same")
        # light: two roundings to whole numbers; labels: where rounding decides between two pixels
        if apart > (0.011 if name == "light" else 0.002) or same < 0.995:
            sys.exit(f"{name}: not the same")


# ---- loader ------------------------------------------------------------------------------------------------


def loaders(folder: Path) -> None:
    """Both loaders without workers, with one, which has a core of its own on two, and with two."""
    counts = {"train": 2, "validation": 0, "test": 0}
    data = synthetic.prepared(folder, counts, SLICES // 2, SIZE, CLASSES)
    patients = [volume.patient for volume in data.volumes("train")]
    one_coin = RECIPE | {"structural": RECIPE["structural"] | {"separate": False}}
    recipes = {"ours": RECIPE, "ours, one coin (default)": one_coin}
    own = {way: TrainingSlices(data, patients, patients, recipe, 0) for way, recipe in recipes.items()}
    for workers in (0, 1, 2):
        other = DataLoader(Original(own["ours"]), batch_size=BATCH, num_workers=workers)
        ways = {"original": loader_rates.Way(other, lambda batch: batch, TURN["original"])}
        for way, slices in own.items():
            positions = Positions(slices, "rare_class", BATCH, lambda: 0)
            loader = Loader(slices, positions, workers, torch.device("cpu"))
            ways[way] = loader_rates.Way(loader, lambda batch: augmented(tensors(batch)), TURN["ours"])
        found = loader_rates.rates(ways, BATCH)
        theirs = found["original"]
        for way, one in found.items():
            ratio = f"{one.second / theirs.second:.1f}, of core-seconds {one.core / theirs.core:.1f}"
            print(f"{workers} workers, {way}: {one}; ratio to the original {ratio}", flush=True)


# ---- validation --------------------------------------------------------------------------------------------


class Nothing(nn.Module):
    """A backbone that does nothing."""

    def __init__(self) -> None:
        super().__init__()
        from segshift.contracts import Map

        self.maps = [Map(3, 1, (SIZE, SIZE))]

    def forward(self, images: Tensor, taps: Any) -> list[Tensor]:
        """(B, 3, H, W) -> itself."""
        return [images]


class Guess(nn.Module):
    """A head that takes no time: classes from gray values, as logits."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """[(B, 3, H, W)] -> [(B, classes, H, W)]."""
        steps = torch.linspace(-1, 1, CLASSES).reshape(1, -1, 1, 1)
        return [maps[0][:, :1] * steps * 4 - steps**2]

    def predict(self, outputs: list[Tensor]) -> Tensor:
        """The only output."""
        return outputs[-1]


@torch.inference_mode()
def whole_volumes(model: nn.Module, data: Any) -> dict[str, tuple[list[float], float]]:
    """The original's: Dice of every foreground class, smoothed by 1, and the mean loss, by volume.

    As it does, Dice and IoU of every batch beside those of the volume.
    """

    def overlap(prediction: Tensor, truth: Tensor, axes: tuple[int, ...]) -> Tensor:
        both = (prediction * truth).sum(axes)
        sizes = prediction.sum(axes) + truth.sum(axes)
        return torch.stack([(2 * both + 1) / (sizes + 1), (both + 1) / (sizes - both + 1)])

    def one_hot(indices: Tensor) -> Tensor:
        return nn.functional.one_hot(indices, CLASSES).movedim(-1, 1)[:, 1:]

    found = {}
    for volume in data.volumes("test"):
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        loss = 0.0
        for start in range(0, volume.slices, BATCH):
            pairs = [data.slice("test", volume.id, z) for z in range(start, start + BATCH)]
            images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
            images, labels = images[:, None].expand(-1, 3, -1, -1), labels.long()
            logits = model(images)[-1]
            loss += float(nn.functional.cross_entropy(logits, labels)) * len(images)
            prediction, truth = one_hot(logits.softmax(1).argmax(1)), one_hot(labels)
            overlap(prediction, truth, (2, 3)).mean()
            parts[0].append(prediction)
            parts[1].append(truth)
        dice, _ = overlap(*(torch.cat(some) for some in parts), (0, 2, 3))
        found[volume.id] = dice.tolist(), loss / volume.slices
    return found


def ours(model: nn.Module, data: Any) -> dict[str, tuple[list[float], float]]:
    """The same numbers from the rows of a score file."""
    from segshift.inference import Checkpoint
    from segshift.scoring import score

    (rows,) = score(
        [Checkpoint("model", "0" * 16, model, {})], data, "synthetic", "test", torch.device("cpu")
    )
    found = {}
    for volume in data.volumes("test"):
        own = [row for row in rows if row.volume == volume.id]
        counts = [(row.tp, row.fp, row.fn) for row in own if row.tp is not None]
        dice = [(2 * tp + 1) / (2 * tp + fp + fn + 1) for tp, fp, fn in counts]
        found[volume.id] = dice, next(row.loss for row in own if row.loss is not None)
    return found


def validate(way: str, folder: str) -> None:
    """One way in a process of its own; prints its numbers, core-seconds and MB above what was there."""
    from segshift.model import Segmenter
    from segshift.prepared import Prepared

    torch.set_num_threads(1)
    data, model = Prepared(Path(folder)), Segmenter(Nothing(), Guess(), [0]).eval()
    model(torch.zeros(1, 3, SIZE, SIZE))
    before, started = _peak(), time.process_time()
    found = (ours if way == "ours" else whole_volumes)(model, data)
    print([found, time.process_time() - started, _peak() - before])


def _peak() -> float:
    """Largest resident memory of this process, MB."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024


def validations(folder: Path, slices: int) -> None:
    """Both ways on one volume, each in a process of its own."""
    import ast

    synthetic.prepared(folder, {"train": 0, "validation": 0, "test": 1}, slices, SIZE, CLASSES)
    results = {}
    for way in ("ours", "original"):
        command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[way] = ast.literal_eval(printed)
        print(f"validation of {slices} slices, {way}: {results[way][1]:.1f} core-s, {results[way][2]:.0f} MB")
    (own, *mine), (other, *theirs) = results["ours"], results["original"]
    for volume, (dice, loss) in own.items():
        if not np.allclose(dice, other[volume][0], rtol=1e-6) or abs(loss / other[volume][1] - 1) > 1e-5:
            sys.exit(f"{volume}: not the same: {dice}, {loss} and {other[volume]}")
    print(
        f"ratio original / ours: {theirs[0] / mine[0]:.1f} in core-seconds, "
        f"{theirs[1] / mine[1]:.1f} in memory"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slices", type=int, default=256, help="of the volume in validation (default: 256)")
    parser.add_argument("--way", choices=("ours", "original"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        return validate(given.way, given.folder)
    devices.set_up({})  # as a training does
    with tempfile.TemporaryDirectory() as name:
        compare()
        loaders(Path(name) / "loader")
        validations(Path(name) / "validation", given.slices)


if __name__ == "__main__":
    main()
