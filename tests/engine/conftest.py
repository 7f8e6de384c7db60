"""A project in miniature for the training engine: two prepared datasets, tiny networks, and faults.

Trainings that are to die run in a forked process, which costs no import; faults are injected there, so that
production code has no hooks for them.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

from segshift import cli, plugins, tracking, training
from segshift.paths import Results
from segshift.prepared import SPLITS, PreparedVolume, VolumeInfo, total_digest
from segshift.stages import train
from segshift.weights import sha256

SIZE = 32
CLASSES = ["background", "organ", "lesion"]
# Slices of each volume; ten and more are several chunks.
VOLUMES = {"train": (3, 2, 4, 3), "validation": (3, 10), "test": (2, 11)}
VIT = {"module": "timm", "model": "vit_tiny_patch16_224", "image_size": 32,
       "options": {"depth": 2, "embed_dim": 24, "num_heads": 2}}  # fmt: skip
RESNET = {"module": "timm", "model": "resnet10t", "image_size": 32, "options": {"channels": [8, 8, 16, 16]}}
BACKBONES = {
    "unet": {"module": "unet", "image_size": SIZE, "width": 4, "depth": 2},
    "vit": {**VIT, "weights": "tiny"},
    "vit_random": {**VIT, "weights": None, "init_seed": 0, "calibrate": True},
    "resnet_random": {**RESNET, "weights": None, "init_seed": 0, "calibrate": True},
}
ADAPTATIONS = {
    "self_training": {"module": "self_training", "patients": 1, "confidence": 0.4},
    "finetune": {"module": "finetune", "patients": 1},
    "entropy_min": {"module": "entropy_min"},
    "entropy_min_all": {"module": "entropy_min", "split": "all", "scope": "norms"},
    "entropy_min_guard": {"module": "entropy_min", "guard": True},
    "entropy_min_original": {"module": "entropy_min", "original": True},
    "self_training_original": {"module": "self_training", "original": True, "labelled_slices": 2},
    "finetune_guard": {"module": "finetune", "labelled": 1, "guard": True},
    "self_training_late": {"module": "self_training", "labelled": 1, "threshold": "per_class", "refresh": 4},
    "self_training_guard": {"module": "self_training", "labelled": 4, "threshold": 0.5, "guard": True},
    "mean_teacher": {"module": "mean_teacher", "labelled": 3, "threshold": 0.8, "decay": 0.9},
}
AUGMENT = {
    "elastic": {"probability": 0.5, "alpha": 200},
    "structural": {"probability": 0.5},
    "photometric": {"probability": 0.5},
}
TRAINING = {
    "learning_rate": 0.02, "epochs": 3, "batch_size": 2, "warm_up": 0.2, "weight_decay": 0.01,
    "loss": "dice_cross_entropy", "sampling": "rare_class", "augment": AUGMENT,
}  # fmt: skip
UNET, VIT_CELL = "a/unet/full/own/0", "a/vit/frozen/linear_last/0"


@dataclass
class Fault:
    """Kill the process at the n-th call of a function, before or after it, of those calls that count."""

    owner: Any
    name: str
    call: int = 1
    after: bool = False
    counts: Callable[..., bool] = lambda *arguments: True
    signal: int = signal.SIGKILL

    def inject(self) -> None:
        original, seen = getattr(self.owner, self.name), 0

        def faulty(*arguments: Any, **more: Any) -> Any:
            nonlocal seen
            hit = self.counts(*arguments)
            seen += hit
            if hit and seen == self.call and not self.after:
                os.kill(os.getpid(), self.signal)
            result = original(*arguments, **more)
            if hit and seen == self.call and self.after:
                os.kill(os.getpid(), self.signal)
            return result

        setattr(self.owner, self.name, faulty)


class Project:
    """A folder with results in it, and the commands as tests call them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.results = Results(root)

    def add(self, cell: str, *, training: dict | None = None, **changes: Any) -> str:
        """Write a cell's settings.yaml; ``training`` changes single settings, ``changes`` whole sections."""
        source, backbone, tuning, head, seed, *adapted = cell.split("/")
        entry = BACKBONES[backbone]
        settings = {
            "cell": cell, "classes": CLASSES, "seed": int(seed), "source": {"dataset": source},
            "backbone": entry, "tuning": {"module": tuning}, "head": {"module": head.split("-")[0]},
            "training": {**TRAINING, **(training or {})},
            "weights": {name: sha256(self.results.weights(name)) for name in [entry.get("weights")] if name},
        }  # fmt: skip
        if adapted:
            settings["training"] = {**settings["training"], "sampling": "uniform", **(training or {})}
            settings |= {"target": {"dataset": adapted[1]}, "adaptation": ADAPTATIONS[adapted[0]]}
        folder = self.folder(cell)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.yaml").write_text(yaml.safe_dump(_plain(settings | changes)))
        return cell

    def folder(self, cell: str) -> Path:
        return self.results.run(cell)

    def fit(self, *cells: str, workers: int = 0) -> int:
        """`segshift train` or `adapt` in this process."""
        adapt = len(cells[0].split("/")) == 7
        return train.run(list(cells), str(self.root), "cpu", workers, adapt)

    def fork(self, words: list[str], fault: Fault | None = None, save_every: float = 60.0) -> int:
        """A command in a forked process, with a fault; its exit code, or minus the signal that ended it."""
        child = os.fork()
        if child == 0:
            code = 99
            try:
                log = (self.root / "child.log").open("a", buffering=1)
                sys.stdout = sys.stderr = log
                training.SAVE_EVERY = save_every
                if fault:
                    fault.inject()
                code = cli.main([*words, "--results", str(self.root), "--device", "cpu"])
            except SystemExit as stop:
                code = stop.code
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def killed(self, *cells: str, fault: Fault, save_every: float = 60.0) -> None:
        """Start a training that the fault ends."""
        verb = "adapt" if len(cells[0].split("/")) == 7 else "train"
        assert self.fork([verb, *cells], fault, save_every) == -fault.signal, self.log()

    def log(self) -> str:
        return (self.root / "child.log").read_text()

    def bytes(self, cell: str) -> dict[str, bytes]:
        """Content of a model's checkpoints by file name."""
        return {file.name: file.read_bytes() for file in sorted(self.folder(cell).glob("*.ckpt"))}

    def state(self, cell: str) -> dict[str, Any]:
        """What model.ckpt holds."""
        return torch.load(self.folder(cell) / "model.ckpt", weights_only=True)

    def copy(self, root: Path) -> "Project":
        """Another project with the same datasets and weights, and copies of this one's models."""
        root.mkdir(parents=True)
        for name in ("data", "weights"):
            (root / name).symlink_to(self.root / name)
        if (self.root / "runs").exists():
            shutil.copytree(self.root / "runs", root / "runs")
        return Project(root)

    def attempts(self, cell: str) -> list[tracking.Attempt]:
        return tracking.read(self.folder(cell))

    def statuses(self, cell: str) -> list[str | None]:
        """How each attempt ended, oldest first; None where it was killed."""
        return [attempt.status for attempt in self.attempts(cell)]

    def data(self, name: str, *, dark: bool = False, seed: int = 0, prefix: str | None = None) -> None:
        """Write a prepared dataset: noisy discs with a smaller one inside."""
        random, folder = np.random.default_rng(seed), self.results.data(name)
        folder.mkdir(parents=True)
        splits: dict[str, list] = {}
        for split in SPLITS:
            with h5py.File(folder / f"{split}.h5", "w") as file:
                splits[split] = []
                for number, slices in enumerate(VOLUMES[split]):
                    id = f"{split}{number}"
                    volume = _volume(id, f"{prefix or name}:{id}", slices, dark, random)
                    splits[split].append(volume.write(file))
        content = {"sha256": total_digest(splits), "classes": CLASSES}
        content["splits"] = {split: {"volumes": entries} for split, entries in splits.items()}
        (folder / "manifest.json").write_text(json.dumps(content))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _volume(id: str, patient: str, slices: int, dark: bool, random: np.random.Generator) -> PreparedVolume:
    y, x = np.mgrid[:SIZE, :SIZE]
    images, labels = [], []
    for _ in range(slices):
        row, column = random.uniform(10, 22, 2)
        distance = np.hypot(y - row, x - column)
        label = (distance < random.uniform(6, 9)).astype(np.uint8) + (distance < random.uniform(2, 4))
        image = 0.2 + 0.3 * label + random.normal(0, 0.1, label.shape)
        images.append(np.clip(1 - image if dark else image, 0, 1))
        labels.append(label)
    label = np.stack(labels).astype(np.uint8)
    counts = np.stack([(label == number).sum((1, 2)) for number in range(len(CLASSES))], 1).astype(np.uint32)
    shape = (slices, SIZE, SIZE)
    info = VolumeInfo(id, patient, slices, (SIZE, SIZE), (3.0, 1.0, 1.0), np.eye(4), shape, np.eye(4))
    return PreparedVolume(info, np.stack(images).astype(np.float16), label, counts)


