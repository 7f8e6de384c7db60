import pytest
import yaml

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.stages import tabulate, track
from segshift.tables import plan

ONE, TWO = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{ONE}/finetune/two"


@pytest.fixture
def complete(project):
    project.complete()
    track.run(project.config, project.results)
    return project


def run(project, experiment="shift", **more):
    return tabulate.run(project.config, project.results, experiment, **more)


def test_a_table_is_what_was_tracked(complete):
    table = run(complete)
    folder = complete.results.tables
    assert (folder / "shift.csv").read_text() == (
        "rank,backbone,tuning,head,trainable,ds,dg,ov\n"
        f"1,unet,full,own,1234,60.0,{(30 + 1 / 3) / 2!r},{(50 + 30 + 70 + 1 / 3) / 4!r}\n"
    )
    assert (
        "|    1 | U-Net    | full   | own  |     1.23K | 60.00 | 15.17 | 37.58 |"
        in (folder / "shift.md").read_text()
    )
    evidence = {(score.cell, score.target): score for score in table.column("ov")[0].scores}
    assert evidence[ONE, "one"].volumes == (("v0", "p0", 40.0), ("v1", "p1", 60.0))
    assert complete.sql(
        f"select value from tags where key = 'segshift.cell' and run_uuid = '{evidence[ONE, 'one'].run}'"
    ) == [(ONE,)]


def test_an_adapted_table(complete):
    table = run(complete, "adapted")
    assert table.column("adapt") == ["finetune", "none"]
    assert [cell.value for cell in table.column("ds")] == [50.0, 50.0]
    assert [cell.value for cell in table.column("dg")] == [41.5, 30.0]


