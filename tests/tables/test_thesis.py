"""The thesis's tables from the thesis's runs, to the printed digit."""

import csv
import functools
from dataclasses import replace
from pathlib import Path

import pytest

from segshift import grid as grids
from segshift.paths import Results
from segshift.stages import tabulate_file
from segshift.tables import files, runs
from segshift.tables.table import Number, rounded

ROOT = Path(__file__).parents[2]
PRINTED = ROOT / "tests" / "thesis" / "tables"
NUMBERS = ("4.2", "4.3", "4.5", "4.6", "4.7", "4.8", "4.9", *(f"A.{n}" for n in range(1, 22)))
NAMES = ("level", "anatomy", "source", "head", "tuning", "backbone")
FIRST = ("ds", "dg", "ov", "dom", "domain", "overall")  # how the columns of results begin
SLIP = ("A.6", ("ladder_d", "mae_b"), "ov", "55.63", "55.67")  # anomalies of the thesis, N01


@pytest.fixture(scope="module")
def grid():
    return grids.read(ROOT / "config")


@pytest.fixture(scope="module")
def published(grid):
    return runs.read(ROOT / "config" / "published" / "runs.csv", grid)


@pytest.fixture(scope="module")
def build(grid):
    def build(number, found):
        return tabulate_file.build(grid, number, found, Results("nowhere"))

    return build


@pytest.fixture(scope="module")
def table(build, published):
    """A function from a number to the thesis's own table; each is built once."""
    return functools.cache(lambda number: build(number, published))


def printed(number):
    file = PRINTED / f"table_{number}.csv"
    file = file if file.exists() else PRINTED / f"table_{number}_summary.csv"
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def named(table):
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row.cells, strict=True)) for row in table.rows]


def names(row):
    return tuple(row[key] for key in NAMES if key in row)


def results(number):
    """(row, column, printed value) of a printed table; blank cells too."""
    for row in printed(number):
        yield from ((names(row), key, text) for key, text in row.items() if key.split("_")[0] in FIRST)


def shown(cell):
    return "" if cell.value is None else rounded(cell.value)


def test_all_summary_values_but_one_come_out_to_the_printed_digit(table):
    total, differ = 0, []
    for number in NUMBERS:
        ours = {
            names({k: row[k] for k in NAMES if k in row and k in printed(number)[0]}): row
            for row in named(table(number))
        }
        for row, key, text in results(number):
            total += text != ""
            if shown(ours[row][key]) != text:
                differ.append((number, row, key, text, shown(ours[row][key])))
    assert total == 1592
    assert differ == [SLIP]


@pytest.mark.parametrize("number", NUMBERS)
def test_rows_and_columns_stand_as_in_the_thesis(table, number):
    ours, theirs = named(table(number)), printed(number)
    assert [names({k: row[k] for k in theirs[0] if k in NAMES}) for row in ours] == [
        names(row) for row in theirs
    ]
    targets = {column.key for column in table(number).columns} - set(theirs[0])
    own = [key for key in ours[0] if key not in targets]
    assert own == list(theirs[0])
    assert bool(targets) == (number in ("A.1", "A.6", "A.8", "A.10", "A.13", "A.15", "A.17", "A.19", "A.21"))


@pytest.mark.parametrize("number", ["4.2", "A.2", "A.3", "A.4", "A.5", "A.7", "A.9", "A.11", "A.12"])
def test_ranks(table, number):
    assert [row["rank"] for row in named(table(number))] == [float(row["rank"]) for row in printed(number)]


def test_the_selection_is_the_oracles_and_says_so(table):
    choices = [(row["backbone"], row["tuning"]) for row in printed("4.4")]
    assert [(row["backbone"], row["tuning"]) for row in named(table("4.4"))] == choices
    assert table("4.4").remarks[0] == "Chosen by the rule oracle: the overall test scores (anatomy first)."


def test_counts_of_parameters_are_those_of_the_runs(table):
    wrong = {}
    for number in NUMBERS:
        for ours, theirs in zip(named(table(number)), printed(number), strict=True):
            text = theirs.get("train_params_m")
            if text and abs(ours["train_params_m"].value - float(text)) > 1e-9:
                wrong[number, ours["head"]] = ours["train_params_printed"]
    assert wrong == {  # anomalies of the thesis, N02 to N06: 4.2 rotates the counts of A.1
        ("4.2", "sam"): "5.61M",
        ("4.2", "sam_fpe"): "5.60M",
        ("4.2", "da"): "24.35M",
        ("4.2", "unet_small"): "7.87M",
        ("4.2", "resnet"): "39.21M",
    }


