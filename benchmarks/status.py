"""`segshift status` on a grid of two thousand made-up cells: `python benchmarks/status.py`.

Half of them are finished, with a record and scores; of the others some run, failed or were stopped, with
journals of a thousand points. Seconds are of a whole process, and of its processor alone (on a machine that
is shared, the first says more about the others). The first call parses the sources that decide models; later
ones remember their digests.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from segshift import grid, scores, settings, tracking
from segshift.paths import Results

ROOT = Path(__file__).parents[1]
POINTS = 1000


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parsed.add_argument("--cells", type=int, default=2000, help="at least (default: 2000)")
    parsed.add_argument("--repeats", type=int, default=3, help="calls (default: 3)")
    arguments = parsed.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, results = Path(folder) / "config", Results(Path(folder) / "results")
        number = make(config, results, arguments.cells)
        words = ["status", "--config", str(config), "--results", str(results.root)]
        for repeat in range(arguments.repeats):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begun = os.times().elapsed
            command = [sys.executable, "-m", "segshift", *words]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            took, after = os.times().elapsed - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"call {repeat + 1}: {number} cells, {took:.2f} s, of its processor {own:.2f} s")
        print(said.rstrip().splitlines()[-2])


def make(config: Path, results: Results, least: int) -> int:
    """Write the thesis's configuration with as many seeds as it takes, and folders of cells; their number."""
    subprocess.run(["cp", "-r", str(ROOT / "config"), str(config)], check=True)
    models = len(grid.read(config).models(_in_all(grid.read(config))))
    file = config / "project.yaml"
    seeds = list(range(-(-least // models)))
    file.write_text(file.read_text().replace("seeds: [42]", f"seeds: {seeds}"))
    expanded = grid.read(config)
    models = expanded.models(_in_all(expanded))
    grid.write_settings(expanded, results)
    for index, model in enumerate(models):
        _cell(results.run(model.path), expanded, model, index)
    return len(models)


def _in_all(expanded: grid.Grid) -> list[str]:
    return [name for name, entry in expanded.config.experiments.items() if entry.in_all]


def _cell(folder: Path, expanded: grid.Grid, model: grid.Model, index: int) -> None:
    """One cell: every second is finished, every tenth of the others runs, every fifth failed."""
    if index % 2 == 0:
        written = settings.read_settings(folder)
        record = {
            "run": "a",
            "parameters": {"trainable": 1},
            "model": "m",
            "settings": settings.digest(written),
        }
        record |= {"code": settings.code_digest(written), "device_seconds": 3600.0 + index, "epochs": 100}
        (folder / "run.json").write_text(json.dumps(record | {"configuration": written}))
        for name in ("model.ckpt", "lowest_loss.ckpt"):
            (folder / name).touch()
        for target in expanded.targets[model.path]:
            one = (target, "test", "model", "v", "p", "c", 1, 2, 3, 50.0, 40.0, None, "m", "d")
            scores.write(folder / "scores" / f"{target}.csv", [scores.Row(*one)])
            scores.write(folder / "scores.csv", [scores.Row(*one)])
        return
    if index % 3 == 0:
        return
    journal = tracking.Journal(folder)
    journal.start("a", {"steps": 10 * POINTS, "epochs": 100}, {"host": "here"})
    for step in range(POINTS):
        journal.log(step, {"train/loss": 1.0, "train/learning_rate": 0.1})
    if index % 5 == 0:
        journal.end("FAILED", "RuntimeError: out of memory")
    elif index % 10 == 1:
        lock = folder / "resume" / "lock"
        lock.parent.mkdir()
        lock.write_text(json.dumps({"host": os.uname().nodename, "process": os.getpid(), "job": None}))


if __name__ == "__main__":
    main()
