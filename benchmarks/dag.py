"""What Snakemake itself costs: `python benchmarks/dag.py`.

A dry run of the thesis's whole grid, with everything taken as written that is planned: seconds, core-seconds
and peak memory. Then what a job costs that does nothing: trainings of that grid with a command in the place
of `segshift` that only makes the files, few and many of them, and the difference over their number. On this
machine, and with `snakemake --profile slurm` where there is a Slurm (`tests/workflow/cluster/up FOLDER`
starts one on this machine; then `source FOLDER/env`). There the executor looks at its jobs every two seconds.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from segshift import grid
from segshift.grid import Grid

ROOT = Path(__file__).parents[1]
FEW, MANY, MANY_LOCAL = 3, 13, 203
NOTHING = """#!/bin/sh
case $1 in
  train) touch "$2/model.ckpt" "$2/lowest_loss.ckpt" "$2/run.json" ;;
  track) cat > /dev/null ;;
esac
"""
#: Modules that are not written yet are taken as given.
BLIND = "import segshift.checking\nsegshift.checking._check_module = lambda *_: None\n"


class Cost(NamedTuple):
    """Seconds of the wall, of processors, and the largest process's memory in MB."""

    wall: float
    cores: float
    memory: float
    said: str


class Folder:
    """A checkout with the thesis's configuration and a command `segshift` that does nothing."""

    def __init__(self, root: Path) -> None:
        self.root, commands, blind = root, root / "commands", root / "blind"
        for made in (commands, blind):
            made.mkdir()
        for name in ("Snakefile", "workflow", "profiles", "slurm"):
            (root / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "config", root / "config")
        for file in (root / "config").glob("*.yaml"):
            file.write_text(file.read_text().replace("planned: true", "planned: false"))
        needs = "all: {mem_mb: 1000, threads: 1, runtime: 30, grace: 0}\nrow: {heads: 0}\n"
        (root / "config" / "site.yaml").write_text(needs)
        (commands / "segshift").write_text(NOTHING)
        (commands / "segshift").chmod(0o755)
        (blind / "sitecustomize.py").write_text(BLIND)
        foreign = ("MLFLOW", "SNAKEMAKE")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        paths = f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment |= {"PATH": paths, "PYTHONPATH": f"{ROOT / 'src'}:{blind}"}

    def run(self, *words: str) -> Cost:
        """What a command costs.

        Raises:
            SystemExit: it failed.
        """
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True)
        wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
        cores = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Cost(wall, cores, after.ru_maxrss / 1024, done.stdout + done.stderr)

    def prepare(self, expanded: Grid, number: int) -> list[str]:
        """Files of so many models, whose data and weights are there."""
        chosen = [model for model in expanded.jobs.values() if model.adapt is None][:number]
        for model in chosen:
            settings = grid.render(expanded.dataset_settings(model.source))
            self._write(f"data/{model.source}/manifest.json", json.dumps({"settings": settings}))
            for name in expanded.weights(model):
                self._write(f"weights/{name}", "")
        return [f"results/runs/{model.path}/model.ckpt" for model in chosen]

    def _write(self, name: str, content: str) -> None:
        file = self.root / "results" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def main() -> None:
    parsed = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parsed.add_argument("--repeats", type=int, default=2, help="dry runs (default: 2)")
    arguments = parsed.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Folder(Path(folder))
        for repeat in range(arguments.repeats):
            cost = made.run("snakemake", "-n", "--quiet", "rules")
            which = "first, all settings written" if not repeat else "again"
            print(f"dry run, {which}: {cost.wall:.1f} s, {cost.cores:.1f} core-s, {cost.memory:.0f} MB")
        print(f"  of {re.search(r'total +([0-9]+)', cost.said)[1]} jobs", flush=True)
        overhead(made, "on this machine", MANY_LOCAL, "snakemake", "--cores", "2")
        if shutil.which("squeue") and not subprocess.run(["squeue"], capture_output=True).returncode:
            hasty = [sys.executable, str(ROOT / "tests" / "workflow" / "cluster" / "impatient.py")]
            overhead(made, "on Slurm", MANY, *hasty, "--profile", "slurm")
        else:
            print("on Slurm: there is none here")


def overhead(made: Folder, where: str, many: int, *command: str) -> None:
    """What many trainings cost more than three."""
    expanded, costs = grid.read(ROOT / "config"), []
    for number in (FEW, many):
        files = made.prepare(expanded, number)
        costs.append(made.run(*command, *files))
        shutil.rmtree(made.root / "results" / "runs")
    wall, cores = ((costs[1][at] - costs[0][at]) / (many - FEW) for at in (0, 1))
    print(f"{where}: a job that does nothing takes {wall:.2f} s, and here {cores:.2f} core-s")
    print(f"  a workflow of {FEW} such jobs takes {costs[0].wall:.1f} s", flush=True)


if __name__ == "__main__":
    main()
