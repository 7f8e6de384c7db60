"""Networks that were trained on one of two datasets and tested on both, and what is known of their scores."""

import math
from itertools import product

import pytest
import yaml

from segshift.grid import Model, Score
from segshift.tables.asked import Tracked
from segshift.tables.table import Evidence, Volume

DATA = {
    "module": "hdf5_stack",
    "files": {"train": "a.h5", "validation": "b.h5", "test": "c.h5"},
    "modality": "T1",
    "plane": "axial",
    "anatomy": "brain",
}


@pytest.fixture
def two_datasets():
    """A function that writes a configuration of backbones on the datasets `one` and `two`, experiment `x`."""

    def write(folder, backbones, seeds, classes=("0", "1"), data=(), experiment=(), **more):
        axes = {"source": ["one"], "backbone": list(backbones), "tuning": ["full"], "head": ["own"]}
        content = {
            "project": {"seeds": list(seeds)},
            "anatomies": {"brain": {"classes": list(classes)}},
            "datasets": {name: DATA | dict(data) for name in ("one", "two")},
            "backbones": {name: {"module": "unet", "image_size": 32} for name in backbones},
            "tunings": {"full": {"module": "full"}},
            "heads": {"own": {"module": "own"}},
            "adaptations": {},
            "weights": {},
            "training": [{"use": {"learning_rate": 0.01, "epochs": 1, "batch_size": 2}}],
            "experiments": {"x": {"title": "X", "grid": axes, **dict(experiment)}},
            "labels": {},
        } | more
        folder.mkdir(exist_ok=True)
        for name, part in content.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(part, sort_keys=False))
        return folder

    return write


@pytest.fixture
def evidence():
    """A function from Dice (backbone, seed, target, patient) to what tracking knows of these models."""

    def known(values, backbones, seeds, volumes=True):
        found = {}
        for (b, name), (s, seed), (t, target) in product(
            enumerate(backbones), enumerate(seeds), enumerate(("one", "two"))
        ):
            model = Model("one", name, "full", "own", seed)
            own = tuple(Volume(f"v{p}", f"p{p}", float(dice)) for p, dice in enumerate(values[b, s, t]))
            mean = math.fsum(volume.dice for volume in own) / len(own)
            found[Score(model, target)] = Evidence(model.path, target, mean, own if volumes else ())
        return Tracked(found, {}, {})

    return known
