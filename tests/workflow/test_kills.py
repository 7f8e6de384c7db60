"""kill -9 of jobs, of Snakemake alone and of all at once, at eleven places; afterwards models, scores and
tables have the bits of the run that nobody disturbed. The tests follow each other."""

import shutil
import signal

import pytest

from segshift import lock

pytestmark = pytest.mark.workflow

UNET_T1, UNET_T2 = "t1_a/unet/full/own/0", "t2/unet/full/own/0"
FROZEN = "t1_a/lite_medsam_random/frozen/linear/0"
ADAPTED = f"{FROZEN}/finetune/t2"
KILL_JOB = "kill -9 $JOB"
SILENT = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.fixture(scope="module")
def forgotten(micro):
    """The finished micro workflow without models, scores, tables and one dataset; journals and runs stay."""
    micro.settle()
    micro.segshift("rerun", UNET_T1, UNET_T2, FROZEN, ADAPTED)
    for folder in ("data/t2", "tables"):
        shutil.rmtree(micro.results / folder)
    return micro


def after(micro, fault):
    """Shell: wait until another fault struck, so that what is killed together was running together."""
    return f"until [ -e {micro.faults}/{fault}.struck ]; do sleep 0.1; done"


def test_second_workflow_is_refused_and_a_killed_one_locks_nothing(forgotten):
    micro = forgotten
    where = "segshift.prepared:PreparedVolume.write"
    micro.fault("half_a_file", "prepare t2", where, call=2, do=KILL_JOB)
    paused = micro.folder / "paused"
    where, cell = "segshift.cell:Cell.step", f"results/runs/{UNET_T1}"
    micro.fault("training", f"train {cell}", where, call=2, do=f"touch {paused}; sleep 600")
    first = micro.start()
    micro.wait(paused.exists, "the training")
    assert f"Another workflow works here: process {first.pid} on " in micro.snakemake(rc=1)
    micro.wait((micro.faults / "half_a_file.struck").exists, "the preparation")
    micro.kill(first)
    assert micro.struck() == ["half_a_file", "training"]
    assert not (micro.results / "data/t2/manifest.json").exists()
    held = lock.take(micro.results / ".lock")
    assert held, "the killed workflow left a lock"
    held.close()


def test_killed_jobs_cost_the_others_nothing(forgotten):
    micro = forgotten
    cells = {path: f"results/runs/{path}" for path in (UNET_T1, UNET_T2, FROZEN, ADAPTED)}
    where = "segshift.cell:Cell.save"  # the epoch's selected weights are written, the state is not
    micro.fault("before_state", f"train {cells[UNET_T1]}", where, call=2, do=KILL_JOB)
    where = "segshift.cell:place"  # finished, but not put in place
    micro.fault("before_place", f"train {cells[UNET_T2]}", where, do=KILL_JOB)
    micro.fault("step", f"adapt {cells[ADAPTED]}", "segshift.cell:Cell.step", call=4, do=KILL_JOB)
    where = "segshift.stages.evaluate:_score"
    micro.fault("between_targets", f"evaluate {cells[FROZEN]}", where, call=2, do=KILL_JOB)
    output = micro.snakemake(rc=1)
    assert micro.struck(output) == ["before_place", "before_state", "between_targets", "step"]
    assert "4 failed." in output
    assert (micro.results / f"runs/{FROZEN}/model.ckpt").exists()
    assert (micro.results / f"runs/{FROZEN}/scores/t1_a.csv").exists()
    assert not (micro.results / f"runs/{FROZEN}/scores.csv").exists()


def test_trainings_do_without_mlflow(forgotten):
    """Interrupted models go on to the same bits without a server; only `track` fails, and says why."""
    micro = forgotten
    where = "segshift.scores:write"  # all targets are scored, their sum is not written
    micro.fault("before_sum", f"evaluate results/runs/{UNET_T2}", where, call=3, do=KILL_JOB)
    output = micro.snakemake(rc=1, **SILENT)
    assert micro.struck(output) == ["before_sum"]
    assert micro.models() == micro.before_models
    log = (micro.results / f"runs/{UNET_T1}/train.log").read_text()
    assert f"{UNET_T1}: goes on after step 3 of 6" in log
    assert f"{UNET_T2}: is finished" in (micro.results / f"runs/{UNET_T2}/train.log").read_text()
    assert "t1_a: was scored before" in (micro.results / f"runs/{FROZEN}/evaluate.log").read_text()
    assert "\n2 failed." in output
    (line,) = [line for line in output.splitlines() if line.startswith("  track ")]
    assert "127.0.0.1:9" in line
    assert not (micro.results / "tables/adaptation.csv").exists()


def test_snakemake_alone_is_killed(forgotten):
    """Its jobs go on without it; what they finish is taken up."""
    micro = forgotten
    micro.settle()
    where = "segshift.syncing:Syncer._scores"
    micro.fault("scores_half_sent", "track adaptation --out", where, after=True, do=KILL_JOB)
    where, do = "segshift.stages.evaluate:_score", f"{after(micro, 'scores_half_sent')}; kill -9 $WORKFLOW"
    micro.fault("orphan", f"evaluate results/runs/{UNET_T2}", where, do=do)
    output = micro.snakemake(rc=-signal.SIGKILL)
    assert micro.struck(output) == ["orphan", "scores_half_sent"]
    micro.wait((micro.results / f"runs/{UNET_T2}/scores.csv").exists, "the orphan's scores")
    micro.settle()


def test_all_are_killed_while_tables_are_made(forgotten):
    micro = forgotten
    where = "segshift.tables.files:write"
    micro.fault("half_a_table", "tabulate adaptation --config", where, call=2, do=KILL_JOB)
    do = f"{after(micro, 'half_a_table')}; kill -9 -- -$WORKFLOW"
    # before it locks MLflow, for which the other `track`, and so the table, would wait for ever
    micro.fault("all", "track shift --out", "segshift.stages.track:Tracker.tick", do=do)
    output = micro.snakemake(rc=-signal.SIGKILL)
    assert micro.struck(output) == ["all", "half_a_table"]


def test_afterwards_all_is_as_if_nobody_had_disturbed(forgotten):
    micro = forgotten
    micro.snakemake()
    assert micro.models() == micro.before_models
    assert micro.numbers() == micro.before_numbers
    assert micro.planned() == []
    left = [str(file) for file in micro.results.rglob("*.part")]
    assert left == []
