"""All tables from 5,250 MLflow runs, read in bulk, against the same from a CSV file.

The published scores with ten seeds each are imported into a fresh database, which takes minutes. Then each
way builds every table in a process of its own, twice: the second time is without imports and what else is
done once. Prints core-seconds, peak memory and ratios, and fails if the tables are not the same bytes.
"""

import csv
import filecmp
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SEEDS = 10
LIMIT = 10.0  # seconds for all tables after the first read


def write_runs(file: Path) -> None:
    """The published runs, and nine more seeds of each measurement that differ a little."""
    with (ROOT / "config/published/runs.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    draw, drawn = random.Random(0), {}
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        for seed in range(SEEDS):
            for line in lines:
                names = ("source", "backbone", "tuning", "head", "adapt", "target")
                score = (seed, *(line[name] for name in names))
                dice = drawn.setdefault(score, min(100.0, float(line["dice"]) + draw.random()))
                writer.writerow(line | {"seed": seed, "dice": repr(dice)})


def build(way: str, folder: Path) -> None:
    """Build all tables twice, in this process, and print what it took as JSON."""
    from segshift.paths import Results

    results, out, took = Results(folder / "results"), folder / way, []
    for _ in range(2):
        wall, core = time.perf_counter(), time.process_time()
        if way == "mlflow":
            from segshift.stages import import_runs

            import_runs.tabulate(ROOT / "config", results, out)
        else:
            from segshift.stages import tabulate_file

            tabulate_file.run(ROOT / "config", results, folder / "runs.csv", out)
        took.append([time.perf_counter() - wall, time.process_time() - core])
    # Not ru_maxrss: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text().split()
    peak = int(status[status.index("VmHWM:") + 1]) / 1024
    print(json.dumps({"first": took[0], "again": took[1], "peak": peak}))


def main() -> None:
    from segshift.paths import Results
    from segshift.stages import import_runs

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_runs(folder / "runs.csv")
        for what in ("import", "import again"):
            core = time.process_time()
            import_runs.run(folder / "runs.csv", ROOT / "config", Results(folder / "results"))
            print(f"{what}: {time.process_time() - core:.1f} core-s", flush=True)
        figures = {}
        for way in ("file", "mlflow"):
            command = [sys.executable, __file__, way, str(folder)]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            figures[way] = json.loads(printed.splitlines()[-1])
            (_, first), (wall, again) = figures[way]["first"], figures[way]["again"]
            print(f"{way}: first {first:.1f} core-s, then {again:.1f} core-s ({wall:.1f} s), ", end="")
            print(f"peak {figures[way]['peak']:.0f} MB")
        compare(folder)
    core = figures["mlflow"]["again"][1] / figures["file"]["again"][1]
    memory = figures["mlflow"]["peak"] / figures["file"]["peak"]
    print(f"ratio mlflow / file: {core:.2f} in core-seconds, {memory:.2f} in memory")
    if figures["mlflow"]["again"][1] > LIMIT:
        sys.exit(f"all tables took more than {LIMIT} core-seconds")


def compare(folder: Path) -> None:
    """Both ways gave the same bytes, except the HTML, which links to runs."""
    names = [file.name for file in (folder / "file").iterdir() if file.suffix != ".html"]
    _, different, missing = filecmp.cmpfiles(folder / "file", folder / "mlflow", names, shallow=False)
    if different or missing:
        sys.exit(f"not the same: {', '.join(different + missing)}")
    print(f"{len(names)} files are the same")


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main()
