"""`kill -9` of a training at a hundred random moments: `python benchmarks/kills.py`.

A small U-Net learns phantoms on the CPU. Each attempt is a fork of this process, which has loaded PyTorch,
and is killed after a random time, unless it ends before; the next attempt goes on from what was saved. Every
training that comes to its end must leave the file that an undisturbed one left, byte for byte; else the exit
code is 1.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
import yaml

from segshift import cli, grid
from segshift.paths import Results
from segshift.stages import phantom, train

ROOT = Path(__file__).parents[1]
CELL = "t1_a/unet/full/own/0"
EPOCHS = 12  # of three steps; state is saved after each epoch


def main() -> int:
    parsed = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parsed.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    parsed.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    arguments = parsed.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = make(Path(folder))
        model = results.run(CELL) / "model.ckpt"
        begun = time.monotonic()
        ended(attempt(results), None)
        whole = time.monotonic() - begun
        undisturbed = digest(model)
        print(f"undisturbed: {whole:.2f} s, sha256 {undisturbed}", flush=True)
        killed, found = kill(results, arguments.kills, random.Random(arguments.seed), whole)
    print(
        f"{arguments.kills} kills in {sum(killed.values())} trainings, {min(killed)} to {max(killed)} in each"
    )
    others = found.keys() - {undisturbed}
    print(f"{found[undisturbed]} ended with that sha256, {sum(found[one] for one in others)} with another")
    return int(bool(others))


def kill(results: Results, kills: int, chance: random.Random, whole: float) -> tuple[Counter, Counter]:
    """Train again and again until enough attempts were killed and the last training has come to its end.

    Returns:
        How many trainings were killed how often, and how many left which file.
    """
    left, times = kills, 0
    often, found = Counter(), Counter()
    forget(results)
    while left or times:
        if ended(attempt(results), chance.uniform(0, whole) if left else None):
            often[times] += 1
            found[digest(results.run(CELL) / "model.ckpt")] += 1
            times = 0
            forget(results)
        else:
            left, times = left - 1, times + 1
    return often, found


def make(folder: Path) -> Results:
    """Phantoms of 32 pixels, prepared, and the settings of one cell; the working directory."""
    os.chdir(folder)
    shutil.copytree(ROOT / "tests" / "workflow" / "micro", "config")
    lines = yaml.safe_load(Path("config/training.yaml").read_text())
    lines[0]["use"]["epochs"] = EPOCHS
    Path("config/training.yaml").write_text(yaml.safe_dump(lines))
    phantom.run(Path("raw"), size=32, slices=4, train=3, validation=1, test=1, domains=["t1_a"])
    results = Results("results")
    grid.write_settings(grid.read("config"), results)
    ended(fork(["prepare", "t1_a", "--config", "config"]), None)
    return results


def attempt(results: Results) -> int:
    """Start to train, or go on; the process."""
    return fork(["train", CELL, "--results", str(results.root), "--device", "cpu"])


def fork(words: list[str]) -> int:
    """A command in a fork of this process; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        log = open("log", "a", buffering=1)  # noqa: SIM115 - until the fork ends
        sys.stdout = sys.stderr = log
        code = cli.main(words)
    except SystemExit as end:
        code = end.code
    finally:
        os._exit(code)


def ended(process: int, seconds: float | None) -> bool:
    """True if a process ended well; after so many seconds, if any, it is killed.

    Raises:
        SystemExit: it failed by itself.
    """
    until = time.monotonic() + (float("inf") if seconds is None else seconds)
    done = 0
    while not done and time.monotonic() < until:
        done, status = os.waitpid(process, os.WNOHANG)
        time.sleep(0 if done else 0.002)
    if not done:
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
    if status and not (not done and os.WIFSIGNALED(status)):
        sys.exit(f"a command failed by itself: {Path('log').read_text()[-2000:]}")
    return not status


def forget(results: Results) -> None:
    """Everything of the cell but its settings."""
    for entry in results.run(CELL).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "settings.yaml":
            entry.unlink()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    assert train  # loaded before the first fork
    sys.exit(main())
