import io
import json
import os
import re
import subprocess
import sys
import threading
import time

import PIL.Image
import pytest

from segshift import scores
from segshift.errors import SegShiftError
from segshift.lock import CellLock, take
from segshift.paths import Results
from segshift.stages import track

ONE, TWO = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{ONE}/finetune/two"


def run(project, **more):
    track.run(project.config, project.results, **more)


def runs(project):
    return json.loads((project.results.tracking / "runs.json").read_text())


def statuses(project, cell=ONE):
    return project.sql(
        "select r.status, r.end_time, s.value from runs r join tags c on c.run_uuid = r.run_uuid "
        "join tags s on s.run_uuid = r.run_uuid where c.key = 'segshift.cell' "
        f"and c.value = '{cell}' and s.key = 'segshift.superseded' order by r.start_time, s.value desc"
    )


def test_a_second_pass_sends_nothing(project, tmp_path):
    project.complete()
    run(project, out=tmp_path / "out.txt")
    points = project.points()
    # Three models: 2 curves of 5 points, seconds; ds, dg, ov (dg alone if adapted); Dice and IoU of two
    # splits a target (one target if adapted).
    assert points == 3 * (10 + 1) + 2 * (3 + 8) + (1 + 4)
    first = (tmp_path / "out.txt").read_text()
    assert [line.split()[0] for line in first.splitlines()] == sorted([ONE, TWO, ADAPTED])
    run(project, out=tmp_path / "out.txt")
    assert project.points() == points
    assert (tmp_path / "out.txt").read_text() == first


def test_nothing_doubles_when_the_memory_is_lost(project):
    project.complete()
    run(project)
    points = project.points()
    (project.results.tracking / "cursors.json").unlink()
    os.utime(project.folder(ONE) / "scores.csv")  # the same scores, written again
    os.utime(project.folder(ONE) / "run.json")
    run(project)
    assert project.points() == points
    assert project.sql("select count(*) from runs") == [(3,)]
    project.journal(ONE, steps=[40, 50, 60])  # after the loss it still knows where the curves ended
    run(project)
    assert project.points() == points + 4


def test_a_score_arrives_to_the_last_bit_and_a_changed_one_wins(project):
    project.complete()
    run(project)
    latest = project.latest(ONE)
    assert latest["test/one/dice"] == 50.0
    assert project.latest(TWO)["test/one/dice"] == 1 / 3
    assert (latest["ds"], latest["dg"], latest["ov"]) == (50.0, 30.0, 40.0)
    assert project.latest(ADAPTED)["dg"] == 41.5
    assert "ds" not in project.latest(ADAPTED)
    points = project.points()
    project.scores(ONE, one=[(40.0, None), (50.0, 70.0)], two=[(20.0, 20.0)])
    old = time.time() - 3600  # a restored copy may be older than what it replaces
    os.utime(project.folder(ONE) / "scores.csv", (old, old))
    run(project)
    assert project.latest(ONE)["test/two/dice"] == 20.0
    assert project.points() == points + 6  # Dice and IoU of test and validation of the one target, dg, ov


def test_a_run_shows_what_it_is(project):
    project.complete()
    run(project)
    (run_id,) = [run for cell, run in next(iter(runs(project).values())).items() if cell == ADAPTED]
    tags = dict(project.sql(f"select key, value from tags where run_uuid = '{run_id}'"))
    parameters = dict(project.sql(f"select key, value from params where run_uuid = '{run_id}'"))
    axes = {
        "anatomy": "brain",
        "source": "one",
        "backbone": "unet",
        "tuning": "full",
        "head": "own",
        "seed": "0",
    }
    axes |= {"adapt": "finetune", "target": "two"}
    assert axes.items() <= tags.items()
    assert (axes | {"learning_rate": "0.01", "trainable": "1234"}).items() <= parameters.items()
    assert "trained on **Site one**, adapted to **two**" in tags["mlflow.note.content"]
    assert tags["dice"] == "41.50"
    assert tags["mlflow.runColor"].startswith("#")
    kept = project.results.tracking / "artifacts" / run_id / "artifacts"
    assert sorted(file.name for file in kept.iterdir()) == ["scores.csv", "settings.yaml"]
    assert (kept / "scores.csv").read_bytes() == (project.folder(ADAPTED) / "scores.csv").read_bytes()


def test_a_resumed_attempt_joins_its_run(project):
    project.journal(ONE, steps=range(0, 50, 10), status=None)
    run(project)
    assert statuses(project)[0][0] == "KILLED"
    with CellLock(project.folder(ONE)):
        project.journal(ONE, steps=range(30, 80, 10), status=None).log(80, {"train/loss": 0.0})
        run(project)
        assert [row[0] for row in statuses(project)] == ["RUNNING"]
    run(project)  # no file changed, but nobody holds the lock any more
    assert [row[0] for row in statuses(project)] == ["KILLED"]
    steps = project.sql("select step from metrics where key = 'train/loss' order by step")
    assert [step for (step,) in steps] == list(range(0, 90, 10))


