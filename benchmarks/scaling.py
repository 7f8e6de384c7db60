"""How the cost of a grid grows: the DAG and `segshift status`, tables, `segshift track`, at 1×, 4× and 16×.

    python benchmarks/scaling.py [dag] [status] [tables] [track] [--sizes 1 4 16]

Each size is made up in a folder of its own and measured in processes of its own: core-seconds, and how many
times those of the size before. Four times the work may take four times as long, not more. The largest are
10,000 cells, 50,000 tracked scores, and 2,000 runs, which take a quarter of an hour each.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import status

import tables  # it takes this folder out of those that modules are imported from

ROOT = Path(__file__).parents[1]
FULL = 16  # the size that the numbers below are of
CELLS, SCORES, RUNS = 10_000, 50_000, 2_000
POINTS = 100  # of a journal
VOLUMES = 1  # of a split in a score file: what is read from MLflow are means over volumes


def configured(folder: Path, cells: int) -> Path:
    """The thesis's configuration with as many seeds as it takes for so many models."""
    from segshift import grid

    one = grid.read(tables.configure(folder / "one", 1))
    shutil.rmtree(folder / "one")
    each = len(one.models([name for name, entry in one.config.experiments.items() if entry.in_all]))
    return tables.configure(folder, -(-cells // each))


def spent(*command: str, folder: Path | None = None) -> float:
    """Core-seconds of a whole process and its children."""
    before = os.times()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return after.children_user - before.children_user + after.children_system - before.children_system


# ---- what is measured --------------------------------------------------------------------------------------


def dag(folder: Path, size: int) -> tuple[str, dict[str, float]]:
    """A dry run of everything; once with settings to write, once with all of them there."""
    config = configured(folder, CELLS * size // FULL)
    command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--profile", str(ROOT / "profiles" / "default"), "--directory", str(folder)]
    command += ["--config", f"folder={config}"]
    first = spent(*command)
    again = spent(*command)
    files = len([*(folder / "results" / "runs").rglob("settings.yaml")])
    return f"{files} models", {"first": first, "again": again}


def look(folder: Path, size: int) -> tuple[str, dict[str, float]]:
    """`segshift status`, which remembers digests from its first call on."""
    from segshift.paths import Results

    status.POINTS = POINTS
    number = status.make(folder / "config", Results(folder / "results"), CELLS * size // FULL)
    words = ["status", "--config", str(folder / "config"), "--results", str(folder / "results")]
    command = [sys.executable, "-m", "segshift", *words]
    return f"{number} models", {"first": spent(*command), "again": spent(*command)}


def tabulate(folder: Path, size: int) -> tuple[str, dict[str, float]]:
    """All tables in one process, score files unread and read; one table alone."""
    from segshift import grid as grids
    from segshift.paths import Results
    from segshift.stages import track
    from segshift.tables import plan

    scores = SCORES * size // FULL
    one = grids.read(tables.configure(folder / "one", 1))
    each = sum(len(one.experiments[name].scores) for name in tables.EXPERIMENTS)
    seeds = max(1, round(scores / each))
    _few_volumes()
    config = tables.configure(folder, seeds)
    grid, results = grids.read(config), Results(folder / "results")
    tables.fill(grid, results)
    track.run(tables.configure(folder / "first", 1, config), results, list(tables.EXPERIMENTS))
    tables.repeat(grid, results)
    shown = [
        name for name in plan.names(grid)
        if set(grid.config.tables[name].experiments) & set(tables.EXPERIMENTS)
    ]  # fmt: skip
    (results.tracking / "scores.json").unlink(missing_ok=True)
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "jobs", str(folder)]
    found = {"all, files unread": spent(*command, *shown), "all": spent(*command, *shown)}
    found["table 4.2"] = spent(*command, "4.2")
    return f"{each * seeds} scores", found


def _few_volumes() -> None:
    """Score files of few volumes."""
    original = tables.rows

    def rows(draw, target, counts):
        few = counts.model_copy(update={"validation": VOLUMES, "test": VOLUMES})
        return original(draw, target, few)

    tables.rows = rows


def send(folder: Path, size: int) -> tuple[str, dict[str, float]]:
    """`segshift track` of runs that it does not know, and of none that is new."""
    from segshift import grid as grids
    from segshift.paths import Results
    from segshift.tracking import Journal

    runs = RUNS * size // FULL
    _few_volumes()
    grid, results = grids.read(configured(folder, runs)), Results(folder / "results")
    tables.fill(grid, results)
    kept = 0
    for model in grid.models(list(tables.EXPERIMENTS)):
        if kept == runs:  # a model without a journal is none to be tracked
            shutil.rmtree(results.run(model.path) / "journal")
            continue
        kept += 1
        journal = Journal(results.run(model.path))
        journal.start("first", {"steps": POINTS}, {})
        for step in range(POINTS):
            journal.log(step, {"train/loss": 1.0, "train/learning_rate": 0.1})
        journal.end("FINISHED")
    words = ["track", "--config", str(folder / "config"), "--results", str(folder / "results")]
    command = [sys.executable, "-m", "segshift", *words]
    return f"{kept} runs", {"new": spent(*command), "again": spent(*command)}


SUBJECTS = {"dag": dag, "status": look, "tables": tabulate, "track": send}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("subjects", nargs="*", help=f"of {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16], help="(default: 1 4 16)")
    given = parser.parse_args()
    if wrong := set(given.subjects) - set(SUBJECTS):
        parser.error(f"{', '.join(wrong)}: known are {', '.join(SUBJECTS)}")
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    for subject in given.subjects or SUBJECTS:
        before: dict[str, float] = {}
        for size in given.sizes:
            with tempfile.TemporaryDirectory() as name:
                what, found = SUBJECTS[subject](Path(name), size)
            shown = []
            for call, value in found.items():
                grown = f" ({value / before[call]:.1f} times)" if call in before else ""
                shown.append(f"{call} {value:.1f} core-s{grown}")
            print(f"{subject}, {what}: {'; '.join(shown)}", flush=True)
            before = found


if __name__ == "__main__":
    main()
