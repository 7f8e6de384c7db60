"""What a validation of one model adds up, chunk by chunk, and what comes out of it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from segshift import losses, metrics
from segshift.cell import Cell
from segshift.slices import Chunk
from segshift.watch import Watch


class Validated(NamedTuple):
    """Dice as everywhere (classes, then volumes), loss, Dice of each class over volumes, and the mean
    cross-entropy over all pixels of each class, background first; all None where labels must not be looked
    at."""

    dice: float | None = None
    loss: float | None = None
    by_class: list[float | None] | None = None
    losses: list[float | None] | None = None


class Tally:
    """One validation of one model.

    Args:
        cell: the model.
        volumes: how many the split has.
    """

    def __init__(self, cell: Cell, volumes: int) -> None:
        classes = len(cell.settings["classes"])
        self.cell = cell
        self.confusion = torch.zeros(volumes, classes, classes, dtype=torch.int64)
        self.losses: list[list[float]] = [[] for _ in range(volumes)]
        self.sums = torch.zeros(classes, dtype=torch.float64)  # cross-entropy over the pixels of each class
        self.shown: dict[str, tuple[Any, Any, Any]] = {}  # by caption: image, truth, prediction
        self.watch = Watch(classes) if "adaptation" in cell.settings else None

    def add(self, chunk: Chunk, maps: list[Tensor] | None, captions: dict[int, str]) -> None:
        """Take in some slices.

        Args:
            chunk: the slices.
            maps: the backbone's maps of them, where it is frozen.
            captions: by index in the split, those slices whose prediction is kept for a picture.
        """
        cell = self.cell
        with cell.autocast():
            own = cell.model.features(chunk.images) if maps is None else maps
            outputs = cell.model.decode(own, chunk.images.shape[-2:])
        logits, blind = cell.model.predict(outputs), cell.objective.keep != "best"
        if self.watch:
            pseudo = cell.objective.propose(chunk.images, maps)
            self.watch.add(logits, None if blind else chunk.labels, pseudo)
        if blind:  # it may look at no label of the validation split
            return
        prediction = metrics.prediction(logits)
        for place in range(len(chunk.images)):
            if caption := captions.get(chunk.first + place):
                slices = (chunk.images[place].squeeze(0), chunk.labels[place], prediction[place])
                self.shown[caption] = tuple(one.cpu().numpy() for one in slices)
        matrix = metrics.confusion(prediction, chunk.labels, self.confusion.shape[1])
        self.confusion[chunk.volume] += matrix.cpu()
        self.losses[chunk.volume] += [cell.validation_loss(outputs, chunk.labels)]
        self.sums += losses.class_sums(logits, chunk.labels).cpu()

    def found(self) -> Validated:
        """What came out."""
        if self.cell.objective.keep != "best":
            return Validated()
        tables = [metrics.counts(matrix) for matrix in self.confusion]
        dice = metrics.mean(metrics.volume_dice(table) for table in tables)
        loss = metrics.mean(value for volume in self.losses for value in volume)
        classes = range(1, self.confusion.shape[1])
        by_class = [metrics.mean(metrics.dice(*map(int, table[c])) for table in tables) for c in classes]
        pixels = self.confusion.sum((0, 2)).tolist()
        of_classes = [some / n if n else None for some, n in zip(self.sums.tolist(), pixels, strict=True)]
        return Validated(dice, loss, by_class, of_classes)