@pytest.mark.parametrize("number", ["A.6", "A.8", "A.10"])
def test_what_tuning_and_head_train_is_as_printed(table, number):
    keys = ("train_params_ft_m", "train_params_dec_m", "train_params_m")
    ours = [[rounded(row[key].value) for key in keys] for row in named(table(number))]
    assert ours == [[row[key] for key in keys] for row in printed(number)]


def test_every_single_run_stands_where_the_thesis_prints_it(table, published):
    """All runs tables show the runs themselves; A.22 to A.24 print nothing else."""
    there = {}
    for number in (
        "A.1",
        "A.6",
        "A.8",
        "A.10",
        "A.13",
        "A.15",
        "A.17",
        "A.19",
        "A.21",
        "A.22",
        "A.23",
        "A.24",
    ):
        for row in table(number).rows:
            for cell in row.cells:
                if isinstance(cell, Number) and len(cell.scores) == 1 and cell.value == cell.scores[0].dice:
                    there[number, cell.scores[0].cell, cell.scores[0].target] = cell.value
    for run in published:
        assert there[run.table, run.model.path, run.target] == run.dice


def test_a_mean_is_the_weighted_sum_of_the_scores_behind_it(table):
    """All its kinds: pooled, anatomies first, over backbones, of one target."""
    checked = 0
    for number in ("4.2", "4.3", "4.7", "4.8", "A.1", "A.12"):
        for column in (one for one in table(number).columns if one.kind == "dice"):
            for cell in table(number).column(column.key):
                if cell.value is None:
                    continue
                assert sum(cell.weights) == pytest.approx(1)
                parts = zip(cell.weights, cell.scores, strict=True)
                assert sum(weight * score.dice for weight, score in parts) == pytest.approx(cell.value)
                assert cell.by_seed == {42: pytest.approx(cell.value)}
                checked += 1
    assert checked > 500


def test_bold_is_what_the_prose_says(table):
    with (ROOT / "tests" / "thesis" / "bold_expected.csv").open(newline="") as stream:
        expected = list(csv.DictReader(stream))
    wanted, marked = {}, {}
    for line in expected:
        wanted.setdefault((line["table"], line["group"], line["column"]), set()).add(line["value"])
    for number in sorted({line["table"] for line in expected}):
        for row in named(table(number)):
            for key, cell in row.items():
                if isinstance(cell, Number) and cell.bold:
                    place = (number, row.get("anatomy", ""), key)
                    marked.setdefault(place, set()).add(rounded(cell.value))
    assert marked == wanted


def test_the_thesis_prose_averages_otherwise(grid, published):
    """Section 4.3.1 describes anatomy_first, by which HQHSAM is second in DG (anomalies, N13)."""
    entry = grid.config.tables["4.2"].model_copy(update={"average": "anatomy_first"})
    config = grid.config.model_copy(update={"tables": {"4.2": entry}})
    other = tabulate_file.build(grids.Grid(config), "4.2", published, Results("nowhere"))
    rows = {row["head"]: row for row in named(other)}
    assert [rounded(rows[head]["ov"].value) for head in ("hqhsam", "hqsam")] == ["64.92", "64.85"]
    assert [rounded(rows[head]["dg"].value, 3) for head in ("hqhsam", "hqsam")] == ["49.396", "49.413"]
    assert [row["head"] for row in named(other)][5:9] == ["da_small", "unet", "da", "unet_small"]


# ---- exactly the right numbers move ------------------------------------------------------------------------


def changed(published, model, target, by):
    """The runs with one measurement changed, wherever it is printed."""
    found = [
        replace(run, dice=run.dice + by) if (run.model.path, run.target) == (model, target) else run
        for run in published
    ]
    assert found != published
    return found


def moved(before, after):
    return {
        (names(row), key)
        for row, other in zip(named(before), named(after), strict=True)
        for key, cell in row.items()
        if isinstance(cell, Number) and cell.value != other[key].value
    }


