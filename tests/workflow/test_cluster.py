"""`snakemake --profile slurm`, typed like that, on a real Slurm of three virtual nodes: the tables of a
laptop, and after every accident the bits of a calm run. The tests follow each other in one results folder."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from segshift import tracking

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UNET_T1, UNET_T2 = "t1_a/unet/full/own/0", "t2/unet/full/own/0"
FROZEN = "t1_a/lite_medsam_random/frozen/linear/0"
ADAPTED = f"{FROZEN}/finetune/t2"
STEP = "segshift.cell:Cell.step"
PATIENT = "trap '' TERM"  # the shell that brings an accident about hears Slurm's signal too


def missing(what):
    """What this machine lacks for a test: a skip, but not where it must run."""
    pytest.fail(what) if os.environ.get("CI") else pytest.skip(what)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Folder of a Slurm that is up until the last test has ended."""
    if not shutil.which("slurmctld"):
        missing("there is no Slurm here; make cluster installs one and runs this")
    base = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "cluster/up", base], check=True, timeout=120)
    yield base
    subprocess.run([HERE / "cluster/down", base], check=True, timeout=120)


@pytest.fixture(scope="module")
def cluster(slurm, new_micro):
    """A checkout with the micro configuration, whose workflows run on that Slurm; nothing ran in it yet."""
    made = new_micro()
    for name in ("Snakefile", "workflow", "profiles", "slurm"):
        (made.folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "config" / "site.example.yaml", made.config)
    hasty = made.folder / "commands" / "snakemake"
    hasty.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "cluster/impatient.py"}" "$@"\n')
    hasty.chmod(0o755)
    made.command, made.where = ["snakemake", "--profile", "slurm"], []
    made.environment |= {"SLURM_CONF": str(slurm / "slurm.conf")}
    made.environment["PATH"] = f"{slurm / 'bin'}:{made.environment['PATH']}"
    return made


def say(cluster, *words):
    """What one of Slurm's commands says."""
    done = subprocess.run(words, env=cluster.environment, capture_output=True, text=True, check=True)
    return done.stdout


def journals(cluster, cell):
    """How many attempts at a cell there were."""
    return len(list((cluster.results / "runs" / cell / "journal").glob("*.jsonl")))


def attempts(cluster, cell, before):
    """Those since the journals were counted, if they came as far as a step."""
    found = tracking.read(cluster.results / "runs" / cell)[before[cell] :]
    return [attempt for attempt in found if attempt.points]


def log(cluster, cell, verb="train"):
    return (cluster.results / "runs" / cell / f"{verb}.log").read_text()


def check_as_calm(cluster, micro):
    """Models, scores and tables have the bits of the laptop's undisturbed run."""
    assert cluster.models() == micro.before_models
    assert cluster.numbers() == micro.before_numbers


def test_the_tables_of_a_laptop(cluster, micro):
    output = cluster.snakemake()
    assert "SLURM run ID" in output
    check_as_calm(cluster, micro)
    assert cluster.planned() == []
    assert UNET_T1 in log(cluster, UNET_T1)


def test_cancelled_drained_preempted_and_out_of_memory(cluster, micro):
    """Four accidents in one workflow; each job goes on, or is tried again, without a word from the user."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T1, UNET_T2, FROZEN, ADAPTED)
    before = {cell: journals(cluster, cell) for cell in (UNET_T1, UNET_T2, FROZEN, ADAPTED)}
    cancel = f"{PATIENT}; scancel $SLURM_JOB_ID; sleep 3"
    cluster.fault("cancelled", f"train results/runs/{UNET_T1}", STEP, call=4, do=cancel)
    drain = "scontrol update nodename=$SLURMD_NODENAME state=drain reason=test"
    cluster.fault("drained", f"train results/runs/{FROZEN}", STEP, call=2, do=drain)
    hold = "import time; held = bytearray(b'x') * (3 << 30); time.sleep(60)"
    hog = f'python3 -c "{hold}"'
    cluster.fault("memory", f"train results/runs/{UNET_T2}", STEP, call=4, do=hog)
    where = "--partition urgent --nodelist $SLURMD_NODENAME --exclusive"
    urgent = f"sbatch {where} --output /dev/null --wrap 'sleep 3'"
    preempt = f"{PATIENT}; {urgent}; sleep 8"
    cluster.fault("preempted", f"adapt results/runs/{ADAPTED}", STEP, call=4, do=preempt)
    output = cluster.snakemake()
    assert cluster.struck(output) == ["cancelled", "drained", "memory", "preempted"]
    drained = [node for node in ("n0", "n1", "n2") if "drain" in state(cluster, node)]
    assert len(drained) == 1
    say(cluster, "scontrol", "update", f"nodename={drained[0]}", "state=resume")
    # `urgent` may have taken other jobs of its node with it, so there may be further attempts.
    first, second = attempts(cluster, UNET_T1, before)[:2]
    assert first.error == "signal 15 after step 4"  # it saved when it was told to end ...
    assert second.points[0].step == 4
    first, second = attempts(cluster, UNET_T2, before)[:2]
    assert first.status is None  # ... and was killed here, so it goes on after its last epoch
    assert second.points[0].step == 3
    assert attempts(cluster, ADAPTED, before)[1].points[0].step >= 3
    check_as_calm(cluster, micro)


def state(cluster, node):
    return say(cluster, "sinfo", "--noheader", "--nodes", node, "--format", "%T")


def test_head_is_killed_and_its_job_finishes_before_the_next_looks(cluster, micro):
    """The second workflow waits for the first one's training and takes up what it made."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T1)
    before = journals(cluster, UNET_T1)
    paused, go = cluster.folder / "paused", cluster.folder / "go"
    do = f"touch {paused}; until [ -e {go} ]; do sleep 0.2; done"
    cluster.fault("long", f"train results/runs/{UNET_T1}", STEP, call=2, do=do)
    head = cluster.start()
    cluster.wait(paused.exists, "the training")
    head.send_signal(signal.SIGKILL)
    head.communicate()
    second = cluster.start()
    said = ""
    while "Jobs of an earlier workflow go on in Slurm" not in said:
        line = second.stdout.readline()
        assert line, said
        said += line
    assert "train" in said
    go.touch()
    said += second.communicate()[0]
    assert second.returncode == 0, said
    assert cluster.struck() == ["long"]
    assert journals(cluster, UNET_T1) == before + 1
    check_as_calm(cluster, micro)


