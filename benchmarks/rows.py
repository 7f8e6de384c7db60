"""The twelve heads of the thesis on a frozen DINOv2 ViT-B, each trained alone and in a row; seeds in a row.

A small source of 256² slices and 15 classes, with the thesis's augmentation, batches of 4, one thread, random
weights (which cost the same). Every training is a process of its own that ends with its checkpoints:

    python benchmarks/rows.py [--steps 2] [--light]

Printed are core-seconds, which other programs hardly disturb: of steps and validation, of what in them is for
all heads alike (augmentation and the backbone's pass), of the whole process (imports aside; it builds and
saves models once, as a real training does in thousands of steps), and its peak memory. Ratios are of steps
and validation. The bound of a ratio: what is shared once instead of each time, all else as often as before.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml

from segshift import plugins, training
from segshift.cell import Cell
from segshift.paths import Results
from segshift.prepared import SPLITS, PreparedVolume, VolumeInfo, total_digest
from segshift.stages import train
from segshift.validation import Tally
from segshift.weights import sha256

SIZE, BATCH, CLASSES = 256, 4, [f"class_{number}" for number in range(15)]
BACKBONE = {"module": "timm", "model": "vit_base_patch14_dinov2", "image_size": 224, "positions": "dinov2"}
CONFIG = Path(__file__).parents[1] / "config"
HEAVY = ("resnet", "unet", "unet_small")
LIGHT = ("linear", "segformer", "da", "da_small", "sam", "sam_fpe", "hsam", "hqsam", "hqhsam")
SEEDS = range(5)


def data(results: Results, slices: dict[str, int]) -> None:
    """A prepared dataset of noise: what is learned does not matter here."""
    random, folder = np.random.default_rng(0), results.data("small")
    folder.mkdir(parents=True)
    entries = {}
    for split in SPLITS:
        count = slices.get(split, 1)
        image = random.random((count, SIZE, SIZE)).astype(np.float16)
        label = random.integers(0, len(CLASSES), (count, SIZE, SIZE)).astype(np.uint8)
        counts = [[(one == number).sum() for number in range(len(CLASSES))] for one in label]
        shape = (count, SIZE, SIZE)
        info = VolumeInfo(split, split, count, (SIZE, SIZE), (1.0,) * 3, np.eye(4), shape, np.eye(4))
        with h5py.File(folder / f"{split}.h5", "w") as file:
            volume = PreparedVolume(info, image, label, np.array(counts, np.uint32))
            entries[split] = [volume.write(file)]
    manifest = {"sha256": total_digest(entries), "classes": CLASSES}
    manifest["splits"] = {split: {"volumes": volumes} for split, volumes in entries.items()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def cell(results: Results, head: str, seed: int = 0, digest: str = "", **more: int) -> str:
    """Write the settings of a head's training and return its path."""
    path = f"small/dinov2_b/frozen/{head}/{seed}"
    entry = yaml.safe_load((CONFIG / "heads.yaml").read_text())[head]
    first = yaml.safe_load((CONFIG / "training.yaml").read_text())[0]["use"]
    settings = {
        "cell": path,
        "classes": CLASSES,
        "seed": seed,
        "source": {"dataset": "small"},
        "backbone": BACKBONE | {"weights": "dinov2"},
        "tuning": {"module": "frozen"},
        "head": {key: value for key, value in entry.items() if key != "init"},
        "training": first | {"epochs": 1, "batch_size": BATCH, "sampling": "uniform"},
        "weights": {"dinov2": digest},
    }
    results.run(path).mkdir(parents=True, exist_ok=True)
    (results.run(path) / "settings.yaml").write_text(yaml.safe_dump(settings | more))
    return path


def run(results: Results, cells: list[str]) -> dict[str, float]:
    """Train cells in a process of its own: core-seconds of steps, of what is shared in them, of all; MB."""
    answer, asked = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the process ends with it
            torch.set_num_threads(1)
            spent = {}
            engine = training.Training
            owners = ((engine, "training_step", "steps"), (engine, "validation_step", "steps"))
            owners += ((Cell, "step", "own"), (Tally, "add", "own"))
            for owner, name, key in owners:
                setattr(owner, name, _timed(getattr(owner, name), spent, key))
            started = time.process_time()
            code = train.run(cells, str(results.root), "cpu")
            spent["shared"] = spent["steps"] - spent["own"]
            spent["process"] = time.process_time() - started
            spent["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            os.write(asked, json.dumps(spent).encode())
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"the training of {', '.join(cells)} failed")
    return json.loads(os.read(answer, 1 << 16))


def _timed(function, spent: dict[str, float], key: str):
    def timed(*arguments, **more):
        started = time.process_time()
        try:
            return function(*arguments, **more)
        finally:
            spent[key] = spent.get(key, 0.0) + time.process_time() - started

    return timed


def told(name: str, spent: dict[str, float]) -> str:
    steps, part, process = spent["steps"], spent["shared"], spent["process"]
    return f"{name:32} {steps:8.1f} {part:8.1f} {process:9.1f} {spent['peak']:8.0f}"


def compare(name: str, alone: list[dict[str, float]], row: dict[str, float]) -> str:
    """A ratio beside its bound."""
    apart, shared = (sum(one[key] for one in alone) for key in ("steps", "shared"))
    bound = apart / (apart - shared + shared / len(alone))
    whole = sum(one["process"] for one in alone) / row["process"]
    peak = max(one["peak"] for one in alone)
    return (
        f"{name}: {apart / row['steps']:.2f} times fewer core-seconds (bound {bound:.2f}; whole processes "
        f"{whole:.2f}), peak memory {row['peak']:.0f} MB instead of {peak:.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2, help="of each training (default: 2)")
    text = "leave out resnet, unet and unet_small, which take nine tenths of the time"
    parser.add_argument("--light", action="store_true", help=text)
    arguments = parser.parse_args()
    steps = arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        results = Results(Path(folder) / "results")
        data(results, {"train": steps * BATCH, "validation": 2})
        (results.root / "weights").mkdir()
        file = results.weights("dinov2")
        torch.save(plugins.build("backbones", BACKBONE).create().state_dict(), file)
        digest = sha256(file)
        print(f"{'core-seconds of':32} {'steps':>8} {'shared':>8} {'process':>9} {'peak MB':>8}")
        alone = {}
        for head in LIGHT if arguments.light else (*LIGHT, *HEAVY):
            alone[head] = run(results, [cell(results, head, digest=digest)])
            print(told(head, alone[head]), flush=True)
        rows = {"nine heads": LIGHT} | ({} if arguments.light else {"all twelve": (*LIGHT, *HEAVY)})
        said = []
        for name, heads in rows.items():
            other = Results(results.root.parent / name)
            _same_data(results, other)
            row = run(other, [cell(other, head, digest=digest) for head in heads])
            print(told(f"a row of {name}", row), flush=True)
            said.append(compare(name, [alone[head] for head in heads], row))
        other = Results(results.root.parent / "seeds")
        _same_data(results, other)
        cells = [cell(other, "linear", seed, digest, sampling_seed=SEEDS[0]) for seed in SEEDS]
        row = run(other, cells)
        print(told(f"{len(cells)} seeds of linear in a row", row))
        times = row["steps"] / alone["linear"]["steps"]
        said.append(f"{len(cells)} seeds of linear that share sampling: {times:.2f} times one seed")
        print("\n".join(said))


def _same_data(results: Results, other: Results) -> None:
    other.root.mkdir()
    for name in ("data", "weights"):
        (other.root / name).symlink_to(results.root / name)


if __name__ == "__main__":
    main()
