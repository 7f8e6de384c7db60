"""What the demo tells of Snakemake's log: which job, how many of how many, and how long the others take."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "workflow" / "demo.py"
STATS = """\
Building DAG of jobs...
Job stats:
job         count
--------  -------
prepare         2
train           2
evaluate        2
all             1
total           7

"""


def job(number, rule, output):
    return f"""\
Execute 1 jobs...
[Fri Nov 27 18:11:36 2026]
localrule {rule}:
    input: results/data/t1_b/manifest.json
    output: {output}
    log: results/some.log
    jobid: {number}
    reason: Missing output files: {output}
    wildcards: dataset=t1_b
    resources: tmpdir=/tmp
"""


def finished(number, rule):
    return f"Select jobs to execute...\n[Fri Nov 27 18:11:36 2026]\nFinished jobid: {number} (Rule: {rule})\n"


@pytest.fixture
def told():
    """Reads a log at a time in seconds; what was told."""
    spec = importlib.util.spec_from_file_location("demo", FILE)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    now = [0.0]
    progress = demo.Progress(clock=lambda: now[0])

    def read(seconds, log):
        now[0] = seconds
        return [text for line in log.splitlines(keepends=True) if (text := progress.read(line))]

    read.progress = progress
    return read


def test_each_job_is_told_with_the_time_that_is_left(told):
    prepared = "results/data/t1_b/train.h5, results/data/t1_b/manifest.json"
    trained = "results/runs/t1_b/unet/full/own/0/model.ckpt, results/runs/t1_b/unet/full/own/0/run.json"
    assert told(0, STATS + job(4, "prepare", prepared)) == []
    # of two that take 30 s: 30 s; training and evaluation are taken to be as slow as it: 10 times the usual
    assert told(30, finished(4, "prepare")) == ["[1/7] prepare t1_b (0.5 min gone, about 7.5 min left)"]
    assert told(30, job(51, "train", trained)) == []
    assert told(90, finished(51, "train")) == [
        # prepare 30 s, train 60 s; evaluation 2 x 8 s and the last job 2 s, 90/15 times the usual
        "[2/7] train t1_b/unet/full/own/0 (1.5 min gone, about 3.3 min left)"
    ]


def test_jobs_beside_each_other_share_the_time(told):
    told(
        0, STATS + job(4, "prepare", "results/data/a/train.h5") + job(5, "prepare", "results/data/b/train.h5")
    )
    assert told.progress.most == 2
    (first,) = told(30, finished(4, "prepare"))
    # of the other prepare job nothing is left; the rest takes 10 times the usual, two at once
    assert first == "[1/7] prepare a (0.5 min gone, about 3.5 min left)"


def test_the_last_job_leaves_nothing(told):
    told(0, "Job stats:\njob count\n--- ---\nreport 1\ntotal 1\n\n" + job(1, "report", "results/report.html"))
    assert told(6, finished(1, "report")) == ["[1/1] report report (0.1 min gone)"]


def test_nothing_to_do_counts_nothing(told):
    assert told(0, "Building DAG of jobs...\nNothing to be done (all requested files are present).\n") == []
    assert told.progress.total == 0
