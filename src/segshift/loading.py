"""Batches of training slices out of worker processes, handed over in memory that both sides see.

Through a pipe a batch costs a worker and the training several times what reading and augmenting it does.
"""

import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from segshift.slices import Draw, Drawn, Positions, TrainingSlices, collate

AHEAD = 2  # batches that each worker has begun before they are asked for


class Place(NamedTuple):
    """An array in shared memory."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Shared:
    """Memory that forked workers write batches into, and the training copies them out of.

    Each worker has its own slots and takes them in turn. It never has more batches begun or waiting than
    ``AHEAD``, and one may be about to be copied, so none is written over before.

    Args:
        workers: how many processes there are.
        size: bytes of the largest batch.
    """

    def __init__(self, workers: int, size: int) -> None:
        self.size, self.slots, self.turn = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, AHEAD + 2, 0
        self.memory: mmap.mmap | None = mmap.mmap(-1, workers * self.slots * self.size)

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is not forked gets no memory, and hands arrays over as they are."""
        return self.__dict__ | {"memory": None}

    def put(self, batch: Drawn) -> Drawn:
        """In a worker: a batch with places instead of its arrays, or the same where they do not fit."""
        worker = get_worker_info()
        if worker is None or self.memory is None or batch.images.nbytes + batch.labels.nbytes > self.size:
            return batch
        start = (worker.id * self.slots + self.turn) * self.size
        self.turn = (self.turn + 1) % self.slots
        images = Place(start, batch.images.shape, batch.images.dtype)
        labels = Place(start + batch.images.nbytes, batch.labels.shape, batch.labels.dtype)
        for place, array in ((images, batch.images), (labels, batch.labels)):
            np.copyto(self._view(place), array)
        return batch._replace(images=images, labels=labels)

    def take(self, batch: Drawn, pin: bool) -> Drawn:
        """In the training: a batch with tensors of its own instead of its places, pinned for a GPU."""
        if not isinstance(batch.images, Place):
            return batch
        taken = {}
        for name in ("images", "labels"):
            view = torch.from_numpy(self._view(getattr(batch, name)))
            taken[name] = torch.empty_like(view, pin_memory=pin).copy_(view)
        return batch._replace(**taken)

    def _view(self, place: Place) -> np.ndarray:
        count = int(np.prod(place.shape))
        return np.frombuffer(self.memory, place.dtype, count, place.start).reshape(place.shape)


class Stack:
    """``collate`` of a worker, which puts the batch where the training finds it."""

    def __init__(self, move: bool, shared: Shared | None) -> None:
        self.move, self.shared = move, shared

    def __call__(self, items: list[tuple[Any, ...]]) -> Drawn:
        batch = collate(items, self.move)
        return self.shared.put(batch) if self.shared else batch


class Loader(DataLoader):
    """The batches of what is left of an epoch.

    Args:
        slices: what is drawn from.
        positions: what is drawn.
        workers: processes that read; no bit of a batch depends on their number.
        device: where batches go. For a CPU slices are augmented here, as far as ``augment.move`` does.
    """

    def __init__(
        self, slices: TrainingSlices, positions: Positions, workers: int, device: torch.device
    ) -> None:
        move, self.pin, self.shared = device.type == "cpu", device.type == "cuda", None
        if workers:
            image, label, *_ = slices[Draw(0, 0, 0)]
            bytes_of_slice = image.size * (4 if move else image.itemsize) + label.nbytes
            self.shared = Shared(workers, positions.batch_size * bytes_of_slice)
        super().__init__(
            slices, batch_sampler=positions, collate_fn=Stack(move, self.shared), num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Drawn]:
        for batch in super().__iter__():
            yield self.shared.take(batch, self.pin) if self.shared else batch
