"""`segshift parameters`: cells, the whole grid, one combination, original variants, what gets a gradient."""

import json
from pathlib import Path

import pytest

from segshift import cli, grid
from segshift.stages import parameters

CONFIG = str(Path(__file__).parents[2] / "config")
CELL = "hcp1/mae_b/frozen/linear/42"


def run(capsys, *words):
    code = cli.main(["parameters", "--config", CONFIG, *words])
    return code, *capsys.readouterr()


def one(backbone, tuning, head, classes):
    return ["--backbone", backbone, "--tuning", tuning, "--head", head, "--classes", str(classes)]


def test_a_combination_that_no_experiment_names(capsys):
    """The thesis's code: Rein on SAM-L with HQHSAM at six classes, and its parts (Tables A.8, A.15)."""
    code, out, err = run(capsys, *one("sam_l", "rein", "hqhsam", 6), "--original", "--json")
    found = json.loads(out)
    assert code == 0
    assert err == ""
    gflops = found.pop("gflops"), found.pop("activation_mb")
    assert all(isinstance(number, float) and number > 0 for number in gflops)
    assert found == {
        "trainable": 18_987_761,
        "tuning": 5_016_065,
        "head": 13_971_696,
        "backbone": 0,
        "frozen": 303_380_480,
    }


def test_the_default_trains_what_can_learn_and_all_of_it_gets_a_gradient(capsys):
    """Rein without `transform` and `merge`: 2·(D² + D) + 1 and 100·L·D."""
    _, out, _ = run(capsys, *one("sam_b", "rein", "hqhsam", 3), "--json", "--gradient", "--device", "cpu")
    found = json.loads(out)
    assert found["tuning"] == 100 * 12 * 768 + 2 * (768**2 + 768) + 1
    assert found["head"] == 11_603_834
    assert found["trainable"] == found["gradient"] == found["tuning"] + found["head"]


def test_what_receives_a_gradient_in_the_thesiss_code(capsys):
    """On MAE-B with 15 classes: none of Rein's, whose work is thrown away."""
    words = [*one("mae_b", "rein", "hqhsam", 15), "--original", "--json", "--gradient", "--device", "cpu"]
    found = json.loads(run(capsys, *words)[1])
    assert (found["trainable"], found["gradient"]) == (19_813_564, 15_380_288)


def test_what_has_no_original_variant_is_said(capsys):
    _, out, err = run(capsys, *one("dinov3_b", "frozen", "linear", 3), "--original", "--json")
    assert json.loads(out)["head"] == 15_363
    assert "backbone dinov3_b has no original variant (dinov3_b_original): it is counted as it is" in err
    assert "head linear has no original variant" in err


def test_cells_each_combination_once(capsys):
    cells = [CELL, f"results/runs/{CELL}", "hcp2/mae_b/frozen/linear/7", "nci/mae_b/frozen/linear/42"]
    _, out, _ = run(capsys, *cells, "--json")
    found = json.loads(out)
    assert [(one["combination"], one["classes"], one["image_size"], one["trainable"]) for one in found] == [
        ("mae_b/frozen/linear", 15, 224, 52_239),
        ("mae_b/frozen/linear", 3, 224, 15_363),
    ]


def test_an_adapted_cell_trains_its_head(capsys):
    _, out, _ = run(capsys, f"{CELL}/self_training/hcp2", "hcp1/unet/full/own/42/self_training/hcp2")
    header, *lines, total = out.splitlines()
    assert header.split()[:5] == ["backbone", "tuning", "head", "adapt", "classes"]
    assert [line.split()[3:7] for line in lines] == [
        ["self_training", "15", "224", "52,239"],
        ["self_training", "15", "224", "31,038,543"],  # a network of its own is adapted whole
    ]
    assert total.startswith("2 combinations; GFLOPs of a forward pass of 1 slice")


def test_a_table_lines_up(capsys):
    _, out, _ = run(capsys, CELL, "nci/mae_b/frozen/linear/42", "--batch", "4")
    header, first, second, total = out.splitlines()
    assert header.split("  ")[0] == "backbone"
    assert len(header) == len(first) == len(second)
    assert "of 4 slices" in total


def test_the_whole_grid_is_every_experiment_of_all(monkeypatch, capsys):
    """Each distinct combination of names, classes and image size; nothing is really counted here."""
    monkeypatch.setattr(parameters, "count", lambda named, counter, options: {"trainable": 1})
    _, out, _ = run(capsys, "--json")
    found = {(one["combination"], one["classes"], one["image_size"]) for one in json.loads(out)}
    config = grid.read(CONFIG).config
    expected = set()
    for name in ("heads", "tunings", "generalization", "self_training", "entropy_min"):
        grids = config.experiments[name].grid
        for axes in grids if isinstance(grids, list) else [grids]:
            for source in axes["source"]:
                classes = len(config.anatomies[config.datasets[source].anatomy].classes)
                for backbone in axes["backbone"]:
                    if backbone == "medsam_b" and classes == 3 and name != "heads":
                        continue  # its weights had seen prostates and tumors
                    for tuning in axes["tuning"]:
                        expected |= {(f"{backbone}/{tuning}/{head}", classes, 224) for head in axes["head"]}
    assert expected <= found
    assert not any("original" in name for name, _, _ in found)
    assert len(json.loads(out)) == len(found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (one("sam_x", "rein", "hqhsam", 6), "unknown backbone 'sam_x'; did you mean 'sam_"),
        (one("sam_b", "rain", "hqhsam", 6), "unknown tuning 'rain'; did you mean"),
        (one("unet", "rein", "own", 6), "unet/rein/own cannot be built: tuning rein needs"),
        (one("sam_b", "rein", "linear", 0), "--classes 0 is less than 1"),
        ([CELL, "--batch", "0"], "--batch 0 is less than 1"),
        (one("sam_b", "rein", "linear", 3)[:-2], "needs --backbone, --tuning, --head and --classes"),
        ([CELL, *one("sam_b", "rein", "linear", 3)], "and no cell"),
        (["hcp1/mae_b/frozen/linear"], "hcp1/mae_b/frozen/linear is no cell"),
        (["hcp9/mae_b/frozen/linear/42"], "unknown source 'hcp9'"),
        (["hcp1/unet/full/linear_lost/42"], "unknown head 'linear_lost'"),
    ],
)
def test_bad_input_is_one_sentence(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert code == 1
    assert out == ""
    assert err.startswith("segshift parameters: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_planned_entry_has_nothing_to_count(tmp_path, capsys):
    for file in Path(CONFIG).rglob("*.yaml"):
        copy = tmp_path / file.relative_to(CONFIG)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text())
    heads = tmp_path / "heads.yaml"
    heads.write_text(heads.read_text() + "\nlater: {module: later, planned: true}\n")
    for words in (one("sam_b", "frozen", "later", 3), ["hcp1/sam_b/frozen/later/42"]):
        assert cli.main(["parameters", "--config", str(tmp_path), *words]) == 1
        assert "head later" in (err := capsys.readouterr().err)
        assert "planned" in err
