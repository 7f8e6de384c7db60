import json
import shutil
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from segshift import grid as grids
from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.stages import import_runs, tabulate_file, track
from segshift.tables import runs

ROOT = Path(__file__).parents[2]
HEADER = (
    "table,experiment,source,backbone,tuning,head,seed,adapt,target,train_params_m,train_params_dec_m,dice\n"
)
ONE = "one/unet/full/own/0"
TABLES = "T: {title: Shift, experiment: shift, columns: [backbone, train_params_m, ds, dg, ov]}\n"
LINES = [
    "A,shift,one,unet,full,own,0,none,one,1.5,0.5,66.66666666666667",
    "A,shift,one,unet,full,own,0,none,two,1.5,0.5,30.1",
    "A,shift,two,unet,full,own,0,none,two,1.5,0.5,70",
    "A,shift,two,unet,full,own,0,none,one,1.5,0.5,0.1",
    "B,adapted,one,unet,full,own,0,none,one,2.5,,66.66666666666667",
    "B,adapted,one,unet,full,own,0,finetune,two,2.5,,41.5",
]


@pytest.fixture
def imported(project, tmp_path):
    """A project with tables.yaml, and a function that imports lines."""
    (project.config / "tables.yaml").write_text(TABLES)

    def bring(lines=LINES, **more):
        file = tmp_path / "runs.csv"
        file.write_text(HEADER + "\n".join(lines) + "\n")
        import_runs.run(file, project.config, project.results, **more)
        return file

    project.bring = bring
    return project


def alive(project, cell=ONE):
    """Ids of the runs of a cell that are not superseded."""
    return [
        run
        for (run,) in project.sql(
            "select c.run_uuid from tags c join tags s on s.run_uuid = c.run_uuid where "
            f"c.key = 'segshift.cell' and c.value = '{cell}' "
            "and s.key = 'segshift.superseded' and s.value = 'false'"
        )
    ]


def found(project, **more):
    return import_runs.read(grids.read(project.config), project.results, **more)


def test_a_run_holds_scores_counts_and_what_it_is(imported, capsys):
    imported.bring()
    assert "published: 5 scores of 3 models in sqlite" in capsys.readouterr().out
    (run,) = alive(imported)
    tags = dict(imported.sql(f"select key, value from tags where run_uuid = '{run}'"))
    axes = {"anatomy": "brain", "source": "one", "backbone": "unet", "tuning": "full", "head": "own"}
    axes |= {"seed": "0", "adapt": "none"}
    assert (axes | {"origin": "published", "dice": "48.38"}).items() <= tags.items()
    parameters = dict(imported.sql(f"select key, value from params where run_uuid = '{run}'"))
    assert parameters == axes | {"trainable/shift": "1500000", "trainable/adapted": "2500000"}
    latest = imported.latest(ONE)
    assert latest["test/one/dice"] == latest["ds"] == 66.66666666666667
    assert latest["dg"] == 30.1
    assert imported.sql(f"select status from runs where run_uuid = '{run}'") == [("FINISHED",)]
    (run,) = alive(imported, "two/unet/full/own/0")
    parameters = dict(imported.sql(f"select key, value from params where run_uuid = '{run}'"))
    assert parameters["trainable"] == "1500000"  # one, where all tables agree
    adapted = imported.latest(f"{ONE}/finetune/two")
    assert (adapted["dg"], "ov" in adapted) == (41.5, False)


def test_what_is_read_back_is_what_the_file_says(imported):
    file = imported.bring()

    def plain(lines):
        return sorted(
            (
                line.table,
                line.experiment,
                line.model.path,
                line.target,
                line.dice,
                line.trainable or 0,
                line.head,
            )
            for line in lines
        )

    back = found(imported)
    assert plain(back) == plain(runs.read(file, grids.read(imported.config)))
    assert {line.run for line in back if line.model.path == ONE} == set(alive(imported))


def test_importing_twice_changes_nothing(imported, capsys):
    imported.bring()
    before = imported.points(), imported.sql("select count(*) from runs"), alive(imported)
    capsys.readouterr()
    imported.bring(LINES[::-1])
    assert "0 of the models new or changed" in capsys.readouterr().out
    assert (imported.points(), imported.sql("select count(*) from runs"), alive(imported)) == before


@pytest.mark.parametrize(
    ("old", "new", "made"), [(",70", ",71", 1), ("1.5,0.5", "1.5,0.4", 2), ("A,shift", "A2,shift", 2)]
)
def test_what_the_file_says_otherwise_supersedes(imported, capsys, old, new, made):
    imported.bring()
    capsys.readouterr()
    lines = [line.replace(old, new) for line in LINES]
    imported.bring(lines)
    assert f"{made} of the models new or changed" in capsys.readouterr().out
    assert len(alive(imported)) == len(alive(imported, "two/unet/full/own/0")) == 1
    assert imported.sql("select count(*) from runs") == [(3 + made,)]
    assert {line.dice for line in found(imported)} == {float(line.rsplit(",")[-1]) for line in lines}