def test_the_same_scores_give_the_same_bytes(complete, tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        run(complete, folder=folder)
    for name in ("shift.csv", "shift.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("partial", [False, True])
def test_a_score_file_that_says_otherwise_is_refused(complete, partial):
    complete.scores(TWO, two=[(70.0, 70.0)], one=[(1 / 3, 1 / 3 + 1e-15)])
    with pytest.raises(SegShiftError, match=rf"{TWO}: MLflow says test/one/dice is 0\.333"):
        run(complete, partial=partial)
    track.run(complete.config, complete.results)
    run(complete, partial=partial)


def test_a_tracked_score_that_somebody_changed_is_refused(complete):
    complete.sql("update latest_metrics set value = value + 1 where key = 'test/two/dice'")
    with pytest.raises(
        SegShiftError, match=rf"{ONE}: MLflow says test/two/dice is 31.0, its score file says 30.0"
    ):
        run(complete)


def test_what_is_not_tracked_is_refused(project):
    project.complete()
    with pytest.raises(SegShiftError, match=rf"{ONE}, {TWO} are not tracked in sqlite.*: run segshift track"):
        run(project)
    track.run(project.config, project.results)
    project.sql("update runs set lifecycle_stage = 'deleted'")
    with pytest.raises(SegShiftError, match=f"{ONE} is not tracked as it is now: run segshift track"):
        run(project)
    track.run(project.config, project.results)
    run(project)
    project.record(ONE, run="a training since")
    with pytest.raises(SegShiftError, match=f"{ONE} is not tracked as it is now: run segshift track"):
        run(project)


def test_a_complete_table_names_what_is_missing_and_a_partial_one_says_why(complete):
    (complete.folder(TWO) / "scores.csv").unlink()
    (complete.folder(TWO) / "evaluate.log").write_text("started\nSegShiftError: one has other classes\n\n")
    with pytest.raises(
        SegShiftError,
        match=rf"shift: 2 scores are missing: {TWO} on two \(SegShiftError: one has other classes\); ",
    ):
        run(complete)
    assert not (complete.results.tables / "shift.csv").exists()
    table = run(complete, partial=True)
    assert [number.value for number in (*table.column("ds"), *table.column("ov"))] == [None, None]
    text = (complete.results.tables / "partial" / "shift.md").read_text()
    assert text.startswith("# Shift (partial)\n")
    assert f"¹ Missing: {TWO} on two, one (SegShiftError: one has other classes)." in text


def test_a_failed_training_speaks_for_what_hangs_on_it(project):
    project.journal(ONE, status="FAILED", error="ValueError: the loss is\nnan at step 3")
    table = run(project, "adapted", partial=True)
    (note,) = {note for note in table.footnotes if "finetune" in note}
    assert f"{ADAPTED} on two (ValueError: the loss is nan at step 3)" in note
    assert "it was not started" in run(project, "shift", partial=True).footnotes[0]


def test_scores_of_an_older_model_count_as_missing(complete):
    complete.record(TWO, model="another")
    with pytest.raises(SegShiftError, match=rf"2 scores are missing: {TWO} on two"):
        run(complete)


def test_an_unknown_experiment_is_named(project):
    with pytest.raises(SegShiftError, match="unknown experiment 'shfit'; did you mean 'shift'"):
        run(project, "shfit")


def test_show_prints_the_tables_and_where_they_are(complete, capsys):
    with pytest.raises(SegShiftError, match="there are no tables"):
        tabulate.show(complete.config, complete.results)
    run(complete)
    tabulate.show(complete.config, complete.results)
    out = capsys.readouterr().out
    assert "# Shift" in out
    assert "60.00" in out
    assert f"Tables: {complete.results.tables}" in out
    assert "segshift ui" in out


# ---- tables of tables.yaml ---------------------------------------------------------------------------------


def entries(project, **tables):
    (project.config / "tables.yaml").write_text(yaml.safe_dump(tables, sort_keys=False))


RANKING = {
    "title": "Ours",
    "experiment": "shift",
    "columns": ["rank", "backbone", "train_params_m", "targets", "ov"],
}


def test_a_table_of_tables_yaml_from_what_was_tracked(complete):
    entries(complete, **{"9.1": RANKING})
    assert plan.names(grids.read(complete.config)) == ["9.1"]
    table = run(complete, "9.1")
    folder = complete.results.tables
    ov = (50 + 30 + 70 + 1 / 3) / 4
    assert (folder / "table_9.1.csv").read_text() == (
        "rank,backbone,train_params_m,one_one,one_two,two_one,two_two,ov\n"
        f"1,unet,0.001234,50.0,30.0,{1 / 3!r},70.0,{ov!r}\n"
    )
    assert {file.name for file in folder.iterdir()} == {
        f"table_9.1.{e}" for e in ("csv", "md", "tex", "html")
    }
    assert (folder / "table_9.1.md").read_text().startswith("# Table 9.1: Ours\n")
    (score,) = table.column("two_one")[0].scores
    assert (score.cell, score.validation, len(score.run)) == (TWO, 1 / 3, 32)


def test_a_table_needs_only_the_scores_that_it_shows(complete):
    entries(complete, a=RANKING | {"where": {"source": ["one"]}}, b=RANKING | {"where": {"source": ["two"]}})
    (complete.folder(TWO) / "scores.csv").unlink()
    assert run(complete, "a").column("ov")[0].value == 40.0
    with pytest.raises(SegShiftError, match=rf"b: 2 scores are missing: {TWO} on two"):
        run(complete, "b")
    table = run(complete, "b", partial=True)
    assert table.column("ov")[0].value is None
    assert (complete.results.tables / "partial" / "table_b.tex").exists()


def test_a_table_of_one_adaptation_takes_ds_from_before_it(complete):
    columns = ["adapt", "ds", "domain_shift", "dom_shift_loss_pct"]
    entry = {"title": "A", "experiment": "adapted", "columns": columns}
    entries(complete, both=entry, one=entry | {"where": {"adapt": ["finetune"]}})
    both, one = run(complete, "both"), run(complete, "one")
    assert both.column("adapt") == ["none", "finetune"]
    assert [cell.value for cell in both.column("domain_shift")] == [30.0, 41.5]
    assert one.column("adapt") == ["finetune"]
    (row,) = one.rows
    assert [cell.value for cell in row.cells[1:]] == [50.0, 41.5, -17.0]


def test_a_selection_by_validation_from_what_was_tracked(complete):
    chosen = {"kind": "selection", "title": "S", "experiment": "shift", "choose": "tuning"}
    entries(complete, s=chosen | {"columns": ["backbone", "tuning"]})
    table = run(complete, "s")
    assert table.column("tuning") == ["full"]
    assert table.column("source_validation_cost")[0].value == 0.0
    assert table.column("leave_one_target_out") == [None]  # of two datasets none is left without the target
    assert "leave_one_target_out cannot choose" in table.footnotes[0]
    entries(complete, s=chosen | {"columns": ["backbone", "tuning"], "rule": "leave_one_target_out"})
    with pytest.raises(SegShiftError, match="table 'S': leave_one_target_out cannot choose"):
        run(complete, "s")
    entries(complete, s=chosen | {"columns": ["backbone", "tuning"]})
    assert table.remarks[0].startswith(
        "Chosen by the rule source_validation: the validation scores on the source"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"columns": ["rank", "dice"]}, "9.1: unknown column 'dice'"),
        ({"experiment": "shfit"}, "9.1: unknown experiment 'shfit'; did you mean 'shift'"),
        ({"where": {"source": ["four"]}}, "9.1: where: unknown source 'four'"),
        ({"where": {"site": ["one"]}}, "9.1: where: unknown axis 'site'"),
        ({"average": "mean"}, "9.1: average: input should be 'pooled' or 'anatomy_first'"),
        ({"colunms": []}, "9.1: unknown key 'colunms'; did you mean 'columns'"),
        ({"bold": {"top": 1, "columns": ["ds"]}}, "9.1: bold: no column 'ds'"),
        ({"across": "anatomy"}, "9.1: across: no column 'anatomy'"),
    ],
)
def test_a_mistake_in_tables_yaml_is_one_sentence(complete, change, sentence):
    entries(complete, **{"9.1": RANKING | change})
    with pytest.raises(SegShiftError, match=rf"tables\.yaml: {sentence}"):
        run(complete, "9.1")