def test_a_run_ends_when_its_process_did(project):
    project.journal(ONE, status=None)
    last = json.loads((project.folder(ONE) / "journal/001.jsonl").read_text().splitlines()[-1])["time"]
    time.sleep(0.05)
    run(project)
    assert statuses(project) == [("KILLED", last, "false")]


def test_a_training_from_its_start_supersedes_the_one_before(project):
    project.complete()
    run(project)
    old = next(iter(runs(project).values()))[ONE]
    project.journal(ONE, run="second", status="FAILED", error="no")
    run(project)
    assert [(row[0], row[2]) for row in statuses(project)] == [("FINISHED", "true"), ("FAILED", "false")]
    assert next(iter(runs(project).values()))[ONE] == old  # run.json says whose the scores are
    project.record(ONE, run="second")
    run(project)
    assert next(iter(runs(project).values()))[ONE] != old
    assert project.latest(ONE)["test/one/dice"] == 50.0


def test_scores_of_an_older_model_are_not_sent(project):
    project.complete()
    project.record(ONE, model="another")
    run(project)
    assert "ov" not in project.latest(ONE)
    assert "ov" in project.latest(TWO)


def test_a_damaged_model_is_named_and_costs_no_other(project):
    project.complete()
    with (project.folder(ONE) / "journal/001.jsonl").open("a") as stream:
        stream.write("garbage\n")
    with pytest.raises(SegShiftError, match=rf"could not be tracked: {ONE} .*line 8 is no journal line"):
        run(project)
    assert project.latest(TWO)["ov"] == scores.mean([70.0, 1 / 3])


def test_a_run_that_was_deleted_in_mlflow_is_made_again(project):
    project.complete()
    run(project)
    points = project.points()
    project.sql("update runs set lifecycle_stage = 'deleted'")
    run(project)
    assert project.points() == 2 * points


def test_results_may_move_with_what_was_tracked(project, tmp_path):
    project.complete()
    run(project)
    points = project.points()
    project.results = Results(project.results.root.rename(tmp_path / "elsewhere"))
    state = project.results.tracking / "cursors.json"
    before = json.loads(state.read_text())
    project.scores(TWO, two=[(70.0, 70.0)], one=[(5.0, 5.0)])
    run(project)
    assert json.loads(state.read_text()).keys() == before.keys()
    assert project.points() == points + 6
    (run_id,) = [run for cell, run in next(iter(runs(project).values())).items() if cell == TWO]
    kept = project.results.tracking / "artifacts" / run_id / "artifacts" / "scores.csv"
    assert kept.read_bytes() == (project.folder(TWO) / "scores.csv").read_bytes()


def test_only_models_of_the_named_experiment_and_their_sources(project):
    project.complete()
    run(project, experiments=["adapted"])
    assert sorted(next(iter(runs(project).values()))) == sorted([ONE, ADAPTED])
    with pytest.raises(SegShiftError, match="unknown experiment 'shfit'; did you mean 'shift'"):
        run(project, experiments=["shfit"])


def test_the_database_is_made_whole(project):
    file = project.results.tracking / "mlflow.db"
    file.write_bytes(b"")
    file.unlink()
    file.with_name("mlflow.db.part").write_bytes(b"half a database that a kill left")
    project.model(ONE, one=[(1.0, 2.0)])
    run(project)
    assert project.latest(ONE)["test/one/dice"] == 1.5
    assert not file.with_name("mlflow.db.part").exists()


def test_a_follower_sends_what_grows_and_ends_with_its_input(project, capsys, monkeypatch):
    project.journal(ONE, steps=[0], status=None)
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
    thread = threading.Thread(target=run, args=(project,), kwargs={"follow": True, "every": 0.1})
    thread.start()
    wait_until(lambda: project.points() == 2)
    with pytest.raises(SegShiftError, match="another follower tracks here: process"):
        run(project, follow=True)
    project.journal(ONE, steps=[0, 10], status="FINISHED")
    wait_until(lambda: project.points() == 4)
    while (held := take(project.results.tracking / "lock")) is None:
        time.sleep(0.01)
    # A pass waits for another process's pass.
    project.journal(ONE, steps=[20], status="FINISHED")
    os.close(writer)
    time.sleep(0.3)
    assert project.points() == 4
    held.close()
    thread.join(20)
    assert not thread.is_alive()
    assert project.points() == 6


def wait_until(true):
    for _ in range(200):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in ten seconds")


