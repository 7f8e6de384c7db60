"""All tables of the thesis's grid from 5,600 tracked runs: job by job, table by table, and all at once.

Writes the folders that eight seeds of the whole grid would leave, with as many volumes and classes as the
thesis's datasets have, sends them to a fresh MLflow database (minutes), and makes all tables: job by job, as
the workflow does; in one process, and there once more after the read; and from a plain CSV file of the same
scores, which must give the same bytes. Prints core-seconds and peak memory.
"""

import csv
import filecmp
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A script's own folder comes first among those that modules are imported from, and another benchmark may have
# the name of a module that MLflow imports.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]
SEEDS = 8
EXPERIMENTS = ("heads", "tunings", "generalization", "self_training", "entropy_min")
LIMIT = 10.0  # core-seconds for all tables after the first read
ALONE = ("4.2", "A.13", "ranking")  # tables that are also made by a process of their own, for comparison


# ---- what a finished grid leaves ---------------------------------------------------------------------------


def configure(folder: Path, seeds: int = SEEDS, source: Path = ROOT / "config") -> Path:
    """A configuration with other seeds."""
    config = folder / "config"
    shutil.copytree(source, config, ignore=shutil.ignore_patterns("demo"))
    project = (config / "project.yaml").read_text()
    (config / "project.yaml").write_text(re.sub(r"seeds: .*", f"seeds: {[*range(seeds)]}", project))
    for file in config.glob("*.yaml"):
        file.write_text(file.read_text().replace("planned: true", "planned: false"))
    return config


def fill(grid, results) -> None:
    """Every model's folder."""
    from segshift.table_entries import DatasetTable
    from segshift.tracking import Journal

    table = next(entry for entry in grid.config.tables.values() if isinstance(entry, DatasetTable))
    scores = {}
    for name in EXPERIMENTS:
        for model, target in grid.experiments[name].scores:
            scores.setdefault(model, []).append(target)
    for model, targets in scores.items():
        folder = results.run(model.path)
        journal = Journal(folder)
        journal.start("first", {}, {})
        journal.end("FINISHED")
        record = {"run": "first", "cell": model.path, "model": "m" * 16}
        record["parameters"] = {"trainable": 17_000_000, "trainable_head": 15_000_000, "frozen": 80_000_000}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "settings.yaml").write_text("{}\n")
        draw = random.Random(model._replace(seed=0).path)  # the runs of other seeds are copies: see `repeat`
        lines = (line for name in targets for line in rows(draw, name, table.expected[name]))
        write_scores(folder / "scores.csv", lines)


def repeat(grid, results) -> None:
    """The runs of the first seed once more for each other seed: to track them all would take an hour."""
    file = results.tracking / "runs.json"
    ((key, ids),) = json.loads(file.read_text()).items()
    models = [model for model in grid.models(list(EXPERIMENTS)) if model.seed]
    with sqlite3.connect(results.tracking / "mlflow.db") as database:
        database.execute("create temp table again (old text, new text, path text, seed text)")
        for model in models:
            new = ids[model.path] = uuid.uuid4().hex
            old = ids[model._replace(seed=0).path]
            database.execute("insert into again values (?, ?, ?, ?)", (old, new, model.path, str(model.seed)))
        for table in ("runs", "tags", "params", "metrics", "latest_metrics"):
            columns = [column[1] for column in database.execute(f"pragma table_info({table})")]
            values = ", ".join("new" if column == "run_uuid" else f'"{column}"' for column in columns)
            database.execute(f"insert into {table} select {values} from {table} join again on run_uuid = old")
        for what, name in (("path", "segshift.cell"), ("seed", "seed")):
            for table in ("tags", "params"):
                database.execute(
                    f"update {table} set value = again.{what} from again "
                    f"where run_uuid = again.new and {table}.key = '{name}'"
                )
    file.write_text(json.dumps({key: ids}))


def rows(draw: random.Random, target: str, counts) -> Iterable[list[object]]:
    """Score lines of one dataset: two checkpoints, two splits, volumes, classes."""
    for split, volumes in (("validation", counts.validation), ("test", counts.test)):
        for checkpoint in ("model", "lowest_loss"):
            for volume in range(volumes):
                one = [target, split, checkpoint, f"volume_{volume:03d}", f"patient_{volume:03d}"]
                for class_ in range(1, counts.classes):
                    dice = repr(100 * draw.random())
                    yield [*one, f"class_{class_}", 1234, 123, 321, dice, dice, "", "m" * 16, "d" * 16]
                yield [*one, "all", "", "", "", "", "", repr(draw.random()), "m" * 16, "d" * 16]


def write_scores(file: Path, lines: Iterable[list[object]]) -> None:
    from segshift import scores

    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(scores.COLUMNS)
        writer.writerows(lines)