@contextmanager
def handlers_restored():
    """A training's signal handlers do not outlive it."""
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    }
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def undisturbed_process():
    """One thread, and the signal handlers as they were."""
    torch.set_num_threads(1)
    with handlers_restored():
        yield


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    """Datasets `a` and `b` and the weights `tiny`; no models."""
    project = Project(tmp_path_factory.mktemp("engine") / "results")
    project.data("a")
    project.data("b", dark=True, seed=1)
    (project.root / "weights").mkdir()
    torch.manual_seed(3)
    torch.save(plugins.build("backbones", VIT).create().state_dict(), project.results.weights("tiny"))
    return project


@pytest.fixture(scope="session")
def sources(datasets, tmp_path_factory):
    """The two source models, trained without disturbance: a U-Net, and a linear head on a frozen ViT."""
    torch.set_num_threads(1)
    project = datasets.copy(tmp_path_factory.mktemp("sources") / "results")
    with handlers_restored():
        for cell in (UNET, VIT_CELL):
            project.add(cell)
            assert project.fit(cell) == 0
    return project


@pytest.fixture
def project(datasets, tmp_path):
    """A project without models."""
    return datasets.copy(tmp_path / "results")


@pytest.fixture
def trained(sources, tmp_path):
    """A project with the two trained models, to be damaged."""
    return sources.copy(tmp_path / "results")
