"""Figure A.1: what an untrained backbone sees: principal components of its last block's tokens, as colours.

For each backbone the components are fitted over all shown slices together (thesis, Figure A.1), so that one
colour means the same in all of them.
"""

import numpy as np
import torch
from matplotlib.figure import Figure

from segshift import model as models
from segshift import pictures
from segshift.figures import draw
from segshift.figures.drawn import Slice
from segshift.figures.drawn import draw as draw_slice
from segshift.figures.entries import Features
from segshift.grid import Grid
from segshift.paths import Results
from segshift.prepared import Prepared
from segshift.slices import channels, crop
from segshift.tables.table import named

SIDE = 1.9  # inches of a picture


def make(figure: Features, grid: Grid, results: Results, device: torch.device) -> tuple[Figure, str]:
    """The figure and its caption: a line a backbone, a column a dataset, the slices above.

    Raises:
        SegShiftError: weights or a dataset are not there.
    """
    labels = grid.config.labels
    shown = [draw_slice(Prepared(results.data(name)), figure.seed) for name in figure.datasets]
    lines = [colours(tokens(name, shown, grid, results, device)) for name in figure.backbones]
    with draw.settings():
        size = (SIDE * len(shown), (SIDE + 0.2) * (1 + len(lines)))
        drawn = Figure(figsize=size, layout="constrained")
        axes = drawn.subplots(1 + len(lines), len(shown), squeeze=False)
        for column, (one, name) in enumerate(zip(shown, figure.datasets, strict=True)):
            axes[0, column].imshow(pictures.gray(one.image))
            axes[0, column].set_title(named("dataset", name, labels))
            for line, found in enumerate(lines, 1):
                axes[line, column].imshow(found[column], interpolation="nearest")
        for axis in axes.ravel():
            axis.set_xticks([])
            axis.set_yticks([])
        for line, name in enumerate(("input", *(named("backbone", one, labels) for one in figure.backbones))):
            axes[line, 0].set_ylabel(name)
    told = ", ".join(
        f"{named('dataset', name, labels)}: {one.volume}, slice {one.place}"
        for name, one in zip(figure.datasets, shown, strict=True)
    )
    what = "The first three principal components of the last block's patch tokens as red, green and blue, "
    what += f"fitted over the shown slices together; untrained. {told}."
    return drawn, f"{figure.title}. {what}" if figure.title else what


@torch.inference_mode()
def tokens(
    name: str, shown: list[Slice], grid: Grid, results: Results, device: torch.device
) -> list[np.ndarray]:
    """The last block's map (h, w, channels) of each slice, of a backbone as its weights left it."""
    entry = grid.config.backbones[name]
    plain = entry.model_dump(exclude_unset=True, exclude={"planned", "neck"})
    digests = {entry.weights: grid.config.weights[entry.weights].sha256} if entry.weights else {}
    backbone = models.pretrained(plain, digests, results)
    backbone.use([backbone.last])
    backbone.to(device).eval()
    multiple = backbone.maps[backbone.last].stride if plain.get("crop") == "patch" else 1
    found = []
    for one in shown:
        images = channels(crop(torch.from_numpy(one.image)[None], multiple)).to(device)
        (maps,) = backbone(images.expand(-1, 3, -1, -1), [backbone.last])  # (1, C, h, w)
        found.append(maps[0].permute(1, 2, 0).float().cpu().numpy())
    return found


def colours(maps: list[np.ndarray]) -> list[np.ndarray]:
    """Maps (h, w, C) as pictures (h, w, 3) in [0, 1]: the first three principal components of all tokens.

    A component's sign is that of its largest weight, and each is scaled between its 1st and 99th percentile.
    """
    tokens = np.concatenate([one.reshape(-1, one.shape[-1]) for one in maps]).astype(np.float64)
    centred = tokens - tokens.mean(0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = directions[:3]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    values = centred @ (directions * np.sign(largest)[:, None]).T  # (tokens, 3)
    low, high = np.percentile(values, [1, 99], axis=0)
    scaled = np.clip((values - low) / np.where(high > low, high - low, 1), 0, 1)
    ends = np.cumsum([one.shape[0] * one.shape[1] for one in maps])[:-1]
    return [part.reshape(*one.shape[:2], -1) for part, one in zip(np.split(scaled, ends), maps, strict=True)]
