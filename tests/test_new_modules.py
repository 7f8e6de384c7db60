"""A backbone, a head and a tuning of one's own: one file and one entry each, and nothing else is touched.

The package is copied, three files are put beside its own, and a grid uses them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segshift

FILES = {
    "backbones/own_pool.py": '''
"""One convolution with a stride."""

from torch import nn

from segshift.contracts import Backbone, Map
from segshift.layers.images import Prepare

EXAMPLE = {"image_size": 8}


class Pool(Backbone):
    def __init__(self, image_size, width, stride):
        super().__init__()
        self.image_size = image_size
        self.prepare = Prepare(image_size, "none", "own_pool")
        self.convolution = nn.Conv2d(3, width, stride, stride)
        side = image_size // stride
        self.maps = [Map(width, stride, (side, side))]
        self.early = self.last = 0
        self.blocks = [self.convolution]

    def forward(self, images, taps):
        features = self.convolution(self.prepare(images)).relu()
        return [features for _ in taps]


def build(*, image_size, width=4, stride=2):
    return Pool(image_size, width, stride)
''',
    "tunings/own_biases.py": '''
"""The biases of convolutions learn, nothing else."""

from torch import nn

from segshift.contracts import freeze

EXAMPLE = {}


def build(backbone, *, side=None):
    freeze(backbone)
    for part in backbone.modules():
        if isinstance(part, nn.Conv2d) and part.bias is not None:
            part.bias.requires_grad_(True)
    return backbone
''',
    "heads/own_probe.py": '''
"""One convolution on the last map."""

from torch import nn

from segshift.contracts import Head

EXAMPLE = {}


class Probe(Head):
    def __init__(self, channels, classes, kernel):
        super().__init__()
        self.classify = nn.Conv2d(channels, classes, kernel, padding=kernel // 2)

    def forward(self, maps):
        return [self.classify(maps[0])]


def taps(backbone):
    return [backbone.last]


def build(maps, classes, *, kernel=1):
    return Probe(maps[0].channels, classes, kernel)
''',
}
ENTRIES = {
    "backbones": "tiny_pool: {module: own_pool, image_size: 16, stride: 4}",
    "tunings": "biases: {module: own_biases}",
    "heads": "probe_3: {module: own_probe, kernel: 3}",
    "experiments": """mine:
  title: Modules of my own
  grid: {source: [t1_a], backbone: [tiny_pool], tuning: [biases], head: [probe_3]}
""",
}
TRIED = """
import json, torch
from segshift import grid, model
from segshift.paths import Results

expanded = grid.read("config")
(path,) = [path for path in expanded.jobs if path.startswith("t1_a/tiny_pool/biases/probe_3/")]
(built,) = model.build([expanded.settings(expanded.jobs[path])], Results("results"))
(logits,) = built(torch.rand(2, 1, 32, 32))
logits.square().mean().backward()
print(json.dumps({
    "shape": list(logits.shape),
    "learns": [name for name, one in built.named_parameters() if one.grad is not None],
    "file": model.__file__,
}))
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory, request):
    """A folder with a copy of the package, the three files in it, and a small grid with their entries."""
    folder = tmp_path_factory.mktemp("mine")
    package = folder / "src" / "segshift"
    shutil.copytree(Path(segshift.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in FILES.items():
        (package / name).write_text(text.lstrip())
    shutil.copytree(request.config.rootpath / "tests" / "workflow" / "micro", folder / "config")
    for name, text in ENTRIES.items():
        with (folder / "config" / f"{name}.yaml").open("a") as file:
            file.write(f"\n{text}\n")
    return folder


def run(folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_three_files_and_entries_are_a_model(mine):
    done = run(mine, "-c", TRIED)
    assert done.returncode == 0, done.stderr
    assert str(mine) in done.stdout  # the copy was used
    assert '"shape": [2, 5, 32, 32]' in done.stdout
    assert (
        '"learns": ["backbone.convolution.bias", "head.classify.weight", "head.classify.bias"]' in done.stdout
    )


def test_their_parameters_are_known_without_running_them(mine):
    file = mine / "config" / "heads.yaml"
    before = file.read_text()
    file.write_text(before.replace("kernel: 3", "kernal: 3"))
    done = run(mine, "-m", "segshift", "cells")
    file.write_text(before)
    assert done.returncode == 1
    assert "heads.yaml: probe_3: unknown key 'kernal'; did you mean 'kernel'" in done.stderr
