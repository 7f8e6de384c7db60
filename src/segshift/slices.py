"""Slices of a prepared dataset, on their way into batches. Workers read, draw and, for a CPU, warp; nothing
is random here."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from segshift import augment, sampling
from segshift.errors import SegShiftError
from segshift.prepared import Prepared

CHUNK = 8  # slices that go through a network at once wherever the bits must not depend on anything else


def crop(slices: Tensor, multiple: int) -> Tensor:
    """The centre (..., h, w) of slices (..., H, W), both sides the largest multiples that fit.

    The odd pixel is cut off at the end.

    Raises:
        SegShiftError: a side is shorter than ``multiple``.
    """
    sides = slices.shape[-2:]
    if min(sides) < multiple:
        raise SegShiftError(f"crop: patch: slices of {sides[0]} x {sides[1]} hold no patch of {multiple} px")
    rows, columns = (
        slice(side % multiple // 2, side % multiple // 2 + side - side % multiple) for side in sides
    )
    return slices[..., rows, columns]


def channels(images: Tensor) -> Tensor:
    """Slices (B, H, W) as (B, 1, H, W); those in colour, (B, 3, H, W), as they are."""
    return images if images.ndim == 4 else images.unsqueeze(1)


class Draw(NamedTuple):
    """One draw of an epoch: its place, and the slice that was drawn."""

    epoch: int
    position: int
    index: int


class Drawn(NamedTuple):
    """A batch as the loader hands it over; see ``contracts.Batch`` for shapes.

    For a GPU images are float16 and labels uint8, as they are stored: less to hand over, and ``augmented``
    widens them where they are used. For a CPU they are ``moved`` already, by the workers where there are
    some, and images float32.
    """

    images: np.ndarray | Tensor
    labels: np.ndarray | Tensor
    labelled: np.ndarray | Tensor
    indices: list[int]
    augmentation: list[augment.Drawn]
    moved: bool = False


class Chunk(NamedTuple):
    """Consecutive slices of one volume: (n, 1, H, W) images and (n, H, W) labels.

    ``first`` is the index of the first slice in the split.
    """

    volume: int
    first: int
    images: Tensor
    labels: Tensor


def tensors(batch: Drawn | Chunk, device: torch.device | str = "cpu") -> Drawn | Chunk:
    """A batch with tensors on a device in place of its arrays and tensors; to a GPU while it computes."""
    device = torch.device(device)
    gpu = device.type == "cuda"

    def moved(part: Any) -> Any:
        part = torch.from_numpy(part) if isinstance(part, np.ndarray) else part
        if not isinstance(part, Tensor):
            return part
        pinned = part.pin_memory() if gpu and part.device.type == "cpu" and not part.is_pinned() else part
        return pinned.to(device, non_blocking=gpu)

    return batch._replace(**{name: moved(part) for name, part in batch._asdict().items()})


class TrainingSlices(Dataset):
    """The training slices of some patients, augmented as (seed, epoch, position) say.

    Args:
        prepared: the dataset that is learned from.
        patients: whose slices are drawn.
        labelled: the patients whose labels may be used; others' labels never leave the file.
        recipe: ``augment`` of ``training.yaml``.
        seed: the cell's.
        splits: whose slices there are; of other splits than ``train`` all are drawn, and no label is used.
        first: of each labelled volume only so many slices are labelled; None: all.
    """

    def __init__(
        self, prepared: Prepared, patients: list[str], labelled: list[str], recipe: dict, seed: int,
        splits: Sequence[str] = ("train",), first: int | None = None,
    ) -> None:  # fmt: skip
        self.prepared, self.recipe, self.seed = prepared, recipe, seed
        everyone = [(split, volume) for split in splits for volume in prepared.volumes(split)]
        chosen = [(s, volume) for s, volume in everyone if s != "train" or volume.patient in set(patients)]
        self.slices = [(split, volume, z) for split, volume in chosen for z in range(volume.slices)]
        known = set(labelled)
        self.labelled = np.array(
            [
                split == "train" and volume.patient in known and (first is None or z < first)
                for split, volume, z in self.slices
            ]
        )
        counts = {(s, v.id): c for s in splits
                  for v, c in zip(prepared.volumes(s), prepared.counts(s), strict=True)}  # fmt: skip
        #: Pixels of each class in each slice; none where labels must not be looked at.
        self.counts = np.concatenate([counts[split, volume.id] for split, volume in chosen])
        self.counts[~self.labelled] = 0
        #: An epoch has as many draws as these splits have slices, whichever of them are drawn.
        self.draws = sum(volume.slices for _, volume in everyone)

    def __len__(self) -> int:
        return len(self.slices)

    def image(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Image and label of a slice, as prepared."""
        split, volume, z = self.slices[index]
        return self.prepared.slice(split, volume.id, z)

    def __getitem__(self, draw: Draw) -> tuple[Any, ...]:
        split, volume, z = self.slices[draw.index]
        image, label = self.prepared.stored(split, volume.id, z)
        labelled = bool(self.labelled[draw.index])
        if not labelled:
            label = np.zeros_like(label)
        drawn = augment.draw(self.recipe, self.seed, draw.epoch, draw.position, image.shape[-2:])
        return image, label, labelled, draw.index, drawn


