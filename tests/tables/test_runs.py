"""Tables from any plain file of scores: what it may hold, and what is refused or said about it."""

import csv
import io
import math
import subprocess
import sys
from pathlib import Path

import pytest

from segshift import grid as grids
from segshift.cli import main
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.stages import tabulate_file
from segshift.tables import runs
from segshift.tables.table import Number

ROOT = Path(__file__).parents[2]
HEADER = ("experiment", "source", "backbone", "tuning", "head", "seed", "adapt", "target", "dice")
BRAIN = {("hcp1", "hcp1"): 80.0, ("hcp1", "hcp2"): 20.0, ("hcp2", "hcp2"): 60.0, ("hcp2", "hcp1"): 40.0}


@pytest.fixture(scope="module")
def grid():
    return grids.read(ROOT / "config")


@pytest.fixture
def file(tmp_path):
    """A function that writes lines, each a dict or the text of one, as a file of runs."""

    def write(lines, header=HEADER):
        stream = io.StringIO()
        writer = csv.DictWriter(stream, header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        (tmp_path / "runs.csv").write_text(stream.getvalue())
        return tmp_path / "runs.csv"

    return write


def line(source="hcp1", target="hcp1", dice=50.0, backbone="dinov2_b", **more):
    first = {"experiment": "generalization", "source": source, "backbone": backbone, "tuning": "rein_lora"}
    return first | {"head": "hqhsam", "seed": 42, "adapt": "none", "target": target, "dice": dice} | more


def lines(backbone="dinov2_b", shift=0.0, pairs=BRAIN, **more):
    return [line(source, target, dice + shift, backbone, **more) for (source, target), dice in pairs.items()]


def table(grid, file, number="A.14"):
    return tabulate_file.build(grid, number, runs.read(file, grid), Results("nowhere"))


def values(table, key):
    return [cell.value if isinstance(cell, Number) else cell for cell in table.column(key)]


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"dice": 101.2}, r"line 3: dice is 101\.2, which is no percentage \(0 to 100\)"),
        ({"dice": -0.1}, r"line 3: dice is -0\.1, which is no percentage"),
        ({"dice": "nan"}, "line 3: dice is 'nan', which is no number"),
        ({"dice": "inf"}, "line 3: dice is 'inf', which is no number"),
        ({"dice": ""}, "line 3: dice is '', which is no number"),
        ({"dice": "76,38"}, "line 3: dice is '76,38', which is no number"),
        (
            {"target": "hcp9"},
            r"line 3: unknown dataset \(target\) 'hcp9'; did you mean 'hcp2'\? known: hcp1, hcp2,",
        ),
        ({"source": "mine"}, r"line 3: unknown dataset \(source\) 'mine'; known: hcp1"),
        ({"target": "nci"}, "line 3: hcp1 shows the brain, its target nci the prostate"),
        ({"experiment": "general"}, "line 3: unknown experiment 'general'; did you mean 'generalization'"),
        ({"backbone": "DINO v2"}, "line 3: backbone is 'DINO v2'; a name may hold a-z, 0-9 and _ only"),
        ({"backbone": ""}, "line 3: backbone is ''; a name may"),
        ({"seed": "first"}, "line 3: seed is 'first', which is no whole number"),
        (
            {"adapt": "finetune", "target": "hcp1"},
            "line 3: a model adapted by finetune to hcp1 was trained on hcp1",
        ),
        (
            {"target": "hcp1", "dice": 50.5},
            r"line 3: hcp1/dinov2_b/rein_lora/hqhsam/42 on hcp1 is 50\.5, but 50\.0 at .*runs\.csv: line 2",
        ),
    ],
)
def test_a_mistake_is_one_sentence(grid, file, bad, sentence):
    with pytest.raises(SegShiftError, match=rf"runs\.csv: {sentence}") as error:
        runs.read(file([line(), line(target="hcp2") | bad]), grid)
    assert "\n" not in str(error.value)


