"""A small project with data, models and scores, made through the command line, for tests to damage."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import yaml

from segshift.cli import main

CELL, OTHER = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{CELL}/finetune/two"
SIZE = 16
CONFIG = {
    "project": {"seeds": [0], "raw": "raw"},
    "anatomies": {
        "organ": {"classes": ["background", "organ"]},
        "head": {"classes": ["background", "head"]},
    },
    "datasets": {
        "one": {
            "module": "hdf5_stack",
            "anatomy": "organ",
            "modality": "CT",
            "plane": "axial",
            "files": {"train": "train.hdf5", "validation": "validation.hdf5", "test": "test.hdf5"},
        },
        "two": {"like": "one", "patients": "two", "folder": "two"},
        "scan": {
            "module": "nifti",
            "anatomy": "head",
            "modality": "T1w",
            "plane": "axial",
            "image_files": "{id}.nii.gz",
            "label_files": "{id}_label.nii.gz",
            "splits": "splits/scan.yaml",
            "preprocess": ["percentile"],
        },
    },
    "splits/scan": {"train": ["a"], "validation": ["b"], "test": ["c"]},
    "backbones": {"unet": {"module": "unet", "image_size": SIZE, "width": 4, "depth": 2}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {"finetune": {"module": "finetune", "patients": 1}},
    "weights": {
        "foundation": {
            "file": "foundation.pth",
            "sha256": "0" * 64,
            "licence": "MIT",
            "pretrained_on": "unknown",
        }
    },
    "training": [{"use": {"learning_rate": 0.01, "epochs": 1, "batch_size": 2}}],
    "experiments": {
        "shift": {
            "title": "Two scanners",
            "grid": {
                "source": ["one", "two"],
                "backbone": ["unet"],
                "tuning": ["full"],
                "head": ["own"],
                "adapt": ["none", "finetune"],
            },
        }
    },
    "labels": {"backbone": {"unet": "U-Net"}},
}


class Project:
    """A small project, made by the commands that users type, to be damaged."""

    def __init__(self, root: Path):
        self.root, self.config, self.results = root, root / "config", root / "results"

    def build(self) -> None:
        for name, content in CONFIG.items():
            file = self.config / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(yaml.safe_dump(content, sort_keys=False))
        for dataset in ("one", "two"):
            for number, split in enumerate(("train", "validation", "test")):
                self.write_stack(dataset, split, np.random.default_rng(number))
        for patient in "abc":
            self.write_scan(patient)
        (self.root / "weights").mkdir()
        (self.root / "weights/foundation.pth").write_bytes(b"not the file that was promised")
        for words in (
            "settings --write",
            "prepare one two",
            f"train {CELL}",
            f"train {OTHER}",
            f"evaluate {CELL}",
        ):
            assert self.run(*words.split()) == 0

    def write_stack(self, dataset: str, split: str, random: np.random.Generator) -> None:
        file = self.root / "raw" / dataset / f"{split}.hdf5"
        file.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(file, "w") as content:
            content["images"] = random.random((4, SIZE, SIZE)).astype(np.float32)
            content["labels"] = (content["images"][()] > 0.5).astype(np.uint8)
            content["nz"] = [2, 2]

    def write_scan(self, patient: str, size: int = SIZE, fill: float = 0.5, channels: int = 1) -> None:
        folder = self.root / "raw/scan"
        folder.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(ord(patient)).random((SIZE, SIZE, 2)).astype(np.float32)
        values[1, 2, 1] = fill
        values = np.stack([values] * channels, -1) if channels > 1 else values
        label = np.zeros((size, SIZE, 2), np.uint8)
        label[4:9, 5:11] = 1
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / f"{patient}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / f"{patient}_label.nii.gz")

    def edit(self, file: str, *keys: str, value: object) -> None:
        """Set an entry of a config file."""
        path = self.config / f"{file}.yaml"
        content = entry = yaml.safe_load(path.read_text())
        for key in keys[:-1]:
            entry = entry[key]
        entry[keys[-1]] = value
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def raw(self, split: str, key: str, index: object, value: object) -> None:
        with h5py.File(self.root / f"raw/one/{split}.hdf5", "r+") as content:
            content[key][index] = value

    def run(self, *words: str) -> int:
        options = {"--results": self.results}
        if words[0] not in ("train", "adapt", "predict", "rerun", "status"):
            options["--config"] = self.config
        if words[0] in ("train", "adapt", "evaluate", "predict"):
            options["--device"] = "cpu"
        given = [str(word).replace("ROOT", str(self.root)) for word in words]
        return main([*given, *(str(word) for pair in options.items() for word in pair)])

    def content(self) -> dict[str, bytes]:
        """Every file but those that may be deleted at any time; half-written ones count there too."""
        return {
            str(file.relative_to(self.root)): file.read_bytes()
            for file in sorted(self.root.rglob("*"))
            if file.is_file() and self._counts(file)
        }

    def _counts(self, file: Path) -> bool:
        whole = not file.name.endswith(".part")
        cached = file == self.results / "tracking/scores.json" or self.results / "cache" in file.parents
        return not (whole and cached)
