"""Runs Snakemake, and says after each job how many are done and how long the others will take.

`python workflow/demo.py WORDS…` is `snakemake WORDS…`, with a line a job instead of its log. Jobs are forks
of a process that has imported what they need (`segshift.warm`): to import it takes longer than a small job.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

FORKED = ("train", "adapt", "evaluate")
IMPORTED = (*(f"segshift.stages.{verb}" for verb in FORKED), "segshift.backbones.lite_medsam")
# Seconds of a job as long as none of its rule has ended: only their ratios matter.
USUAL = {"train": 12.0, "adapt": 8.0, "evaluate": 8.0, "prepare": 3.0, "track": 8.0, "tabulate": 8.0}
OTHER = 2.0


class Progress:
    """What Snakemake's log says of its jobs."""

    def __init__(self, clock=time.monotonic) -> None:
        self.clock, self.started = clock, clock()
        self.counts: Counter[str] = Counter()  # jobs by rule that are not over
        self.total = self.done = self.most = 0
        self.running: dict[str, tuple[str, str, float]] = {}  # by job: rule, what it makes, since when
        self.took: dict[str, list[float]] = {}
        self.rule = ""
        self.place = "log"

    def read(self, line: str) -> str | None:
        """A line of the log; what there is to tell, if anything."""
        line = line.rstrip()
        if line == "Job stats:":
            self.place = "stats"
        elif self.place == "stats":
            self._count(line)
        elif match := re.fullmatch(r"(?:local)?(?:rule|checkpoint) (\w+):", line):
            self.rule, self.makes = match[1], ""
        elif match := re.match(r"    output: (.+)", line):
            self.makes = _subject(match[1])
        elif (match := re.match(r"    jobid: (\d+)", line)) and self.rule:
            self.running[match[1]] = self.rule, self.makes, self.clock()
            self.most, self.rule = max(self.most, len(self.running)), ""
        elif (match := re.match(r"Finished jobid: (\d+)", line)) and match[1] in self.running:
            return self._finish(*self.running.pop(match[1]))
        return None

    def _count(self, line: str) -> None:
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            if words[0] == "total":
                self.total, self.place = int(words[1]), "log"
            else:
                self.counts[words[0]] = int(words[1])

    def _finish(self, rule: str, what: str, since: float) -> str:
        self.took.setdefault(rule, []).append(self.clock() - since)
        self.counts[rule] -= 1
        self.done += 1
        gone = (self.clock() - self.started) / 60
        left = f", about {_minutes(self.left())} left" if self.done < self.total else ""
        return f"[{self.done}/{self.total}] {rule} {what} ({gone:.1f} min gone{left})"

    def left(self) -> float:
        """Seconds until all jobs are over."""
        known = {rule: sum(took) / len(took) for rule, took in self.took.items()}
        usual = sum(USUAL.get(rule, OTHER) * len(took) for rule, took in self.took.items())
        slow = sum(map(sum, self.took.values())) / usual if usual else 1.0
        work = sum(
            count * known.get(rule, USUAL.get(rule, OTHER) * slow)
            for rule, count in self.counts.items()
            if count > 0
        )
        work -= sum(min(self.clock() - since, known.get(rule, 0)) for rule, _, since in self.running.values())
        return max(work, 0) / max(self.most, 1)


def _subject(outputs: str) -> str:
    """What a job makes, from its first output: a model, a dataset, a table."""
    path = outputs.split(", ")[0].removeprefix("results/")
    for folder, ending in (("runs/", r"/[\w.]+$"), ("data/", r"/[\w.]+$"), ("", r"\.\w+$")):
        if path.startswith(folder):
            return re.sub(ending, "", path.removeprefix(folder))
    return path


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


class Server:
    """The process that jobs are forked from, started when there are some."""

    def __init__(self, path: Path) -> None:
        self.path, self.process = path, None

    def start(self) -> None:
        single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        words = [sys.executable, "-m", "segshift.warm", str(self.path), *IMPORTED]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, env=os.environ | single)
        self.path.with_name(f"{self.path.name}.pid").write_text(str(self.process.pid))  # jobs wait for it

    def end(self) -> None:
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def main(words: list[str]) -> int:
    """Run Snakemake; its exit code. What it said of an error is passed on."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "warm")
        try:
            return _run(words, server)
        finally:
            server.end()


def _run(words: list[str], server: Server) -> int:
    command = [sys.executable, "-m", "snakemake", *words]
    environment = os.environ | {"SEGSHIFT_WARM": str(server.path)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace", env=environment)
    progress, last = Progress(), deque(maxlen=200)
    while True:
        try:
            for line in process.stderr:
                last.append(line)
                if told := progress.read(line):
                    print(told, flush=True)
                if not server.process and progress.total and any(map(progress.counts.get, FORKED)):
                    server.start()
            code = process.wait()
            break
        except KeyboardInterrupt:  # Snakemake gets it too, and ends by itself
            print("Interrupted; the same command goes on from there.", flush=True)
    if code:
        sys.stderr.writelines(last)
    elif not progress.total:
        print("Nothing to be done.", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
