"""A table's numbers beside somebody else's: the same scores or a dash, and the difference."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from segshift import grid as grids
from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.paths import Results
from segshift.stages import tabulate_file
from segshift.stages.beside import Others
from segshift.tables import asked, beside, files, runs
from segshift.tables.table import Number, rounded

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "config" / "published" / "runs.csv"


@pytest.fixture(scope="module")
def grid():
    return grids.read(ROOT / "config")


@pytest.fixture(scope="module")
def published(grid):
    return runs.read(PUBLISHED, grid)


@pytest.fixture(scope="module")
def build(grid, published):
    """A function from a table's number and our runs to the table beside the published one."""

    def build(number, ours, theirs=published):
        table = tabulate_file.build(grid, number, ours, Results("nowhere"))
        wanted = runs.asked(ours, grid, grid.config.tables[number].experiments)
        return beside.build(grid, number, table, wanted, theirs, "published")

    return build


def named(table):
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row.cells, strict=True)) for row in table.rows]


def value(cell):
    return cell.value if isinstance(cell, Number) else cell


# ---- numbers -----------------------------------------------------------------------------------------------


def test_one_point_more_everywhere_is_a_difference_of_one_point(build, published):
    """In every column of means, of every table of scores; differences to the best and losses by hand."""
    ours = [replace(run, dice=run.dice + 1) for run in published if run.dice <= 99]
    assert len(ours) == len(published)
    for number in ("4.2", "4.3", "4.7", "4.8", "A.6", "A.14", "A.22"):
        table = build(number, ours)
        keys = [column.key for column in table.columns if column.kind == "dice" and "_" not in column.key]
        assert keys
        for row in named(table):
            for key in keys:
                if row[key].value is not None:
                    assert row[f"{key}_difference"].value == pytest.approx(1, abs=1e-9), (number, key)
        shown = [column.key for column in table.columns if column.shown]
        assert not [key for key in shown if "_diff_pct" in key or "_size_pct" in key]
    (row,) = [
        row for row in named(build("4.8", ours)) if (row["backbone"], row["anatomy"]) == ("unet", "brain")
    ]
    loss = 100 * (row["domain_shift"].value - row["ds"].value) / row["ds"].value
    theirs = 100 * (row["domain_shift"].value - row["ds"].value) / (row["ds"].value - 1)
    assert row["dom_shift_loss_pct"].value == pytest.approx(loss)
    assert row["dom_shift_loss_pct_published"].value == pytest.approx(theirs)
    assert row["dom_shift_loss_pct_difference"].value == pytest.approx(loss - theirs)


def test_their_column_is_the_thesis_printed_one(build, published):
    with (ROOT / "tests/thesis/tables/table_4.2.csv").open(newline="") as stream:
        printed = {row["head"]: row for row in csv.DictReader(stream)}
    changed = [replace(run, dice=run.dice / 2) if run.model.head == "hqhsam" else run for run in published]
    rows = {row["head"]: row for row in named(build("4.2", changed))}
    assert set(rows) == set(printed)
    for head, row in rows.items():
        assert row["rank_published"] == float(printed[head]["rank"])
        for key in ("ov", "ds", "dg", "ov_diff_pct"):
            assert rounded(row[f"{key}_published"].value) == printed[head][key]
    assert rows["hqhsam"]["rank"] == 12
    assert rows["hqhsam"]["ov_difference"].value == pytest.approx(-rows["hqhsam"]["ov"].value)
    assert (rows["hqsam"]["rank"], rows["hqsam"]["ov_difference"].value) == (1, 0.0)


def test_other_seeds_of_ours_meet_their_one(build, published):
    seeds = [
        replace(run, model=run.model._replace(seed=seed), dice=run.dice + shift)
        for run in published
        for seed, shift in ((1, 0.0), (2, 0.5), (3, 1.0))
        if run.dice < 99
    ]
    table = build("4.7", seeds)
    for row in named(table):
        assert (row["ds"].spread, row["ds_published"].spread) == (pytest.approx(0.5), None)
        assert row["ds_difference"].value == pytest.approx(0.5)
    said = "Published: One run a configuration (seed 42): there is no standard deviation."
    assert said in table.remarks


# ---- the same scores or a dash -----------------------------------------------------------------------------


def test_a_score_that_they_lack_is_a_dash_and_no_mean_of_less(build, published):
    one = Model.parse("hcp1/sam_b/rein/hqhsam/42")
    theirs = [run for run in published if (run.model, run.target) != (one, "hcp2")]
    table = build("A.14", published, theirs)
    row = next(row for row in table.rows if row.axes["backbone"] == "sam_b")
    cells = dict(zip([column.key for column in table.columns], row.cells, strict=True))
    assert cells["dg"].value is not None
    for key in ("dg_published", "dg_difference", "ov_published", "ov_difference"):
        assert cells[key].value is None
    assert cells["ds_difference"].value == 0.0
    assert row.notes["dg_published"] == (f"Published: Missing: {one.path} on hcp2.",)
    assert not table.partial  # ours is whole


