"""A prepared dataset of noise and boxes, for benchmarks."""

import json
from pathlib import Path

import h5py
import numpy as np

from segshift.prepared import SPLITS, Prepared, PreparedVolume, VolumeInfo, total_digest


def prepared(folder: Path, volumes: dict[str, int], slices: int, size: int, classes: int) -> Prepared:
    """Write it: so many volumes of a split, each of ``slices`` slices of ``size`` × ``size`` pixels."""
    random, splits = np.random.default_rng(0), {}
    folder.mkdir(parents=True)
    shape = (slices, size, size)
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        label[:, number * size // (classes + 1) :, size // 8 : -size // 8] = number
    counts = np.stack([(label == one).sum((1, 2)) for one in range(classes)], 1).astype(np.uint32)
    for split in SPLITS:
        splits[split] = []
        with h5py.File(folder / f"{split}.h5", "w") as file:
            for number in range(volumes.get(split, 1)):
                image = random.random(shape, dtype=np.float32).astype(np.float16)
                name, space = f"{split}_{number:03d}", (1.0, 1.0, 1.0)
                info = VolumeInfo(name, name, slices, shape[1:], space, np.eye(4), shape, np.eye(4))
                splits[split].append(PreparedVolume(info, image, label, counts).write(file))
    content = {"sha256": total_digest(splits), "classes": [f"class {one}" for one in range(classes)]}
    content["splits"] = {split: {"volumes": entries} for split, entries in splits.items()}
    (folder / "manifest.json").write_text(json.dumps(content))
    return Prepared(folder)
