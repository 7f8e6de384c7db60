"""Metrics beside Dice on their way from score files through MLflow into tables."""

import os
from dataclasses import replace

import pytest
import yaml

from segshift import scores
from segshift.errors import SegShiftError
from segshift.stages import tabulate, tabulate_file, track

BIG, SMALL = "one/big/full/own/0", "one/unet/full/own/0"
# HD95 in mm of two classes in two test volumes, by model and target; the small model is better here
DISTANCES = {
    BIG: {"one": [(4.0, 8.0), (6.0, None)], "two": [(10.0, 30.0), (20.0, 20.0)]},
    SMALL: {"one": [(2.0, 4.0), (3.0, None)], "two": [(9.0, 11.0), (10.0, 10.0)]},
}
TABLE = {
    "title": "Distances",
    "experiment": "shift",
    "columns": ["rank", "backbone", "ds", "dg", "ov", "ov_diff_pct"],
    "bold": {"top": 1, "columns": ["ov"]},
}


def write_scores(project, cell):
    rows = []
    for target, volumes in DISTANCES[cell].items():
        for split in scores.SPLITS:
            for number, classes in enumerate(volumes):
                one = (target, split, "model", f"v{number}", f"p{number}")
                for name, distance in zip(("gray", "white"), classes, strict=True):
                    counts = (0, 0, 0) if distance is None else (6, 2, 2)
                    dice = None if distance is None else 75.0
                    cells = {"hd95": distance, "tolerance": 1.0, "missed": 99.0}
                    cells |= {"assd": distance, "nsd": None if distance is None else 50.0}
                    row = scores.Row(*one, name, *counts, dice, dice and 60.0, None, "m" * 16, "d" * 16)
                    rows += [replace(row, **cells)]
                    native = {"space": "native", "hd95": distance and distance / 2, "data": "n" * 16}
                    rows += [replace(row, **cells | native)]
                rows.append(scores.Row(*one, "all", None, None, None, None, None, 0.5, "m" * 16, "d" * 16))
    scores.write(project.folder(cell) / "scores.csv", rows)


@pytest.fixture
def measured(project):
    """Two models with distances, on prepared and on raw voxels, and what a configuration may ask of them."""
    write(project, "backbones", {name: {"module": "unet", "image_size": 32} for name in ("big", "unet")})
    grid = {"source": ["one"], "backbone": ["big", "unet"], "tuning": ["full"], "head": ["own"]}
    entry = {"title": "Shift", "grid": grid, "targets": {"brain": ["one", "two"]}}
    write(project, "experiments", {"shift": entry})
    for cell in (BIG, SMALL):
        project.model(cell, one=[(1.0, 1.0)])
        write_scores(project, cell)
    return project


def write(project, name, content):
    (project.config / f"{name}.yaml").write_text(yaml.safe_dump(content))


def make(project, **more):
    write(project, "tables", {"1": TABLE | more})
    track.run(project.config, project.results)
    return tabulate.run(project.config, project.results, "1")


def test_every_metric_is_tracked_on_every_grid(measured):
    track.run(measured.config, measured.results)
    latest = measured.latest(BIG)
    names = ("dice", "iou", "hd95", "assd", "nsd")
    expected = {
        f"{split}/{target}/{space}{name}"
        for split in scores.SPLITS
        for target in ("one", "two")
        for space in ("", "native/")
        for name in names
    }
    found = {name for name in latest if name.startswith(("test/", "validation/one", "validation/two"))}
    assert found == expected
    assert latest["test/one/hd95"] == 6.0  # (4 + 8) / 2 and 6
    assert latest["test/one/native/hd95"] == 3.0
    assert latest["test/two/nsd"] == 50.0
    assert (latest["ds"], latest["dg"], latest["ov"]) == (75.0, 75.0, 75.0)