def test_one_run_moves_the_numbers_that_it_is_in_and_no_others(build, table, published):
    """SAM-B with Rein, HCP1 to HCP2: not the best of any column it is compared in, nor the diagonal."""
    found = changed(published, "hcp1/sam_b/rein/hqhsam/42", "hcp2", 0.1)
    expected = {
        "4.3": {(("rein", "sam_b"), key) for key in ("dg", "ov")},
        "A.6": {(("rein", "sam_b"), key) for key in ("dg", "ov", "hcp1_hcp2")},
        "A.7": {(("brain", "rein"), key) for key in ("dg", "ov", "dg_pct", "ov_pct")},
        "A.12": {(("all", "rein"), key) for key in ("dg", "ov", "dg_pct", "ov_pct")},
        "4.5": {(("brain", "rein", "sam_b"), key) for key in ("dg", "ov")},
        "4.7": {(("rein", "sam_b"), key) for key in ("dg", "ov")},
        "A.13": {(("hcp1", "rein", "sam_b"), key) for key in ("hcp2", "dom_gen", "overall")},
        "A.14": {(("brain", "rein", "sam_b"), key) for key in ("dg", "ov", "dg_size_pct", "ov_size_pct")},
    }
    for number in (
        "4.2",
        *expected,
        "4.6",
        "4.8",
        "4.9",
        "A.1",
        "A.8",
        "A.9",
        "A.10",
        "A.11",
        "A.15",
        "A.21",
    ):
        assert moved(table(number), build(number, found)) == expected.get(number, set()), number


def test_the_diagonal_of_self_training_is_the_source_models(build, table, published):
    found = changed(published, "nci/unet/full/own/42", "nci", -1.0)
    row = ("prostate", "full", "unet")
    assert moved(table("4.9"), build("4.9", found)) == {(row, "ds"), (row, "dom_shift_loss_pct")}
    assert moved(table("4.6"), build("4.6", found)) == {(row, "ds"), (row, "ov")}
    adapted = changed(published, "nci/unet/full/own/42/self_training/usz", "usz", -1.0)
    expected = {(row, "domain_shift"), (row, "dom_shift_loss_pct")}
    assert moved(table("4.9"), build("4.9", adapted)) == expected
    assert moved(table("4.6"), build("4.6", adapted)) == set()


def test_the_best_of_a_column_moves_all_differences_to_it(build, table, published):
    found = changed(published, "usz/mae_b/frozen/hqsam/42", "nci", 0.5)
    heads = [row["head"] for row in named(table("A.5"))]
    expected = {
        (key, column) for key in ((h, "mae_b") for h in heads) for column in ("dg_diff_pct", "ov_diff_pct")
    }
    best = ("hqsam", "mae_b")  # which stays at 0 % of itself
    expected -= {(best, "dg_diff_pct"), (best, "ov_diff_pct")}
    assert moved(table("A.5"), build("A.5", found)) == expected | {(best, "dg"), (best, "ov")}


# ---- files -------------------------------------------------------------------------------------------------


def test_shuffled_lines_and_other_columns_give_the_same_bytes(grid, build, table, tmp_path):
    source = ROOT / "config" / "published" / "runs.csv"
    with source.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    file = tmp_path / "runs.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["remark", *reversed(lines[0])])
        writer.writeheader()
        writer.writerows(line | {"remark": "?"} for line in sorted(lines, key=lambda line: line["dice"]))
    found = runs.read(file, grid)
    for number in ("4.2", "4.4", "4.5", "4.8", "A.1", "A.12", "A.13", "A.24", "ranking"):
        entry, labels = grid.config.tables[number], grid.config.labels
        assert files.texts(build(number, found), entry, labels) == files.texts(table(number), entry, labels)


def test_all_tables_are_written(tmp_path, capsys):
    source = ROOT / "config" / "published" / "runs.csv"
    tables = tabulate_file.run(ROOT / "config", Results(tmp_path / "results"), source, tmp_path / "out")
    names = {f"table_{n}" for n in (*NUMBERS, "4.1", "4.4", "A.22", "A.23", "A.24", "ranking")}
    names |= {f"table_ranking_{n}" for n in ("heads", "tunings", "generalization", "self_training")}
    assert {table.name for table in tables} == names
    written = {file.name for file in (tmp_path / "out").iterdir()}
    assert written == {f"{name}.{ending}" for name in names for ending in files.FORMATS}
    assert "has nothing for: entropy_min, ranking_entropy_min" in capsys.readouterr().out
    with (tmp_path / "out" / "table_A.6.csv").open(newline="") as stream:
        row = next(line for line in csv.DictReader(stream) if (line["tuning"], line["backbone"]) == SLIP[1])
    assert row["ov"] == repr((4 * float(row["ds"]) + 12 * float(row["dg"])) / 16) == "55.673125"