def write_plain(file: Path, grid, results) -> None:
    """The same scores as a plain file."""
    from segshift import summaries

    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        header = ("experiment", "source", "backbone", "tuning", "head", "seed", "adapt", "target", "dice")
        writer.writerow((*header, "train_params_m", "train_params_dec_m"))
        for name in EXPERIMENTS:
            for model, target in grid.experiments[name].scores:
                dice = summaries.read(results.run(model.path) / "scores.csv").dice(target)
                writer.writerow((name, *model[:5], model.adapt or "none", target, repr(dice), 17, 15))


# ---- ways to make tables -----------------------------------------------------------------------------------


def make(way: str, folder: Path, names: list[str]) -> None:
    """Make tables in this process, twice after one read, and print what it took as JSON."""
    from segshift import grid as grids
    from segshift.paths import Results
    from segshift.stages import tabulate, tabulate_file
    from segshift.tables import files, runs

    results, took, core = Results(folder / "results"), [], time.process_time()
    grid = grids.read(folder / "config")
    if way == "file":
        maker = tabulate_file.Maker(grid, runs.read(folder / "runs.csv", grid), results)
    else:
        maker = tabulate.Maker(grid, results, names, partial=False)
    for _ in range(2):
        for name in names:
            if way == "file":
                table = maker.build(name)
                texts = files.texts(table, grid.config.tables[name], grid.config.labels)
            else:
                table, texts = maker.make(name)
            for ending, text in texts.items():
                files.write(folder / way / f"{table.name}.{ending}", text)
        took.append(time.process_time() - core)
        core = time.process_time()
    # Not ru_maxrss: a process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text().split()
    print(json.dumps({"took": took, "peak": int(status[status.index("VmHWM:") + 1]) / 1024}))


def measure(way: str, folder: Path, names: list[str], what: str) -> tuple[float, float, float]:
    """Core-seconds of a whole process that makes tables once, of the second time, and its peak in MB."""
    command = [sys.executable, __file__, way, str(folder), *names]
    before = os.times()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = os.times()
    found = json.loads(printed.splitlines()[-1])
    core = after.children_user - before.children_user + after.children_system - before.children_system
    first, again = core - found["took"][1], found["took"][1]
    print(f"{what}: {first:.1f} core-s, again {again:.1f}, peak {found['peak']:.0f} MB", flush=True)
    return first, again, found["peak"]


def compare(folder: Path, but: list[str]) -> None:
    """Both ways gave the same CSV; a selection has more to say where it knows validation scores."""
    names = [file.name for file in (folder / "file").iterdir() if file.suffix == ".csv"]
    names = [name for name in names if name not in {f"table_{number}.csv" for number in but}]
    _, different, missing = filecmp.cmpfiles(folder / "file", folder / "mlflow", names, shallow=False)
    if different or missing:
        sys.exit(f"not the same: {', '.join(different + missing)}")
    print(f"{len(names)} CSV files are the same")


def prepare(folder: Path) -> None:
    """Fill a folder."""
    from segshift import grid as grids
    from segshift.paths import Results
    from segshift.stages import track

    grid, results = grids.read(configure(folder)), Results(folder / "results")
    fill(grid, results)
    write_plain(folder / "runs.csv", grid, results)
    core = time.process_time()
    track.run(configure(folder / "first", 1, folder / "config"), results, list(EXPERIMENTS))
    repeat(grid, results)
    print(f"tracking one seed: {time.process_time() - core:.1f} core-s", flush=True)


def report(folder: Path) -> float:
    """Make all tables of a folder in all ways; core-seconds of them all after the read."""
    from segshift import grid as grids
    from segshift.tables import plan

    grid = grids.read(folder / "config")
    entries = grid.config.tables
    shown = [name for name in plan.names(grid) if set(entries[name].experiments) & set(EXPERIMENTS)]
    jobs = {job: own for job, own in plan.jobs(grid).items() if set(own) <= set(shown)}
    every = [number for numbers in jobs.values() for number in numbers]
    (folder / "results" / "tracking" / "scores.json").unlink(missing_ok=True)
    cold = measure("mlflow", folder, every, f"{len(every)} tables in one process, score files unread")
    warm = measure("mlflow", folder, every, f"{len(every)} tables in one process, score files read")
    together = [measure("jobs", folder, own, f"job {job} ({len(own)})")[0] for job, own in jobs.items()]
    alone = [measure("jobs", folder, [number], f"table {number} alone")[0] for number in ALONE]
    plain = measure("file", folder, every, f"{len(every)} tables from a plain file")
    compare(folder, [name for name in every if entries[name].kind == "selection"])
    print(f"all tables as the workflow makes them: {sum(together):.1f} core-s in {len(jobs)} jobs; ", end="")
    print(f"a job a table would take some {len(every) * sum(alone) / len(alone):.0f}")
    core, memory = warm[0] / plain[0], warm[2] / plain[2]
    print(f"ratio mlflow / file: {core:.2f} in core-s, {memory:.2f} in memory")
    print(f"first read of the score files: {cold[0] - warm[0]:.1f} core-s")
    return warm[1]


def main() -> None:
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        again = report(Path(name))
    if again > LIMIT:
        sys.exit(f"all tables took more than {LIMIT} core-seconds after the first read")


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]) if len(sys.argv) > 3 else main()
