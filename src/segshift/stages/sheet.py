"""`segshift show CELL`: one picture of what a model really sees, before or after it is trained.

The first slices that it draws, as prepared; what the backbone makes of them at its entrance (resized and
normalized); the same draws augmented, as the loss sees them, with the contours of their labels; and how often
its sampling shows each class. No weights are read, only the prepared data.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from segshift import augment, grid, pictures, plugins, sampling, watch
from segshift.errors import SegShiftError
from segshift.layers.images import Prepare
from segshift.paths import Results, locate
from segshift.prepared import Prepared
from segshift.rows import sampling_seed
from segshift.slices import Draw, TrainingSlices, augmented, collate, crop, tensors
from segshift.stages import check
from segshift.stages.settings import parse

DRAWS = 6  # slices of a row


def run(cell: str, config: str | Path, results: Results, out: Path | None = None) -> None:
    """Write the sheet of a cell: `sheet.png` in its folder, or where ``out`` says.

    Raises:
        SegShiftError: no such cell, or its dataset is not prepared.
    """
    expanded = grid.read(config)
    model = parse(expanded, locate(cell, results.root)[1])
    settings = expanded.settings(model)
    if out is not None and out.suffix.lower() != ".png":
        raise SegShiftError(f"{out}: a sheet is a PNG; give it a name that ends in .png")
    file = out or results.run(model.path) / "sheet.png"
    pictures.save(sheet(settings, Prepared(results.data(model.dataset))), file)
    print(file)


def sheet(settings: dict[str, Any], prepared: Prepared) -> Any:
    """The picture."""
    model = check.build(settings)
    slices, how = _slices(settings, model, prepared)
    classes, training = settings["classes"], settings["training"]
    rare = _rare(training)
    order = sampling.order(how, slices.counts, slices.draws, sampling_seed(settings), 0, **rare)
    draws = [Draw(0, position, int(index)) for position, index in enumerate(order[:DRAWS])]
    batch = tensors(collate([slices[draw] for draw in draws]))
    images, labels = (crop(one, model.crop) for one in (batch.images.float(), batch.labels))
    moved, _, bent = augmented(batch)
    moved, bent = crop(moved, model.crop), crop(bent, model.crop)
    places = [slices.slices[draw.index] for draw in draws]
    names = ", ".join(f"{volume.id} slice {z}" for _, volume, z in places)
    rows = [(f"drawn first, as prepared ({_size(images)}): {names}", _contours(images, labels, len(classes)))]
    for what, entrance in _entrances(model):
        seen = entrance(moved.expand(-1, 3, -1, -1))
        rows.append((f"{what}: {_size(seen)}, {_range(seen)}; shown from least to most", _channels(seen)))
    told = "; ".join(_told(one) for one in batch.augmentation)
    outlined = _contours(moved, bent, len(classes))
    rows.append((f"augmented, with the contours of their labels: {told}", outlined))
    rows += _frequencies(slices, order, how, classes, rare)
    title, told = settings["cell"], _budget(settings, model, prepared)
    return pictures.sheet(f"{title} (labelled patients of the target: {told})" if told else title, rows)


def _budget(settings: dict[str, Any], model: nn.Module, prepared: Prepared) -> str:
    """Whose labels of the target an adaptation looks at; nothing for a source training."""
    if "adaptation" not in settings:
        return ""
    objective = plugins.build("adaptations", settings["adaptation"], model)
    patients = [{volume.patient for volume in prepared.volumes(split)} for split in ("train", "validation")]
    labelled = objective.labelled(sorted(patients[0]), sampling_seed(settings))
    return watch.budget(objective, len(labelled), len(patients[1]))


def _rare(training: dict[str, Any]) -> dict[str, Any]:
    names = {"temperature": "sampling_temperature", "minimum": "sampling_pixels"}
    return {name: training[key] for name, key in names.items() if key in training}


def _slices(settings: dict[str, Any], model: nn.Module, prepared: Prepared) -> tuple[TrainingSlices, str]:
    """What is drawn from, as training does, and by which sampling."""
    patients = list(dict.fromkeys(volume.patient for volume in prepared.volumes("train")))
    labelled, used, splits, first = patients, patients, ("train",), None
    if adaptation := settings.get("adaptation"):
        objective = plugins.build("adaptations", adaptation, model)
        labelled = objective.labelled(patients, sampling_seed(settings))
        used, splits = objective.used(patients, labelled), objective.splits
        first = objective.labelled_slices
    recipe = settings["training"].get("augment") or {}
    how = settings["training"].get("sampling", "uniform")
    return TrainingSlices(prepared, used, labelled, recipe, sampling_seed(settings), splits, first), how


def _entrances(model: nn.Module) -> list[tuple[str, Prepare]]:
    """The backbones' own preparation, made anew since the model stands on the meta device."""
    found = []
    for name, part in model.named_modules():
        if isinstance(part, Prepare):
            colours = "bgr" if part.swap else "rgb"
            where = "side network" if "side" in name.split(".") else "backbone"
            what = f"what the {where} gets (normalize: {part.normalize}, resize: {part.method})"
            found.append((what, Prepare(part.grid[0], part.normalize, "sheet", part.method, colours)))
    return found


