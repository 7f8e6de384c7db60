"""What adaptations do on a phantom with a strong shift: from a T1-like scanner to one of inverted contrast.

Prints Dice on the target's test volumes, over seeds: of the source model before, after each adaptation, and
of the target's own model; and how each run went on the validation volumes. The configuration is the demo's,
with more adaptations. Everything is written below a folder, and a second run goes on from there; without one
below a temporary one:

    python benchmarks/adaptation.py [FOLDER]
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import yaml

from segshift import cli, scores, tracking
from segshift.paths import Results

CONFIG = Path(__file__).parents[1] / "config" / "demo"
SOURCE, TARGET, SEEDS = "t1_a", "t2", (0, 1, 2)
MODELS = {"LiteMedSAM, frozen": "lite_medsam/frozen/linear", "U-Net": "unet/full/own"}
ADAPTATIONS = {
    "finetune": {"module": "finetune", "labelled": 3},
    "self_training": {"module": "self_training", "labelled": 3, "threshold": 0.9},
    "mean_teacher": {"module": "mean_teacher", "labelled": 3, "threshold": 0.9, "student": "weak"},
    "entropy_min": {"module": "entropy_min"},
    "entropy_min_norms": {"module": "entropy_min", "scope": "norms"},
}
TRAINING = [
    {"where": {"adapt": list(ADAPTATIONS)}, "use": {"learning_rate": 0.0033, "epochs": 20}},
    {"where": {"adapt": "entropy_min*"}, "use": {"epochs": 2}},
    {"where": {"adapt": "mean_teacher"}, "use": {"sampling": "rare_class"}},
]
CURVES = ("entropy", "collapsed", "kept", "pseudo_accuracy")


def configuration(folder: Path) -> None:
    """The demo's, with the adaptations and one experiment."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(CONFIG, folder)
    grids = [
        dict(zip(("backbone", "tuning", "head"), ([name] for name in path.split("/")), strict=True))
        for path in MODELS.values()
    ]
    sources = {"source": [SOURCE, TARGET], "seed": list(SEEDS), "adapt": ["none", *ADAPTATIONS]}
    experiment = {"title": "Adaptation", "targets": {"brain": [SOURCE, TARGET]}}
    experiment["grid"] = [sources | grid for grid in grids]
    training = yaml.safe_load((folder / "training.yaml").read_text())
    training = [line for line in training if "adapt" not in line.get("where", {})] + TRAINING
    backbones = yaml.safe_load((folder / "backbones.yaml").read_text())
    backbones["unet"]["width"] = 8
    parts = {
        "backbones": backbones,
        "adaptations": ADAPTATIONS,
        "training": training,
        "experiments": {"adaptation": experiment},
    }
    for name, content in parts.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def run(*words: str) -> None:
    """One command of segshift."""
    if code := cli.main([*words]):
        raise SystemExit(f"segshift {' '.join(words)} ended with {code}")


def dice(results: Results, path: str) -> float:
    """Of a model on the target's test volumes; what is missing for it is trained, adapted, scored."""
    run("adapt" if path.count("/") == 6 else "train", path, "--results", str(results.root))
    run(
        "evaluate",
        path,
        TARGET,
        "--results",
        str(results.root),
        "--config",
        str(results.root.parent / "config"),
    )
    rows = scores.read(results.run(path) / "scores" / f"{TARGET}.csv")
    return scores.dice(rows, TARGET, "test")


def told(values: list[float]) -> str:
    return f"{statistics.mean(values):6.2f} ± {statistics.stdev(values):.2f}"


def last(results: Results, path: str) -> dict[str, float]:
    """The last point of each curve on the validation volumes."""
    found = {}
    for attempt in tracking.read(results.run(path)):
        for point in attempt.points:
            found |= point.values
    return {name: found[f"validation/{name}"] for name in CURVES if f"validation/{name}" in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    if folder := parser.parse_args().folder:
        return measure(folder.resolve())
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name))


def measure(folder: Path) -> None:
    """All models, adaptations and scores, and what they say."""
    started = time.process_time()
    configuration(folder / "config")
    results, words = Results(folder / "results"), ["--config", str(folder / "config")]
    words += ["--results", str(results.root)]
    run("phantom", str(folder / "raw"), "--slices", "5", "--domains", SOURCE, TARGET)
    run("settings", "--write", *words)
    run("fetch", "lite_medsam", *words)
    run("prepare", SOURCE, TARGET, *words)
    lines = []
    for title, model in MODELS.items():
        own = [dice(results, f"{TARGET}/{model}/{seed}") for seed in SEEDS]
        before = [dice(results, f"{SOURCE}/{model}/{seed}") for seed in SEEDS]
        lines += [f"{title}: the target's own {told(own)}", f"  {'before':24} {told(before)}"]
        for name in ADAPTATIONS:
            paths = [f"{SOURCE}/{model}/{seed}/{name}/{TARGET}" for seed in SEEDS]
            after = [dice(results, path) for path in paths]
            gap = 100 * (statistics.mean(after) - statistics.mean(before))
            gap /= statistics.mean(own) - statistics.mean(before)
            ends = [last(results, path) for path in paths]
            curves = {
                key: statistics.mean(e[key] for e in ends) for key in CURVES if all(key in e for e in ends)
            }
            budget = json.loads((results.run(paths[0]) / "run.json").read_text())["budget"]
            shown = ", ".join(f"{key} {value:.2f}" for key, value in curves.items())
            lines.append(f"  {name:24} {told(after)}  gap closed {gap:6.1f} %  labelled {budget}; {shown}")
    print("\n".join(lines))
    print(f"{time.process_time() - started:.0f} core-seconds")


if __name__ == "__main__":
    main()