@contextmanager
def server(cluster, port):
    """MLflow's own tracking server on the folder's database."""
    own = cluster.results / "tracking"
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--workers", "1", "--backend-store-uri", f"sqlite:///{own / 'mlflow.db'}"]
    words += ["--artifacts-destination", str(own / "artifacts")]
    with open(cluster.folder / "server.log", "a") as said:
        process = subprocess.Popen(
            words, env=cluster.environment, stdout=said, stderr=said, start_new_session=True
        )
    try:
        cluster.wait(lambda: answers(port), "the tracking server")
        yield process
    finally:
        cluster.kill(process)


def answers(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
    except OSError:
        return False


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_over_its_time_while_the_tracking_server_is_away(cluster, micro):
    """A training that Slurm ends goes on from its last state; the server is gone for that minute."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T2)
    before, port = journals(cluster, UNET_T2), free_port()
    cluster.fault("slow", f"train results/runs/{UNET_T2}", STEP, call=5, do=f"{PATIENT}; sleep 600")
    short = "train: {runtime: 1, grace: 0, "
    with cluster.edited("site.yaml", "train: {", short), server(cluster, port):
        head = cluster.start(MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
        cluster.wait((cluster.faults / "slow.struck").exists, "the training")
    cluster.wait(lambda: journals(cluster, UNET_T2) == before + 2, "the second attempt")
    with server(cluster, port):
        output, _ = head.communicate(timeout=600)
    assert head.returncode == 0, output
    assert cluster.struck(output) == ["slow"]
    assert attempts(cluster, UNET_T2, {UNET_T2: before})[1].points[0].step == 3
    followed = (cluster.results / "tracking" / "follow.log").read_text()
    assert f"the tracking server http://127.0.0.1:{port} does not answer" in followed
    runs = tracked(cluster, UNET_T2)
    assert len(runs) == len({attempt.run for attempt in tracking.read(cluster.results / "runs" / UNET_T2)})
    check_as_calm(cluster, micro)


def tracked(cluster, cell):
    """MLflow's runs of a cell, oldest first: whether each is superseded."""
    words = """
        select superseded.value from tags cell
        join tags superseded on superseded.run_uuid = cell.run_uuid
        join runs on runs.run_uuid = cell.run_uuid
        where cell.key = 'segshift.cell' and cell.value = ? and superseded.key = 'segshift.superseded'
        order by runs.start_time"""
    with sqlite3.connect(cluster.results / "tracking" / "mlflow.db") as database:
        return [value for (value,) in database.execute(words, (cell,))]


def test_a_full_disk_for_one_cell_which_is_made_again_by_the_path_of_its_scores(cluster, micro):
    """The cell fails with a sentence, the others are made; with room again, the same command completes."""
    if os.getuid():
        missing("a small disk must be mounted, which needs root")
    cluster.settle()
    cluster.segshift("rerun", UNET_T1, UNET_T2)
    small = cluster.results / "runs" / UNET_T1 / "resume"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small], check=True)
    try:
        output = cluster.snakemake("--retries", "0", rc=1)
    finally:
        subprocess.run(["umount", small], check=True)
    said = log(cluster, UNET_T1)
    assert said.splitlines()[-1].endswith(".ckpt.part cannot be written: No space left on device")
    assert "Traceback" not in said
    assert f"train results/runs/{UNET_T1}: " in output
    assert (cluster.results / "runs" / UNET_T2 / "scores.csv").exists()
    partial = (cluster.results / "tables" / "partial" / "shift.md").read_text()
    assert UNET_T1 in partial
    assert "No space left on device" in partial
    cluster.settle()
    made = cluster.snakemake(f"results/runs/{UNET_T1}/scores.csv")
    assert "2 of 2 steps" in made
    cluster.settle()
    cluster.snakemake()
    check_as_calm(cluster, micro)
    assert cluster.planned() == []


def test_one_cell_again_by_rerun_and_the_old_run_is_superseded(cluster, micro):
    cluster.settle()
    before = tracked(cluster, UNET_T2)
    assert [superseded == "true" for superseded in before] == [True] * (len(before) - 1) + [False]
    assert UNET_T2 in cluster.segshift("rerun", UNET_T2)
    assert [
        job for job in cluster.planned() if job.split()[0] in ("prepare", "train", "adapt", "evaluate")
    ] == [
        f"evaluate {UNET_T2}",
        f"train {UNET_T2}",
    ]
    cluster.snakemake()
    assert tracked(cluster, UNET_T2) == ["true"] * len(before) + ["false"]
    check_as_calm(cluster, micro)
