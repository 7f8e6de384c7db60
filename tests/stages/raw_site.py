"""A small dataset of raw HDF5 stacks, with what prepares it."""

import h5py
import numpy as np
import yaml

from segshift.prepared import Prepared
from segshift.stages import prepare

SETTINGS = {
    "dataset": "toy",
    "anatomy": "brain",
    "classes": ["background", "thalamus", "stem"],
    "modality": "T1w",
    "plane": "axial",
    "patients": "pool",
    "splits": None,
    "labels": {0: "background", 4: "thalamus", 9: "stem", 10: "stem"},
    "preprocess": ["percentile", {"resample": {"pixel": 0.5}}, {"crop_pad": {"size": [12, 16]}}],
    "lost_labels": 0.4,  # 16 rows of half a voxel do not fit into 12
    "reader": {"module": "hdf5_stack", "files": {s: f"{s}.hdf5" for s in ("train", "validation", "test")}},
}
COUNTS = {"train": 3, "validation": 1, "test": 2}


class Site:
    """A raw folder and a results folder, to be damaged."""

    def __init__(self, root):
        self.raw, self.results = root / "raw", root / "results"
        self.folder = self.results / "data" / "toy"
        self.raw.mkdir()
        self.folder.mkdir(parents=True)
        for number, (split, count) in enumerate(COUNTS.items()):
            random = np.random.default_rng(number)
            with h5py.File(self.raw / f"{split}.hdf5", "w") as content:
                content["images"] = random.normal(100, 9, (2 * count, 8, 7)).astype(np.float32)
                content["labels"] = random.choice([0, 4, 9, 10], (2 * count, 8, 7)).astype(np.uint8)
                content["nz"] = [2] * count
        self.settings()

    def settings(self, **changes):
        (self.folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | changes, sort_keys=False))

    def change(self, split, index, value, key="images"):
        with h5py.File(self.raw / f"{split}.hdf5", "r+") as content:
            content[key][index] = value

    def images(self, split, index):
        with h5py.File(self.raw / f"{split}.hdf5") as content:
            return content["images"][index]

    def add(self, split, **keys):
        with h5py.File(self.raw / f"{split}.hdf5", "r+") as content:
            for key, values in keys.items():
                content[key] = np.array(values, float)

    def run(self, **more):
        prepare.run("toy", self.results, self.raw, **more)
        return Prepared(self.folder)

    def files(self):
        return {
            file.name: file.read_bytes() for file in self.folder.iterdir() if file.name != "settings.yaml"
        }
