"""Batches of training slices out of worker processes, handed over in memory that both sides see.

Through a pipe a batch costs a worker and the training several times what reading and augmenting it does.
"""

import math
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
        self.given: list[tuple[np.ndarray, Place]] = []

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is not forked gets no memory, and hands arrays over as they are."""
        return self.__dict__ | {"memory": None}

    def begin(self) -> None:
        """In a worker, before each batch: the next slot."""
        self.turn, self.given = (self.turn + 1) % self.slots, []

    def room(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """In a worker: an array to be filled, in the slot, or elsewhere where it does not fit."""
        worker, dtype = get_worker_info(), np.dtype(dtype)
        used = sum(array.nbytes for array, _ in self.given)
        if worker is None or self.memory is None or used + math.prod(shape) * dtype.itemsize > self.size:
            return np.empty(shape, dtype)
        place = Place((worker.id * self.slots + self.turn) * self.size + used, shape, dtype)
        self.given.append((self._view(place), place))
        return self.given[-1][0]

    def put(self, batch: Drawn) -> Drawn:
        """In a worker: a batch with places instead of those of its arrays that lie in the slot."""
        places = {
            name: place
            for name in ("images", "labels")
            for array, place in self.given
            if getattr(batch, name) is array
        }
        return batch._replace(**places)

    def take(self, batch: Drawn, pin: bool) -> Drawn:
        """In the training: a batch with tensors of its own instead of its places, pinned for a GPU."""
        taken = {}
        for name in ("images", "labels"):
            if isinstance(place := getattr(batch, name), Place):
                view = torch.from_numpy(self._view(place))
                taken[name] = torch.empty_like(view, pin_memory=pin).copy_(view)
        return batch._replace(**taken)

    def _view(self, place: Place) -> np.ndarray:
        count = math.prod(place.shape)
        return np.frombuffer(self.memory, place.dtype, count, place.start).reshape(place.shape)


class Stack:
    """``collate``, in a worker to where the training finds the batch."""

    def __init__(self, move: bool, shared: Shared | None) -> None:
        self.move, self.shared = move, shared

    def __call__(self, items: list[tuple[Any, ...]]) -> Drawn:
        if self.shared is None:
            return collate(items, self.move)
        self.shared.begin()
        return self.shared.put(collate(items, self.move, self.shared.room))


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
