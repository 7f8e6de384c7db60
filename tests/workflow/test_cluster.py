"""`snakemake --profile slurm` on a real Slurm of three virtual nodes: the tables of a laptop, and after every
accident the bits of a calm run. The tests follow each other in one results folder."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UNET_T1, UNET_T2 = "t1_a/unet/full/own/0", "t2/unet/full/own/0"
FROZEN = "t1_a/lite_medsam_random/frozen/linear/0"
ADAPTED = f"{FROZEN}/finetune/t2"
STEP = "segshift.cell:Cell.step"
PATIENT = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "20")
NEEDS = """\
prepare: {threads: 1, mem_mb: 1500}
train: {threads: 1, mem_mb: 2500, workers: 0}
adapt: {threads: 1, mem_mb: 2500, workers: 0}
evaluate: {threads: 1, mem_mb: 2500}
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """Environment of a Slurm that is up until the last test has ended."""
    if not shutil.which("slurmctld"):
        missing = "there is no Slurm: tests/workflow/cluster/install"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    base = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "cluster/up", base], check=True, timeout=120)
    yield {"SLURM_CONF": str(base / "slurm.conf"), "SEGSHIFT_SLURM": str(base / "bin")}
    subprocess.run([HERE / "cluster/down", base], check=True, timeout=120)


@pytest.fixture(scope="module")
def cluster(slurm, new_micro):
    """A working directory whose workflows run on that Slurm; nothing ran in it yet."""
    made = new_micro()
    made.environment |= {"SLURM_CONF": slurm["SLURM_CONF"]}
    made.environment["PATH"] = f"{slurm['SEGSHIFT_SLURM']}:{made.environment['PATH']}"
    (made.config / "site.yaml").write_text(NEEDS)
    return made


def run(cluster, *words, rc=0, **environment):
    """Output of `snakemake --profile slurm`."""
    return cluster.snakemake("--profile", str(ROOT / "slurm"), *PATIENT, *words, rc=rc, **environment)


def say(cluster, *words):
    """What one of Slurm's commands says."""
    done = subprocess.run(words, env=cluster.environment, capture_output=True, text=True, check=True)
    return done.stdout


def attempts(cluster, cell):
    """Whether each attempt at a cell began anew or went on, and from which step."""
    return len(list((cluster.results / "runs" / cell / "journal").glob("*.jsonl")))


def check_as_calm(cluster, micro):
    """Models, scores and tables have the bits of the laptop's undisturbed run, and nothing is left to do."""
    assert cluster.models() == micro.before_models
    assert cluster.numbers() == micro.before_numbers
    assert cluster.planned("--profile", str(ROOT / "slurm")) == []


def test_the_tables_of_a_laptop(cluster, micro):
    output = run(cluster)
    assert "SLURM run ID" in output
    check_as_calm(cluster, micro)
    log = (cluster.results / f"runs/{UNET_T1}/train.log").read_text()
    assert UNET_T1 in log


