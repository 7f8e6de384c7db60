"""What it would cost to train one model on a dataset: from finished cells, else from a short probe."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results

if TYPE_CHECKING:
    import torch

    from segshift import model as models

STEPS = 2  # that are timed, after one that is not


@dataclass(frozen=True)
class Cost:
    """``slices`` of an epoch, ``epochs``, seconds in all, and where they come from."""

    model: str
    slices: int
    epochs: int
    seconds: float
    basis: str

    def lines(self) -> list[str]:
        """For people."""
        passes = self.slices * self.epochs
        return [
            f"training {self.model} on it: {self.slices} slices × {self.epochs} epochs = {passes} slices, "
            f"about {duration(self.seconds)}",
            f"  ({self.basis})",
        ]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, two digits."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} seconds"


def estimate(grid: Grid, results: Results, model: Model, slices: int, size: tuple[int, int]) -> Cost:
    """The cost of one cell.

    Args:
        grid: with the dataset in it.
        results: where finished cells of the same backbone, tuning and head are looked for.
        model: the cell.
        slices: of the training split.
        size: rows and columns of a slice.

    Raises:
        SegShiftError: the model cannot be built.
    """
    settings = grid.settings(model)
    epochs = settings["training"]["epochs"]
    name = f"{model.backbone}/{model.tuning}/{model.head}"
    if known := _finished(results, model):
        rate = median(known.values())
        basis = f"{rate:.3g} s a slice and epoch, the median of {len(known)} finished: {', '.join(known)}"
        return Cost(name, slices, epochs, rate * slices * epochs, basis)
    once, rate, device = _probe(settings, size)
    basis = f"a probe of {STEPS} steps on {device} with random weights and images of {size[0]} × {size[1]}: "
    basis += f"{rate:.3g} s a slice and epoch"
    if once:
        basis += f", {once:.3g} s a slice once for features that are kept"
    return Cost(name, slices, epochs, slices * (once + rate * epochs), basis)


def _finished(results: Results, model: Model) -> dict[str, float]:
    """Seconds a slice and epoch of finished cells of the same backbone, tuning and head, by cell."""
    found = {}
    for file in sorted(results.run("").glob(f"*/{model.backbone}/{model.tuning}/{model.head}/*/run.json")):
        source = file.relative_to(results.run("")).parts[0]
        manifest = results.data(source) / "manifest.json"
        try:
            record = json.loads(file.read_text())
            volumes = json.loads(manifest.read_text())["splits"]["train"]["volumes"]
            steps = sum(one["slices"] for one in volumes) * _epochs(file.parent)
            found[f"{record['cell']} on {record['device']}"] = record["device_seconds"] / steps
        except (OSError, ValueError, KeyError, ZeroDivisionError):
            continue  # not of this kind, or its data is gone: no basis
    return found


def _epochs(folder: Path) -> int:
    from segshift.settings import read_settings

    return read_settings(folder)["training"]["epochs"]


def _probe(settings: dict[str, Any], size: tuple[int, int]) -> tuple[float, float, str]:
    """Seconds a slice for features that are computed once, and a slice and epoch for the rest; the device."""
    import torch

    from segshift import model as models
    from segshift.contracts import is_frozen
    from segshift.devices import device as find_device
    from segshift.devices import set_up

    bare = {**settings, "backbone": {**settings["backbone"], "weights": None}}
    bare["head"] = {key: value for key, value in settings["head"].items() if key != "init"}
    if side := settings["tuning"].get("side"):
        bare["tuning"] = {**settings["tuning"], "side": {**side, "weights": None}}
    try:
        (model,) = models.build([bare], Results())
    except SegShiftError as error:
        raise SegShiftError(f"{settings['cell']} cannot be built: {error}") from None
    set_up(settings["training"])  # as a training does
    device = find_device("auto")
    model = model.to(device).train()
    batch = settings["training"]["batch_size"]
    cached = settings["training"].get("cache_features", "none") != "none" and is_frozen(model.backbone)
    images = torch.linspace(0, 1, batch * size[0] * size[1], device=device).view(batch, 1, *size)
    once = 0.0
    if cached:
        once = _time(lambda: _features(model, images), device) / batch
    maps = _features(model, images) if cached else None
    rate = _time(lambda: _step(model, images, maps), device) / batch
    return once, rate, str(device)


def _features(model: models.Segmenter, images: torch.Tensor) -> list[torch.Tensor]:
    import torch

    with torch.no_grad():
        return model.features(images)


def _step(model: models.Segmenter, images: torch.Tensor, maps: list[torch.Tensor] | None) -> None:
    maps = model.features(images) if maps is None else maps
    logits = model.predict(model.decode(maps, images.shape[-2:]))
    logits.square().mean().backward()
    model.zero_grad(set_to_none=True)


def _time(work, device: torch.device) -> float:
    """Seconds of one call, the first one left out."""
    import torch

    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(STEPS):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / STEPS
