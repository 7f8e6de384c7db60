"""Figure 4.1: input, truth, and what models of the target, of another source and adapted to it predict."""

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from segshift import inference, pictures
from segshift.errors import SegShiftError
from segshift.figures import draw
from segshift.figures.drawn import Slice
from segshift.figures.drawn import draw as draw_slice
from segshift.figures.entries import Example, Examples, models
from segshift.grid import Grid, Model
from segshift.metrics import dice
from segshift.paths import Results
from segshift.prepared import Prepared
from segshift.scores import mean
from segshift.settings import read_settings
from segshift.slices import channels, crop
from segshift.tables.table import named, rounded

COLUMNS = {"DS": "trained on it (DS)", "DG": "trained elsewhere (DG)", "adapted": "adapted"}
SIDE = 1.7  # inches of a picture


def make(figure: Examples, grid: Grid, results: Results, device: torch.device) -> tuple[Figure, str]:
    """The figure and its caption.

    Raises:
        SegShiftError: a model or dataset that it shows is not there.
    """
    lines = [_line(one, figure.seed, grid, results, device) for one in figure.rows]
    columns = ["input", "truth", *(name for name in COLUMNS if any(name in found for _, found in lines))]
    with draw.settings():
        size = (SIDE * (len(columns) + 0.9), (SIDE + 0.25) * len(lines))
        drawn = Figure(figsize=size, layout="constrained")
        axes = drawn.subplots(len(lines), len(columns), squeeze=False)
        for line, (own, one) in enumerate(zip(lines, figure.rows, strict=True)):
            _draw(axes[line], columns, own, _name(one, grid), grid, one, first=line == 0)
    told = [_told(one, shown, grid) for one, (shown, _) in zip(figure.rows, lines, strict=True)]
    return (
        drawn,
        f"{figure.title}{'. ' if figure.title else ''}Dice of the shown slice in %. {' '.join(told)}",
    )


def _line(
    one: Example, seed: int, grid: Grid, results: Results, device: torch.device
) -> tuple[Slice, dict[str, np.ndarray]]:
    """The slice of a line, and each model's prediction (H, W)."""
    shown = draw_slice(Prepared(results.data(one.target)), seed)
    found = {}
    for what, model in models(one, grid).items():
        found[what] = predict(model, shown.image, results, device)
    return shown, found


@torch.inference_mode()
def predict(model: Model, image: np.ndarray, results: Results, device: torch.device) -> np.ndarray:
    """Class indices (H, W) of a slice (H, W) or (3, H, W); what the model's crop cuts off is background.

    Raises:
        SegShiftError: the model is not trained.
    """
    folder = results.run(model.path)
    if not (folder / "settings.yaml").exists():
        raise SegShiftError(f"{model.path} is not trained: it has no settings.yaml")
    (checkpoint, *_) = inference.load(folder, read_settings(folder), results, device)
    segmenter = checkpoint.model
    sides, multiple = image.shape[-2:], segmenter.crop
    images = channels(crop(torch.from_numpy(image)[None], multiple)).to(device)
    inner = segmenter.predict(segmenter(images)).argmax(1)[0].cpu().numpy().astype(np.uint8)
    label = np.zeros(sides, np.uint8)
    top, left = (side % multiple // 2 for side in sides)
    label[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return label


def slice_dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> float | None:
    """Dice of a slice in %, the mean over the foreground classes that either shows."""
    found = []
    for number in range(1, classes):
        one, other = prediction == number, truth == number
        counts = int((one & other).sum()), int((one & ~other).sum()), int((~one & other).sum())
        if (value := dice(*counts)) is not None:
            found.append(value)
    return mean(found) if found else None


def _draw(
    axes: Any, columns: list[str], own: tuple[Slice, dict], name: str, grid: Grid, one: Example, first: bool
) -> None:
    shown, found = own
    names = grid.config.anatomies[grid.config.datasets[one.target].anatomy].classes
    for axis, column in zip(axes, columns, strict=True):
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set_visible(False)
        label = {"input": None, "truth": shown.label}.get(column, found.get(column))
        if column in COLUMNS and label is None:
            continue
        picture = (
            pictures.gray(shown.image) if label is None else pictures.filled(shown.image, label, len(names))
        )
        axis.imshow(picture, interpolation="nearest")
        if first:
            axis.set_title(COLUMNS.get(column, column))
        if column in COLUMNS and (value := slice_dice(label, shown.label, len(names))) is not None:
            axis.set_xlabel(f"Dice {rounded(value, 1)}")
    axes[0].set_ylabel(name)
    colours = pictures.palette(len(names)) / 255
    keys = [Patch(color=colour, label=text) for colour, text in zip(colours[1:], names[1:], strict=True)]
    axes[-1].legend(handles=keys, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=6, frameon=False)


def _name(one: Example, grid: Grid) -> str:
    labels = grid.config.labels
    return f"{named('dataset', one.target, labels)}\n{named('backbone', one.row.backbone, labels)}"


def _told(one: Example, shown: Slice, grid: Grid) -> str:
    labels = grid.config.labels
    adapted = f", adapted by {named('adapt', one.adapt, labels)}" if one.adapt else ""
    names = [named(axis, getattr(one.row, axis), labels) for axis in one.row._fields]
    where = f"{named('dataset', one.target, labels)}: {shown.volume}, slice {shown.place}"
    return f"{where}, {' · '.join(names)}; DG from {named('dataset', one.source, labels)}{adapted}."
