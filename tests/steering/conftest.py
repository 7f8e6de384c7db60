"""A small grid whose folders are written by hand: nothing is trained."""

import json
import os

import pytest
import yaml

from segshift import grid, scores, settings
from segshift.cli import main
from segshift.paths import Results
from segshift.tracking import Journal

BRAIN = {
    "module": "hdf5_stack",
    "files": {"train": "a.h5", "validation": "b.h5", "test": "c.h5"},
    "anatomy": "brain",
    "modality": "T1",
    "plane": "axial",
}
GRID = {"source": ["one", "two"], "backbone": ["unet", "other"], "tuning": ["full"], "head": ["own"]}
CONFIG = {
    "project": {"seeds": [0]},
    "anatomies": {"brain": {"classes": ["background", "gray"]}},
    "datasets": {"one": {**BRAIN}, "two": {**BRAIN}},
    "backbones": {
        "unet": {"module": "unet", "image_size": 32},
        "other": {"module": "unet", "image_size": 32, "width": 8},
    },
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {"finetune": {"module": "finetune"}},
    "weights": {},
    "training": [
        {"use": {"learning_rate": 0.01, "epochs": 10, "batch_size": 2}},
        {"where": {"backbone": "other"}, "use": {"epochs": 20}},
    ],
    "experiments": {
        "shift": {"title": "Shift", "grid": GRID},
        "adapted": {
            "title": "Adapted",
            "grid": GRID | {"source": ["one"], "backbone": ["unet"], "adapt": ["none", "finetune"]},
        },
        "aside": {"title": "Aside", "in_all": False, "grid": GRID | {"source": ["two"]}},
    },
    "labels": {},
}
SLICES = {"one": 100, "two": 50}  # of the training splits


class Made:
    """A configuration and a results folder, and what training and evaluation would write there."""

    def __init__(self, folder):
        self.config, self.results = folder / "config", Results(folder / "results")
        self.config.mkdir(parents=True)
        for name, content in CONFIG.items():
            self.write(name, content)

    def write(self, name, content):
        (self.config / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    @property
    def grid(self):
        return grid.read(self.config)

    def prepare(self):
        """Manifests of all datasets, from today's entries."""
        expanded = self.grid
        for name, slices in SLICES.items():
            folder = self.results.data(name)
            folder.mkdir(parents=True, exist_ok=True)
            volume = {"id": "v", "patient": f"{name} a", "slices": slices, "shape": [32, 32]}
            splits = {split: {"volumes": [volume]} for split in ("train", "validation", "test")}
            text = grid.render(expanded.dataset_settings(name))
            manifest = {"sha256": name * 21 + "d", "settings": text, "splits": splits}
            (folder / "manifest.json").write_text(json.dumps(manifest))

    def finish(self, path, seconds=7200.0, scored=True, **more):
        """A finished model, with everything as training writes it today."""
        expanded, folder = self.grid, self.results.run(path)
        grid.write_settings(expanded, self.results)
        model = grid.Model.parse(path)
        written = settings.read_settings(folder)
        record = {"run": "first", "cell": path, "parameters": {"trainable": 1}, "model": "m" * 16}
        record |= {"settings": settings.digest(written), "code": settings.code_digest(written)}
        record |= {"data": {name: name * 21 + "d" for name in {model.source, model.target} - {None}}}
        record |= {"device_seconds": seconds, "epochs": written["training"]["epochs"], "files": {}}
        record |= {"configuration": written, **({"start": "m" * 16} if model.adapt else {}), **more}
        for name in ("model.ckpt", "lowest_loss.ckpt"):
            (folder / name).write_text("weights")
        (folder / "run.json").write_text(json.dumps(record))
        if scored:
            self.score(path)

    def score(self, path, model="m" * 16, **data):
        """Scores on all targets."""
        everything = []
        for target in self.grid.targets[path]:
            one = (target, "test", "model", "v", "p", "gray", 1, 2, 3, 50.0, 40.0, None)
            rows = [scores.Row(*one, model, data.get(target, (target * 21 + "d")[:16]))]
            scores.write(self.results.run(path) / "scores" / f"{target}.csv", rows)
            everything += rows
        scores.write(self.results.run(path) / "scores.csv", everything)

    def journal(self, path, steps=(0, 9, 19), status=None, error=None, **more):
        """An attempt of ten epochs of ten steps; a second between steps."""
        journal = Journal(self.results.run(path))
        journal.start("first", {"steps": 100, "epochs": 10}, {"host": "here"})
        for step in steps:
            journal.log(step, {"train/loss": 1.0})
        if status:
            journal.end(status, error)
        lines = [json.loads(line) for line in journal.file.read_text().splitlines()]
        begun = lines[0]["time"]
        for line in lines[1:]:
            line["time"] = begun + 1000 * line.get("step", max(steps, default=0))
        journal.file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def alive(self, path):
        """This process holds the cell's lock."""
        file = self.results.run(path) / "resume" / "lock"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"host": os.uname().nodename, "process": os.getpid(), "job": None}))

    def log(self, path, verb, text):
        file = self.results.run(path) / f"{verb}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def slurm(self, path, rule, text, job=7):
        """Slurm's own file of a job."""
        file = self.results.slurm / f"rule_{rule}" / path.replace("/", "_") / f"{job}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def run(self, *words):
        return main([*words, "--results", str(self.results.root), "--config", str(self.config)])


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)
