"""Batches out of workers: the same whoever makes them, and nobody writes over one that is in use."""

import json
import pickle
from collections import namedtuple

import h5py
import numpy as np
import pytest
import torch

from segshift.loading import Loader, Shared
from segshift.prepared import Prepared, PreparedVolume, VolumeInfo, total_digest
from segshift.slices import Draw, Positions, TrainingSlices, augmented, collate, tensors

RECIPE = {"elastic": {"probability": 0.5}, "structural": {"probability": 0.5}, "photometric": {}}
SLICES, SIZE, BATCH = 60, (48, 40), 4  # a batch is more than a page of memory


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    """Sixty training slices of noise with three classes."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    entries = {}
    for split in ("train", "validation", "test"):
        shape = (SLICES if split == "train" else 1, *SIZE)
        image = random.random(shape).astype(np.float16)
        label = random.integers(0, 3, shape).astype(np.uint8)
        counts = np.array([np.bincount(one.ravel(), minlength=3) for one in label], np.uint32)
        info = VolumeInfo(split, split, shape[0], SIZE, (1.0,) * 3, np.eye(4), shape, np.eye(4))
        with h5py.File(folder / f"{split}.h5", "w") as file:
            entries[split] = [PreparedVolume(info, image, label, counts).write(file)]
    manifest = {"sha256": total_digest(entries), "classes": ["background", "one", "two"]}
    manifest["splits"] = {split: {"volumes": volumes} for split, volumes in entries.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return TrainingSlices(Prepared(folder), ["train"], ["train"], RECIPE, seed=0)


def loader(slices, workers, device="cpu"):
    return Loader(slices, Positions(slices, "uniform", BATCH, lambda: 0), workers, torch.device(device))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_augment_and_change_no_bit_of_a_batch_that_is_still_held(slices, workers):
    alone = list(loader(slices, 0))
    held = list(loader(slices, workers))  # fifteen batches, more than there are slots
    assert len(held) == len(alone) == SLICES // BATCH
    for one, other in zip(alone, held, strict=True):
        assert other.moved and isinstance(other.images, torch.Tensor)
        assert other.images.dtype == torch.float32 and other.labels.dtype == torch.uint8
        one, other = tensors(one), tensors(other)
        assert one.indices == other.indices
        for mine, theirs in zip(augmented(one), augmented(other), strict=True):
            assert torch.equal(mine, theirs)


def test_for_a_gpu_slices_leave_as_they_are_stored_and_are_augmented_to_the_same_there(slices):
    for here, there in zip(loader(slices, 0), loader(slices, 0, "cuda"), strict=True):
        assert there.images.dtype == np.float16 and not there.moved
        pairs = zip(augmented(tensors(here)), augmented(tensors(there)), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("move", [False, True])
def test_arrays_that_do_not_fit_or_a_worker_without_the_memory_are_handed_over(slices, monkeypatch, move):
    items = [slices[Draw(0, place, place)] for place in range(BATCH)]
    batch = collate(items, move)
    monkeypatch.setattr("segshift.loading.get_worker_info", lambda: namedtuple("Worker", "id")(1))
    all_of_it, labels = batch.images.nbytes + batch.labels.nbytes, batch.labels.nbytes
    for size, memory, inside in (
        (all_of_it, True, {"images", "labels"}),
        (all_of_it - 1, True, {"images"}),
        (labels, True, {"labels"}),
        (labels - 1, True, set()),
        (all_of_it, False, set()),
    ):
        shared = Shared(2, size)
        shared.size = size  # not rounded up to whole pages
        shared = shared if memory else pickle.loads(pickle.dumps(shared))
        shared.begin()
        sent = shared.put(collate(items, move, shared.room))
        for name in ("images", "labels"):
            assert isinstance(getattr(sent, name), np.ndarray) == (name not in inside)
        taken = shared.take(sent, pin=False)
        for name in ("images", "labels"):
            assert isinstance(getattr(taken, name), torch.Tensor) == (name in inside)
            assert np.array_equal(getattr(taken, name), getattr(batch, name))