def test_cancelled_drained_preempted_and_out_of_memory(cluster, micro):
    """Four accidents in one workflow; each job goes on, or is tried again, without a word from the user."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T1, UNET_T2, FROZEN, ADAPTED)
    patient = "trap '' TERM"  # the shell that does it hears Slurm's signal too
    cancel = f"{patient}; scancel $SLURM_JOB_ID; sleep 3"
    cluster.fault("cancelled", f"train results/runs/{UNET_T1}", STEP, call=4, do=cancel)
    drain = "scontrol update nodename=$SLURMD_NODENAME state=drain reason=test"
    cluster.fault("drained", f"train results/runs/{FROZEN}", STEP, call=2, do=drain)
    hold = "import time; held = bytearray(b'x') * (3 << 30); time.sleep(60)"
    hog = f'python3 -c "{hold}"'
    cluster.fault("memory", f"train results/runs/{UNET_T2}", STEP, call=4, do=hog)
    where = "--partition urgent --nodelist $SLURMD_NODENAME --exclusive"
    urgent = f"sbatch {where} --output /dev/null --wrap 'sleep 3'"
    preempt = f"{patient}; {urgent}; sleep 8"
    cluster.fault("preempted", f"adapt results/runs/{ADAPTED}", STEP, call=4, do=preempt)
    output = run(cluster)
    assert cluster.struck(output) == ["cancelled", "drained", "memory", "preempted"]
    assert "drain" in say(cluster, "sinfo", "--noheader", "--format", "%T")
    for node in ("n0", "n1", "n2"):
        if "drain" in say(cluster, "sinfo", "--noheader", "--nodes", node, "--format", "%T"):
            say(cluster, "scontrol", "update", f"nodename={node}", "state=resume")
    for cell in (UNET_T1, ADAPTED, UNET_T2):
        assert attempts(cluster, cell) >= 2, cell
    check_as_calm(cluster, micro)


def test_head_is_killed_and_its_job_finishes_before_the_next_looks(cluster, micro):
    """The second workflow waits for the first one's training and takes up what it made."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T1)
    before = attempts(cluster, UNET_T1)
    paused, go = cluster.folder / "paused", cluster.folder / "go"
    do = f"touch {paused}; until [ -e {go} ]; do sleep 0.2; done"
    cluster.fault("long", f"train results/runs/{UNET_T1}", STEP, call=2, do=do)
    head = cluster.start("--profile", str(ROOT / "slurm"), *PATIENT)
    cluster.wait(paused.exists, "the training")
    head.send_signal(signal.SIGKILL)
    head.communicate()
    second = cluster.start("--profile", str(ROOT / "slurm"), *PATIENT)
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
    assert attempts(cluster, UNET_T1) == before + 1
    check_as_calm(cluster, micro)


def test_over_its_time(cluster, micro):
    """A training that Slurm ends at its time limit goes on from its last state."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T2)
    (cluster.config / "site.yaml").write_text(
        NEEDS.replace("workers: 0}", "workers: 0, runtime: 1, grace: 0}")
    )
    cluster.fault("slow", f"train results/runs/{UNET_T2}", STEP, call=5, do="trap '' TERM; sleep 600")
    output = run(cluster)
    (cluster.config / "site.yaml").write_text(NEEDS)
    assert cluster.struck(output) == ["slow"]
    log = (cluster.results / f"runs/{UNET_T2}/train.log").read_text()
    assert "goes on after step" in log
    check_as_calm(cluster, micro)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_for_one_cell(cluster, micro):
    """The cell fails with a sentence, the others are made; with room again, the same command completes."""
    cluster.settle()
    cluster.segshift("rerun", UNET_T1, UNET_T2)
    small = cluster.results / "runs" / UNET_T1 / "resume"
    small.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small], check=True)
    try:
        output = run(cluster, "--retries", "0", rc=1)
    finally:
        subprocess.run(["umount", small], check=True)
    log = (cluster.results / f"runs/{UNET_T1}/train.log").read_text()
    assert "No space left on device" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert f"train results/runs/{UNET_T1}: " in output
    assert (cluster.results / "runs" / UNET_T2 / "scores.csv").exists()
    run(cluster)
    check_as_calm(cluster, micro)


def test_one_cell_again_by_its_path_and_by_rerun(cluster, micro):
    cluster.settle()
    scores = cluster.results / "runs" / UNET_T2 / "scores.csv"
    scores.unlink()
    output = run(cluster, str(scores.relative_to(cluster.folder)))
    assert "1 of 1 steps" in output
    run(cluster)
    before = json.loads((cluster.results / "runs" / UNET_T2 / "run.json").read_text())
    said = cluster.segshift("rerun", UNET_T2)
    assert UNET_T2 in said
    run(cluster)
    after = json.loads((cluster.results / "runs" / UNET_T2 / "run.json").read_text())
    assert after["started"] > before["started"]
    check_as_calm(cluster, micro)