def collate(
    items: list[tuple[Any, ...]], move: bool = False, room: Callable[..., np.ndarray] = np.empty
) -> Drawn:
    """Stack slices into a batch; augmentation parameters stay a list.

    Args:
        items: of ``TrainingSlices``.
        move: apply ``augment.move`` here.
        room: makes the arrays of the batch, of a shape and a type.
    """
    images, labels, labelled, indices, augmentation = zip(*items, strict=True)
    shape = images[0].shape if images[0].ndim == 3 else (1, *images[0].shape)
    # the wider numbers first, where memory is shared: they must lie at multiples of their width
    image = room((len(items), *shape), np.dtype(np.float32) if move else images[0].dtype)
    mask = room((len(items), *labels[0].shape), labels[0].dtype)
    if move:
        before = np.stack(images).reshape(image.shape), np.stack(labels)
        augment.move(
            *map(torch.from_numpy, before), augmentation, (torch.from_numpy(image), torch.from_numpy(mask))
        )
    else:
        np.stack(images, out=image.reshape(len(items), *images[0].shape))
        np.stack(labels, out=mask)
    return Drawn(image, mask, np.array(labelled), list(indices), list(augmentation), move)


def augmented(batch: Drawn) -> tuple[Tensor, Tensor, Tensor]:
    """What ``augment.apply`` makes of a batch of tensors, wherever its first part was done."""
    if not batch.moved:
        return augment.apply(batch.images, batch.labels, batch.augmentation)
    return augment.light(batch.images, batch.augmentation), batch.images, batch.labels.long()


class Positions(Sampler):
    """Batches of draws from the step that comes next; its length says what is left of the epoch.

    Args:
        slices: what is drawn from.
        how: ``sampling`` of ``training.yaml``.
        batch_size: slices of a batch; the last one of an epoch may be smaller.
        done: tells how many steps are finished.
        rare: temperature and minimum of ``sampling.rare_class``, where they are not its own.
    """

    def __init__(
        self, slices: TrainingSlices, how: str, batch_size: int, done: Callable[[], int], **rare: Any
    ) -> None:
        self.slices, self.how, self.batch_size, self.done, self.rare = slices, how, batch_size, done, rare
        self.steps = -(-slices.draws // batch_size)

    def __len__(self) -> int:
        return self.steps - self.done() % self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, first = divmod(self.done(), self.steps)
        where = (self.slices.counts, self.slices.draws, self.slices.seed, epoch)
        order = sampling.order(self.how, *where, **self.rare)
        for start in range(first * self.batch_size, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            yield [Draw(epoch, start + offset, int(index)) for offset, index in enumerate(batch)]


class VolumeChunks(Dataset):
    """The volumes of a split, chunk by chunk, in fixed order; of each slice what ``crop`` leaves.

    Args:
        prepared: a dataset.
        split: one of its splits.
        multiple: see ``crop``.
    """

    def __init__(self, prepared: Prepared, split: str, multiple: int = 1) -> None:
        self.prepared, self.split, self.volumes = prepared, split, prepared.volumes(split)
        self.multiple = multiple
        self.chunks, self.slices = [], 0
        for number, volume in enumerate(self.volumes):
            for start in range(0, volume.slices, CHUNK):
                self.chunks.append((number, start, min(start + CHUNK, volume.slices), self.slices + start))
            self.slices += volume.slices

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, index: int) -> Chunk:
        number, start, stop, first = self.chunks[index]
        pair = self.prepared.stored(self.split, self.volumes[number].id, slice(start, stop))
        images, labels = (crop(torch.from_numpy(array), self.multiple) for array in pair)
        return Chunk(number, first, channels(images.float()), labels.long())