def _size(images: torch.Tensor) -> str:
    return f"{images.shape[-2]} x {images.shape[-1]}"


def _range(images: torch.Tensor) -> str:
    return f"{images.min():.2f} to {images.max():.2f}, mean {images.mean():.2f}"


def _channels(seen: torch.Tensor) -> list[np.ndarray]:
    """(B, 3, H, W) as colour panels, stretched together from their least to their most."""
    low, high = float(seen.min()), float(seen.max())
    unit = ((seen - low) / max(high - low, 1e-12)).numpy()
    return [np.stack([pictures.gray(channel)[..., 0] for channel in one], -1) for one in unit]


def _contours(images: torch.Tensor, labels: torch.Tensor, classes: int) -> list[np.ndarray]:
    return [
        pictures.contoured(image[0].numpy(), label.numpy().astype(np.uint8), classes)
        for image, label in zip(images, labels, strict=True)
    ]


def _told(drawn: augment.Drawn) -> str:
    """What was drawn for a slice, in a few words."""
    words = []
    if "elastic" in drawn:
        words.append("elastic")
    if "shift" in drawn:
        words.append(f"{drawn['angle']:+.0f} deg x{drawn['zoom']:.2f}")
    if drawn.get("brightness") or drawn.get("contrast", 1.0) != 1.0:
        words.append(f"light {drawn['brightness']:+.2f} x{drawn['contrast']:.2f}")
    if drawn.get("hue") or drawn.get("saturation", 1.0) != 1.0:
        words.append(f"colour {drawn['hue']:+.0f} deg x{drawn['saturation']:.2f}")
    return ", ".join(words) or "as it is"


def _frequencies(
    slices: TrainingSlices, order: np.ndarray, how: str, classes: list[str], rare: dict[str, Any]
) -> list[tuple[str, list[np.ndarray]]]:
    """Bars of each class: its share of pixels, and the share of slices that show it, all and drawn."""
    counts = slices.counts[slices.labelled]
    if not len(counts):
        return [("no label is used, so no class is counted", [])]
    minimum = rare.get("minimum", 4)
    shows = slices.counts >= minimum
    columns = {
        "share of all labelled pixels": (counts / counts.sum(1, keepdims=True)).mean(0),
        f"labelled slices with at least {minimum} of its pixels": shows[slices.labelled].mean(0),
        "draws of one epoch that show it": shows[order].mean(0),
    }
    if how == "rare_class":
        columns["chance that a draw looks for it"] = sampling.class_probabilities(slices.counts, **rare)
    text = f"sampling: {how}; {len(order)} draws an epoch of {len(slices)} slices"
    return [(text, [pictures.bars(classes, columns)])]