def test_what_only_we_have_stands_beside_nothing(build, published):
    mine = [
        replace(run, model=run.model._replace(backbone="my_net_b"))
        for run in published
        if run.model.backbone == "sam_b" and run.experiment == "generalization"
    ]
    table = build("A.14", published + mine)
    row = next(row for row in table.rows if row.axes["backbone"] == "my_net_b")
    numbers = {
        column.key: value(cell)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if column.key.endswith(("_published", "_difference"))
    }
    assert set(numbers.values()) == {None}
    assert row.notes["ov_published"] == ("Published: They have none of its scores.",)


def test_a_mean_over_more_backbones_than_theirs_is_a_dash(build, published):
    """4.2 averages backbones: with one more of ours, the published mean would be over other models."""
    mine = [
        replace(run, model=run.model._replace(backbone="my_net_b"))
        for run in published
        if run.model.backbone == "sam_b" and run.experiment == "heads"
    ]
    for row in named(build("4.2", published + mine)):
        assert row["ov"].value is not None
        assert row["ov_published"].value is row["ov_difference"].value is None


def test_what_only_they_have_is_left_out(build, published):
    ours = [run for run in published if run.model.head in ("hqsam", "da")]
    table = build("A.3", ours)
    assert table.column("head") == ["hqsam", "da"]
    assert table.column("rank_published") == [1, 2]


def test_the_selection_stands_beside_theirs(build, published):
    ours = [
        replace(run, dice=run.dice + 9) if run.model.tuning == "frozen" and run.dice < 90 else run
        for run in published
    ]
    table = build("4.4", ours)
    assert table.column("tuning_published") == ["rein_lora", "rein", "ladder_d", "frozen"]
    assert table.column("tuning")[3] == "frozen"
    assert "frozen" in table.column("tuning")[:3]
    assert "Difference" not in table.legend


# ---- print and commands ------------------------------------------------------------------------------------


def test_print_groups_ours_theirs_and_the_difference(grid, build, published):
    table = build("4.5", [replace(run, dice=run.dice * 0.99) for run in published])
    texts = files.texts(table, grid.config.tables["4.5"], grid.config.labels)
    header = texts["md"].splitlines()[2]
    assert "| DS Ours | DS Published | DS Difference |" in " ".join(header.split())
    assert "Difference: ours less theirs (Published), in points." in texts["md"]
    assert r"\multicolumn{3}{c}{DS}" in texts["tex"]
    assert "$-$0." in texts["tex"]
    assert texts["csv"].splitlines()[0].endswith(",ov,ov_published,ov_difference")
    assert "(published)" in texts["html"]


def test_the_command_takes_a_file_or_an_origin(tmp_path, capsys):
    where = ["tabulate", "--config", str(ROOT / "config"), "--runs", str(PUBLISHED), "--out", str(tmp_path)]
    assert main([*where, "--beside", str(PUBLISHED), "4.7"]) in (None, 0)
    one = (tmp_path / "table_4.7_beside.csv").read_bytes()
    assert main([*where, "--beside", "published", "4.7"]) in (None, 0)  # config/published/runs.csv
    assert (tmp_path / "table_4.7_beside.csv").read_bytes() == one
    capsys.readouterr()
    assert main([*where, "--beside", "nowhere.csv", "4.7"]) == 1
    assert capsys.readouterr().err == "segshift tabulate: there is no file nowhere.csv\n"


def test_an_entry_says_whose(grid, published):
    entry = grid.config.tables["4.7"].model_copy(update={"beside": "published"})
    config = grid.config.model_copy(update={"tables": {"mine": entry}})
    table = tabulate_file.build(grids.Grid(config), "mine", published, Results("nowhere"))
    assert table.name == "table_mine"
    assert {cell.value for cell in table.column("ov_difference")} == {0.0}


def test_nothing_in_common_is_an_error(grid, published, tmp_path):
    others = Others(grid, Results(tmp_path), str(PUBLISHED))
    table = tabulate_file.build(grid, "4.7", published, Results(tmp_path))
    wanted = [one for one in asked.of_grid(grid, ["entropy_min"]) if one.model.adapt]
    assert not others.fit("4.7", wanted)
    with pytest.raises(SegShiftError, match=r"4\.7: .*runs\.csv has no score of it to stand beside"):
        others.beside("4.7", table, wanted)