def test_a_table_of_distances_ranks_the_smaller_first(measured):
    table = make(measured, metric="hd95")
    assert table.column("backbone") == ["unet", "big"]
    assert table.column("rank") == [1, 2]
    assert [cell.value for cell in table.column("ds")] == [3.0, 6.0]
    assert [cell.value for cell in table.column("dg")] == [10.0, 20.0]
    assert [cell.value for cell in table.column("ov")] == [6.5, 13.0]
    assert [cell.value for cell in table.column("ov_diff_pct")] == [0.0, 100.0]
    assert [cell.bold for cell in table.column("ov")] == [True, False]
    evidence = table.column("dg")[0].scores[0]
    assert evidence.volumes == (("v0", "p0", 10.0), ("v1", "p1", 10.0))
    text = (measured.results.tables / "table_1.md").read_text()
    assert "HD95 in mm (less is better): DS on the source itself" in text


def test_a_table_of_dice_reads_a_file_with_more_in_it(measured):
    table = make(measured)
    assert [cell.value for cell in table.column("ov")] == [75.0, 75.0]
    assert table.column("rank") == [1, 1]


def test_native_scores_and_rules_for_absent_classes(measured):
    table = make(measured, metric="hd95", space="native")
    assert [cell.value for cell in table.column("ov")] == [3.25, 6.5]
    # a class in neither is perfect: volume v1 on `one` is (6 + 0) / 2
    table = make(measured, metric="hd95", absent="one")
    assert [cell.value for cell in table.column("ds")] == [(3 + 1.5) / 2, (6 + 3) / 2]
    assert measured.latest(BIG)["test/one/hd95_one"] == 4.5
    table = make(measured, metric="dice", absent="one")
    smoothed = 100 * (2 * 6 + 1) / (2 * 6 + 2 + 2 + 1)
    expected = (smoothed + (smoothed + 100) / 2) / 2
    assert [cell.value for cell in table.column("ds")] == pytest.approx([expected] * 2)
    assert "a class that neither truth nor prediction shows being perfect" in table.legend


def test_a_new_rule_is_tracked_without_a_new_evaluation_and_then_nothing_is(measured):
    make(measured)
    assert "test/one/dice_truth_only" not in measured.latest(BIG)
    make(measured, absent="truth_only")
    assert measured.latest(BIG)["test/one/dice_truth_only"] == 75.0
    points = measured.points()
    track.run(measured.config, measured.results)
    assert measured.points() == points


def test_a_number_that_the_file_contradicts_is_refused(measured):
    make(measured, metric="hd95")
    measured.sql("update latest_metrics set value = value + 1 where key = 'test/two/hd95'")
    with pytest.raises(SegShiftError, match="MLflow says test/two/hd95 is .*, its score file says"):
        tabulate.run(measured.config, measured.results, "1")


def test_what_was_not_computed_is_said(measured):
    with pytest.raises(
        SegShiftError, match="has no slice Dice on one, space prepared: ask for it under `eval"
    ):
        make(measured, metric="slice_dice")


def test_files_of_other_peoples_runs_have_dice_alone(measured, tmp_path, capsys):
    write(measured, "tables", {"1": TABLE | {"metric": "hd95"}, "2": TABLE})
    file = tmp_path / "runs.csv"
    header = "experiment,source,backbone,tuning,head,seed,adapt,target,dice"
    pairs = [(name, target) for name in ("big", "unet") for target in ("one", "two")]
    lines = [f"shift,one,{name},full,own,0,none,{target},50" for name, target in pairs]
    file.write_text("\n".join([header, *lines]) + "\n")
    tables = tabulate_file.run(measured.config, measured.results, file, tmp_path / "out")
    assert [table.name for table in tables] == ["table_2"]
    assert "has nothing for: 1" in capsys.readouterr().out
    assert "table_1.csv" not in os.listdir(tmp_path / "out")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"metric": "hd96"}, "metric: input should be 'dice'"),
        ({"metric": "hd95", "beside": "published"}, "imported scores are Dice, not HD95 in mm"),
        ({"absent": "never"}, "absent: input should be 'skip'"),
    ],
)
def test_mistakes_of_an_entry(measured, more, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        make(measured, **more)