def test_counts_that_differ_and_an_anatomy_that_is_another(grid, file):
    counted = (*HEADER, "anatomy", "train_params_m")
    ones = [line(train_params_m=17.8), line(target="hcp2", train_params_m=17.3)]
    with pytest.raises(SegShiftError, match=r"line 3: train_params_m of .* is 17\.3, but 17\.8 at .*line 2"):
        runs.read(file(ones, counted), grid)
    with pytest.raises(SegShiftError, match=r"line 2: train_params_m is -1; a count"):
        runs.read(file([line(train_params_m=-1)], counted), grid)
    counted = (*counted, "train_params_dec_m")
    ones = [line(train_params_m=3, train_params_dec_m=n, target=t) for n, t in ((1, "hcp1"), (2, "hcp2"))]
    with pytest.raises(
        SegShiftError, match=r"line 3: train_params_dec_m of .* is 2\.0, but 1\.0 at .*line 2"
    ):
        runs.read(file(ones, counted), grid)
    with pytest.raises(SegShiftError, match=r"line 2: train_params_dec_m is .* but it is 4\.0 of 3\.0"):
        runs.read(file([line(train_params_m=3, train_params_dec_m=4)], counted), grid)
    with pytest.raises(SegShiftError, match="line 2: anatomy is 'spine', but hcp1 shows the brain"):
        runs.read(file([line(anatomy="spine")], counted), grid)


def test_a_file_that_is_none(grid, file, tmp_path):
    with pytest.raises(SegShiftError, match="there is no file"):
        runs.read(tmp_path / "nothing.csv", grid)
    with pytest.raises(SegShiftError, match="the column dice is missing; needed: experiment, source,"):
        runs.read(file([], HEADER[:-1]), grid)
    with pytest.raises(SegShiftError, match="holds no runs"):
        runs.read(file([]), grid)
    (tmp_path / "runs.csv").write_text(",".join(HEADER) + "\nheads,hcp1\n")
    with pytest.raises(SegShiftError, match="line 2 has not as many cells as the header"):
        runs.read(tmp_path / "runs.csv", grid)


def test_the_command_says_it_in_one_line(file, tmp_path, capsys):
    words = ["tabulate", "--config", str(ROOT / "config"), "--runs", str(file([line(dice=100.5)]))]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert main(words) == 1
    assert "--out FOLDER" in capsys.readouterr().err
    words[4] = str(file([line()]))
    assert main([*words, "--out", str(tmp_path / "out"), "4.10"]) == 1
    assert "unknown table '4.10'; did you mean '4.1'" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "out"), "4.2"]) == 1
    assert "table 4.2: there is no run of experiment heads for it" in capsys.readouterr().err


# ---- what it may hold --------------------------------------------------------------------------------------


def test_names_that_the_configuration_does_not_have(grid, file):
    ours = file(lines("my_net_b", head="my_head") + lines("my_net_l", 2.0, head="my_head") + lines())
    found = table(grid, ours)
    assert found.column("backbone") == ["dinov2_b", "my_net_b", "my_net_l"]
    assert values(found, "ds") == [70.0, 70.0, 72.0]
    assert values(found, "dg") == [30.0, 30.0, 32.0]
    size = 100 * (70.0 - 72.0) / 72.0
    assert values(found, "ds_size_pct") == [None, size, 0.0]
    assert all(
        "What its weights were pretrained on is unknown" in row.notes["backbone"][0] for row in found.rows[1:]
    )


def test_rows_that_would_look_alike_get_a_column(grid, file):
    found = table(grid, file(lines(head="hqsam", shift=1.0) + lines()))
    assert found.column("head") == ["hqsam", "hqhsam"]
    assert values(found, "ds") == [71.0, 70.0]


def test_three_seeds_give_mean_and_deviation(grid, file):
    ones = [one for seed, shift in ((1, 0.0), (2, 3.0), (3, -3.0)) for one in lines(shift=shift, seed=seed)]
    found = table(grid, file(ones))
    (ds, ov) = (found.column(key)[0] for key in ("ds", "ov"))
    assert (ds.value, ds.spread) == (70.0, 3.0)
    assert (ov.value, ov.spread) == (50.0, 3.0)
    assert len(ds.scores) == 6
    assert not [remark for remark in found.remarks if "seed" in remark]


def test_what_the_head_trains_is_told_apart_where_the_file_says_it(grid, file):
    pairs = {("hcp1", "hcp1"): 80.0, ("hcp1", "hcp2"): 20.0}
    more = {"experiment": "tunings", "tuning": "rein", "train_params_m": 19.8}
    known = lines(pairs=pairs, **more, train_params_dec_m=17.32)
    header = (*HEADER, "train_params_m", "train_params_dec_m")
    found = table(grid, file(known + lines("mae_b", pairs=pairs, **more), header), "A.6")
    assert values(found, "train_params_m") == [19.8, 19.8]
    assert values(found, "train_params_dec_m") == [17.32, None]
    assert values(found, "train_params_ft_m") == [2.48, None]
    (note,) = found.rows[1].notes["train_params_ft_m"]
    assert note == "What the tuning and the head train is not recorded apart."