def test_a_new_title_or_column_changes_the_digest_of_its_table_alone(complete):
    entries(complete, a=RANKING, b=RANKING)
    before = grids.read(complete.config)
    entries(complete, a=RANKING | {"title": "Theirs"}, b=RANKING)
    after = grids.read(complete.config)
    assert plan.digest(before, "a") != plan.digest(after, "a")
    assert plan.digest(before, "b") == plan.digest(after, "b")


# ---- one reading for many tables ---------------------------------------------------------------------------


def test_a_table_that_cannot_be_made_stops_no_other(complete):
    entries(complete, a=RANKING | {"where": {"source": ["two"]}}, b=RANKING | {"where": {"source": ["one"]}})
    (complete.folder(TWO) / "scores.csv").unlink()
    with pytest.raises(SegShiftError, match=rf"^1 of 2 tables could not be made: a: a: 2 scores are .*{TWO}"):
        tabulate.run_all(complete.config, complete.results)
    assert (complete.results.tables / "table_b.csv").exists()
    assert not (complete.results.tables / "table_a.csv").exists()


def test_a_score_that_is_otherwise_stops_only_the_tables_that_show_it(complete):
    entries(complete, a=RANKING | {"where": {"source": ["two"]}}, b=RANKING | {"where": {"source": ["one"]}})
    complete.sql("update latest_metrics set value = 1 where key = 'test/one/dice' and value < 1")
    with pytest.raises(SegShiftError, match=rf"^1 of 2 tables could not be made: a: {TWO}: MLflow says"):
        tabulate.run_all(complete.config, complete.results)
    assert (complete.results.tables / "table_b.csv").exists()


def test_all_tables_ask_mlflow_once(complete, monkeypatch):
    from segshift.mlflow_store import Store

    asked, runs = [], Store.runs
    monkeypatch.setattr(Store, "runs", lambda self, ids: asked.append(list(ids)) or runs(self, ids))
    entries(complete, a=RANKING, b=RANKING | {"title": "Again"}, c=RANKING | {"experiment": "adapted"})
    tabulate.run_all(complete.config, complete.results)
    assert len(asked) == 1
    assert len(asked[0]) == len(set(asked[0])) == 3


def test_a_count_may_be_of_models_that_the_table_does_not_show(project):
    """Of those that ``parameters`` names; where there are none, the row's own, and that is said."""
    project.complete()
    project.record(TWO, parameters={"trainable": 777_000_000})
    track.run(project.config, project.results)
    entries(project, a=RANKING | {"where": {"source": ["one"]}, "parameters": {"source": "two"}})
    assert [cell.value for cell in run(project, "a").column("train_params_m")] == [777.0]
    (project.folder(TWO) / "run.json").unlink()
    table = run(project, "a")
    assert [cell.value for cell in table.column("train_params_m")] == [0.001234]
    assert "Its own count" in table.rows[0].notes["train_params_m"][0]


@pytest.mark.parametrize(
    ("tracking", "address", "told"),
    [
        ({}, "http://127.0.0.1:5000/#/experiments/", True),
        ({"address": "https://mlflow.example.org/"}, "https://mlflow.example.org/#/experiments/", False),
    ],
)
def test_numbers_link_to_their_runs(complete, tracking, address, told):
    (complete.config / "project.yaml").write_text(yaml.safe_dump({"seeds": [0], "tracking": tracking}))
    table = run(complete)
    page = (complete.results.tables / "shift.html").read_text()
    (one,) = {score.run for score in table.column("ds")[0].scores if score.cell == ONE}
    assert f'<a href="{address}' in page
    assert one in page
    assert ("at http://127.0.0.1:5000 while segshift ui runs" in page) == told