def test_the_saved_views_are_readable_and_name_what_runs_have(project):
    """Each filter is one that MLflow takes and that finds what its view is for; each column is there."""
    import base64
    import zlib

    from segshift.mlflow_store import Store

    project.complete()
    project.journal(ONE, run="again", status="FAILED", error="no memory left")
    run(project)
    tags = dict(
        project.sql("select key, value from experiment_tags where key like 'mlflow.sharedViewState.%'")
    )
    assert len(tags) == 5
    views = {}
    for value in tags.values():
        packed = json.loads(value)["state"].removeprefix("deflate;")
        page = json.load(io.BytesIO(zlib.decompress(base64.b64decode(packed))))
        views[json.loads(value)["name"]] = page
    assert views["Ranking"]["orderByKey"] == "metrics.`ov`"
    assert views["Ranking"]["groupBy"] is None
    store = Store(f"sqlite:///{project.results.tracking / 'mlflow.db'}", "segshift")
    shown = {
        name: [
            (r.data.tags["segshift.cell"], r.info.status)
            for r in store.client.search_runs([store.experiment], page["searchFilter"])
        ]
        for name, page in views.items()
    }
    current = [(ONE, "FAILED"), (ADAPTED, "FINISHED"), (TWO, "FINISHED")]  # the first of ONE is superseded
    assert sorted(shown["Ranking"]) == current
    assert sorted(shown["Published beside ours"]) == current
    assert sorted(shown["One cell, all attempts"]) == [(ONE, "FAILED"), (ONE, "FINISHED")]
    assert shown["Failed"] == [(ONE, "FAILED")]
    assert shown["Adaptation"] == [(ADAPTED, "FINISHED")]
    (error,) = project.sql("select value from tags where key = 'segshift.error'")
    assert error == ("no memory left",)
    named = {f"tags.`{key}`" for (key,) in project.sql("select distinct key from tags")}
    named |= {f"metrics.`{key}`" for (key,) in project.sql("select distinct key from metrics")}
    wanted = {one for page in views.values() for one in page["selectedColumns"]}
    # of adapted models, imported ones, and the page's own
    rest = {"tags.`segshift.labelled`", "tags.`segshift.collapsed`", "tags.`segshift.code`", "tags.`origin`"}
    assert wanted - named - rest == {"attributes.`Created`", "attributes.`Duration`"}


def test_tracking_and_tables_never_load_torch():
    code = "import sys, segshift.stages.track, segshift.stages.tabulate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_pictures_are_there_once_with_their_steps(project):
    """As MLflow's own client names them; memory may be lost, and a resumed attempt draw an epoch again."""
    project.complete()
    folder = project.folder(ONE)
    journal = project.journal(ONE, steps=[], status=None)
    for step in (9, 19):
        file = folder / "snapshots" / f"epoch-{step}.png"
        file.parent.mkdir(exist_ok=True)
        PIL.Image.new("RGB", (300, 200), (step, 0, 0)).save(file)
        journal.event("picture", step=step, key="validation/slices", file=f"snapshots/{file.name}")
    journal.event("picture", step=9, key="validation/slices", file="snapshots/epoch-9.png")
    journal.event("picture", step=29, key="validation/slices", file="snapshots/lost.png")
    journal.end("FINISHED")
    (folder / "scores").mkdir()
    PIL.Image.new("RGB", (30, 20)).save(folder / "scores" / "two.png")
    run(project)
    run_id = runs(project)[next(iter(runs(project)))][ONE]
    kept = project.results.tracking / "artifacts" / run_id / "artifacts" / "images"

    def names():
        return sorted(file.name for file in kept.iterdir())

    first = names()
    found = [
        re.fullmatch(r"(.+?)\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f-]{36}(.*)", name).groups()
        for name in first
    ]
    pictures = [("test~two", "0"), ("validation~slices", "19"), ("validation~slices", "9")]
    assert sorted(found) == [(*one, end) for one in pictures for end in ("+compressed.webp", ".png")]
    tags = dict(project.sql(f"select key, value from tags where run_uuid = '{run_id}'"))
    assert tags["mlflow.loggedImages"] == "True"
    (project.results.tracking / "cursors.json").unlink()
    run(project)
    assert names() == first


def test_an_adapted_model_says_whose_labels_it_saw_and_whether_it_collapsed(project):
    project.complete()
    told = {"budget": "3 + 5 validation", "collapsed": [2], "guard": "collapsed at epoch 2"}
    project.journal(ADAPTED)
    project.record(ADAPTED, **told)
    run(project)
    tags = dict(
        project.sql(
            "select t.key, t.value from tags t join tags c on c.run_uuid = t.run_uuid "
            f"where c.key = 'segshift.cell' and c.value = '{ADAPTED}'"
        )
    )
    assert tags["segshift.labelled"] == "3 + 5 validation"
    assert tags["segshift.collapsed"] == "true"
    assert tags["segshift.guard"] == "collapsed at epoch 2"
    keys = {
        key
        for (key,) in project.sql(
            "select t.key from tags t join tags c on c.run_uuid = t.run_uuid "
            f"where c.key = 'segshift.cell' and c.value = '{ONE}'"
        )
    }
    assert not keys & {"segshift.labelled", "segshift.collapsed", "segshift.guard"}