def test_what_the_file_has_no_more_is_gone_but_kept(imported):
    imported.bring()
    imported.bring([line for line in LINES if ",finetune," not in line])
    assert not alive(imported, f"{ONE}/finetune/two")
    assert imported.sql("select count(*) from runs") == [(3,)]  # MLflow keeps what was said before
    assert not [line for line in found(imported) if line.model.adapt]


def test_an_import_that_was_killed_is_completed(imported):
    imported.bring()
    imported.sql(f"update runs set status = 'RUNNING' where run_uuid = '{alive(imported)[0]}'")
    imported.bring()
    assert len(alive(imported)) == 1
    assert len(found(imported)) == len(LINES)


def test_origins_are_sets_of_their_own(imported):
    imported.bring()
    imported.bring([LINES[0].replace("66.66666666666667", "50")], origin="others")
    assert len(found(imported)) == len(LINES)
    (other,) = found(imported, origin="others")
    assert other.dice == 50
    with pytest.raises(SegShiftError, match="unknown origin 'publishd'; did you mean 'published'"):
        found(imported, origin="publishd")
    with pytest.raises(SegShiftError, match="the origin 'A b' may hold a-z, 0-9 and _ only"):
        imported.bring(origin="A b")


def test_our_own_runs_and_imported_ones_do_not_meet(imported):
    imported.complete()
    track.run(imported.config, imported.results)
    imported.bring()
    track.run(imported.config, imported.results)
    assert len(alive(imported)) == 2
    ours = next(iter(json.loads((imported.results.tracking / "runs.json").read_text()).values()))[ONE]
    assert ours not in {line.run for line in found(imported)}


def test_a_mistake_in_the_file_changes_nothing(imported):
    imported.bring()
    before = imported.points()
    with pytest.raises(SegShiftError, match=r"runs.csv: line 3: dice is 130.1, which is no percentage"):
        imported.bring([LINES[0], LINES[1].replace("30.1", "130.1")])
    assert imported.points() == before
    assert len(found(imported)) == len(LINES)


def test_what_is_lost_is_said(imported):
    with pytest.raises(
        SegShiftError, match="no runs were imported into sqlite.*: run segshift import-runs FILE"
    ):
        found(imported)
    imported.bring()
    (run,) = alive(imported)
    imported.sql(f"delete from latest_metrics where run_uuid = '{run}' and key = 'test/two/dice'")
    with pytest.raises(SegShiftError, match=f"MLflow run {run} does not hold what was imported"):
        found(imported)
    imported.sql(f"update runs set lifecycle_stage = 'deleted' where run_uuid = '{run}'")
    with pytest.raises(SegShiftError, match=f"1 imported runs are gone from .*, the first is {ONE}"):
        found(imported)
    imported.bring()
    assert len(found(imported)) == len(LINES)
    (imported.results.tracking / "mlflow.db").unlink()
    with pytest.raises(SegShiftError, match="the tracking database .* is gone"):
        found(imported)


def test_the_command_and_the_tables_are_those_of_the_file(imported, tmp_path, capsys):
    file = imported.bring()
    where = ["--config", str(imported.config), "--results", str(imported.results.root)]
    assert main(["import-runs", *where, str(file)]) in (None, 0)
    for option, folder in ((["--origin", "published"], "a"), (["--runs", str(file)], "b")):
        assert main(["tabulate", *where, *option, "--out", str(tmp_path / folder)]) in (None, 0)
    for ending in ("csv", "md", "tex"):
        texts = [(tmp_path / folder / f"table_T.{ending}").read_bytes() for folder in "ab"]
        assert texts[0] == texts[1]
    capsys.readouterr()
    assert main(["tabulate", *where, "--origin", "published"]) == 1
    assert "--out FOLDER needs --runs FILE or --origin NAME" in capsys.readouterr().err
    assert main(["tabulate", *where, "--origin", "published", "--out", str(tmp_path), "U"]) == 1
    assert "unknown table 'U'" in capsys.readouterr().err


@pytest.fixture
def unsynced():
    """SQLite does not wait for the disk, which takes longer than all else where a test sends much."""

    def hurry(connection, _):
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.mark.usefixtures("unsynced")
def test_the_thesis_through_mlflow_is_the_thesis_from_the_file(tmp_path, database):
    """All its tables, byte by byte."""
    results = Results(tmp_path / "results")
    results.tracking.mkdir(parents=True)
    shutil.copyfile(database, results.tracking / "mlflow.db")
    file = ROOT / "config/published/runs.csv"
    import_runs.run(file, ROOT / "config", results)
    through = import_runs.tabulate(ROOT / "config", results, tmp_path / "mlflow")
    plain = tabulate_file.run(ROOT / "config", results, file, tmp_path / "file")
    assert [table.name for table in through] == [table.name for table in plain]
    assert len(plain) >= 33
    for table in plain:
        for ending in ("csv", "md", "tex"):
            one, other = (tmp_path / folder / f"{table.name}.{ending}" for folder in ("mlflow", "file"))
            assert one.read_bytes() == other.read_bytes(), one.name