def test_one_seed_is_said(grid, file):
    found = table(grid, file(lines(seed=7)))
    assert found.column("ds")[0].spread is None
    assert "One run a configuration (seed 7): there is no standard deviation." in found.remarks
    both = table(grid, file(lines(seed=7) + lines(seed=8) + lines("mae_b", seed=7)))
    assert "A number without ± is of one seed." in both.remarks


def test_a_missing_score_is_a_dash_that_names_it(grid, file):
    ones = lines() + [one for one in lines("mae_b") if (one["source"], one["target"]) != ("hcp2", "hcp1")]
    found = table(grid, file(ones))
    assert found.partial
    assert [values(found, key) for key in ("ds", "dg", "ov")] == [[70.0, 70.0], [30.0, None], [50.0, None]]
    note = "Missing: hcp2/mae_b/rein_lora/hqhsam/42 on hcp1."
    assert found.rows[1].notes["dg"] == found.rows[1].notes["ov"] == (note,)
    assert "ds" not in found.rows[1].notes
    assert note in found.footnotes


def test_a_missing_seed_of_one_score_is_missed_too(grid, file):
    ones = lines(seed=1) + lines(seed=2)[:-1]
    found = table(grid, file(ones))
    assert values(found, "dg") == [None]
    assert found.footnotes == ["Missing: hcp2/dinov2_b/rein_lora/hqhsam/2 on hcp1."]


def test_a_mean_over_backbones_misses_a_whole_model(grid, file):
    """Rows average the same backbones: one that a head lacks altogether is named as missing."""
    base = {"experiment": "heads", "tuning": "frozen"}
    pairs = {("abide_c", "abide_c"): 80.0, ("abide_c", "hcp1"): 50.0}
    ones = [one for head in ("linear", "da") for one in lines("sam_b", pairs=pairs, head=head, **base)]
    ones += lines("mae_b", 4.0, pairs, head="da", **base)
    found = table(grid, file(ones), "4.2")
    assert values(found, "head") == ["da", "linear"]
    assert values(found, "ov") == [67.0, None]
    assert values(found, "rank") == [1, None]
    missing = "Missing: abide_c/mae_b/frozen/linear/42 on abide_c, hcp1."
    assert missing in found.footnotes
    assert "Ranks and differences are among the rows without a dash." in found.remarks


def test_what_the_file_has_nothing_of_is_said(grid, file):
    said = [remark for remark in table(grid, file(lines())).remarks if "nothing of" in remark]
    assert len(said) == 1
    assert "source abide_c, source abide_s" in said[0]
    assert "backbone sam_b" in said[0]


def test_what_was_pretrained_on_is_left_out_though_it_is_there(grid, file):
    pairs = {("usz", "usz"): 90.0, ("usz", "nci"): 99.0}
    ones = lines("medsam_b", pairs=pairs, experiment="heads", tuning="frozen", head="linear")
    found = table(grid, file(ones), "A.4")
    assert [values(found, key) for key in ("ds", "dg", "ov")] == [[90.0], [None], [90.0]]
    assert found.footnotes == ["Without nci: medsam_vit_b was pretrained on nci."]


def test_equal_values_share_a_rank(grid, file):
    pairs = {("abide_c", "abide_c"): 80.0, ("abide_c", "hcp1"): 50.0}
    base = {"experiment": "heads", "tuning": "frozen", "pairs": pairs}
    ones = lines("sam_b", head="da", **base) + lines("sam_b", head="linear", **base)
    ones += lines("sam_b", -5.0, head="unet", **base)
    found = table(grid, file(ones), "A.3")
    assert values(found, "rank") == [1, 1, 3]
    assert [value or 0.0 for value in values(found, "ov_diff_pct")[:2]] == [0.0, 0.0]
    assert math.isclose(values(found, "ov_diff_pct")[2], -100 * 5 / 65)


def test_neither_mlflow_nor_snakemake_nor_torch(file, tmp_path):
    words = [
        "tabulate",
        "--config",
        str(ROOT / "config"),
        "--runs",
        str(file(lines())),
        "--out",
        str(tmp_path),
    ]
    code = (
        "import sys; from segshift.cli import main; "
        f"code = main({words!r}); heavy = {{'mlflow', 'snakemake', 'torch'}}; "
        "print(sorted(heavy & set(sys.modules)), code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
