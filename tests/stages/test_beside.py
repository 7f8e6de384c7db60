"""Ours from what was tracked, beside scores that were imported or stand in a file."""

import pytest
import yaml

from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.stages import import_runs, tabulate, track

HEADER = "experiment,source,backbone,tuning,head,seed,adapt,target,dice\n"
LINES = [
    "shift,one,unet,full,own,7,none,one,45",
    "shift,one,unet,full,own,7,none,two,31",
    "shift,two,unet,full,own,7,none,two,80",
    "shift,two,unet,full,own,7,none,one,2",
]
TABLES = {
    "T": {"title": "Shift", "experiment": "shift", "columns": ["rank", "backbone", "ds", "dg"]},
    "U": {"title": "Adapted", "experiment": "adapted", "columns": ["adapt", "dg"]},
}


@pytest.fixture
def both(project, tmp_path):
    """A project of tracked models, and a file of other people's."""
    project.complete()
    track.run(project.config, project.results)
    (project.config / "tables.yaml").write_text(yaml.safe_dump(TABLES))
    project.file = tmp_path / "theirs.csv"
    project.file.write_text(HEADER + "\n".join(LINES) + "\n")
    return project


def test_tracked_beside_imported_and_beside_the_file(both):
    import_runs.run(both.file, both.config, both.results, "theirs")
    table = tabulate.run(both.config, both.results, "T", other="theirs")
    assert table.name == "table_T_beside"
    text = (both.results.tables / "table_T_beside.csv").read_text()
    dg = (30 + 1 / 3) / 2
    assert text == (
        "rank,rank_theirs,backbone,ds,ds_theirs,ds_difference,dg,dg_theirs,dg_difference\n"
        f"1,1,unet,60.0,62.5,-2.5,{dg!r},16.5,{dg - 16.5!r}\n"
    )
    (ours, theirs) = (table.column(key)[0].scores for key in ("ds", "ds_theirs"))
    assert {score.origin for score in ours} == {""}
    assert {(score.origin, len(score.run)) for score in theirs} == {("theirs", 32)}
    plain = tabulate.run(both.config, both.results, "T", other=str(both.file))
    assert plain.column("dg_difference")[0].value == dg - 16.5
    header = (both.results.tables / "table_T_beside.csv").read_text().splitlines()[0]
    assert header == text.splitlines()[0].replace("theirs", "published")


def test_the_command_makes_all_that_they_have_a_score_of(both, capsys):
    where = ["--config", str(both.config), "--results", str(both.results.root)]
    assert main(["tabulate", *where, "--beside", "theirs"]) == 1
    assert "no runs were imported into sqlite" in capsys.readouterr().err
    assert main(["import-runs", *where, str(both.file), "--origin", "theirs"]) in (None, 0)
    assert main(["tabulate", *where, "--beside", "them"]) == 1
    assert "unknown origin 'them'; did you mean 'theirs'?" in capsys.readouterr().err
    assert main(["tabulate", *where, "--beside", "theirs"]) in (None, 0)
    made = {file.name for file in both.results.tables.iterdir()}
    names = ("table_T_beside", "table_U_beside")  # U shows the model before adaptation, which they have
    assert made == {f"{name}.{ending}" for name in names for ending in ("csv", "md", "tex", "html")}


def test_an_entry_of_tables_yaml_is_made_beside_what_was_imported(both):
    (both.config / "tables.yaml").write_text(yaml.safe_dump({"T": TABLES["T"] | {"beside": "theirs"}}))
    import_runs.run(both.file, both.config, both.results, "theirs")
    assert tabulate.run(both.config, both.results, "T").column("ds_difference")[0].value == -2.5
    assert (both.results.tables / "table_T.csv").exists()


def test_an_experiments_own_table_has_both(both):
    table = tabulate.run(both.config, both.results, "shift", other=str(both.file))
    assert table.name == "shift_beside"
    assert table.column("ov_published")[0].value == (45 + 31 + 80 + 2) / 4


def test_what_we_lack_is_a_dash_beside_their_number(both):
    (both.folder("two/unet/full/own/0") / "scores.csv").unlink()
    table = tabulate.run(both.config, both.results, "T", partial=True, other=str(both.file))
    assert [table.column(f"ds{end}")[0].value for end in ("", "_published", "_difference")] == [
        None,
        62.5,
        None,
    ]
    assert (both.results.tables / "partial" / "table_T_beside.md").exists()


def test_no_other_metric_stands_beside_dice(both):
    tables = {"T": TABLES["T"], "V": TABLES["T"] | {"metric": "iou"}}
    (both.config / "tables.yaml").write_text(yaml.safe_dump(tables))
    with pytest.raises(SegShiftError, match="V: imported scores are Dice, so none stand beside IoU"):
        tabulate.run(both.config, both.results, "V", other=str(both.file))
    made = tabulate.run_all(both.config, both.results, other=str(both.file))
    assert [table.name for table in made] == ["table_T_beside"]
