"""`segshift plan`: prices by hand, errors by hand, tables for a budget."""

import json
import math
import re

import pytest

from segshift import scores
from segshift.grid import Model
from segshift.steering import budget
from segshift.steering.costs import LEVELS, PROBE, Costs, Scoring, _median_without, epochs

UNET, OTHER = "one/unet/full/own/0", "one/other/full/own/0"
TWO, TWO_OTHER = "two/unet/full/own/0", "two/other/full/own/0"
ADAPTED = f"{UNET}/finetune/two"
SAME, HEADS, TUNINGS, ANY = LEVELS


def costs(made, **seconds):
    made.prepare()
    paths = {"unet": UNET, "other": OTHER, "two": TWO, "adapted": ADAPTED}
    records = {paths[name]: {"device_seconds": one} for name, one in seconds.items()}
    grid = made.grid
    for path, record in records.items():
        record["epochs"] = grid.training(Model.parse(path))["epochs"]
    return Costs(grid, made.results, records)


def test_a_cell_is_priced_by_the_nearest_finished_ones(made):
    found = costs(made, unet=2000.0)  # 100 slices × 10 epochs: 2 s each
    assert found.price(Model.parse(TWO)) == (one := found.price(Model.parse(TWO)))
    assert (one.seconds, one.level, one.count, one.error) == (2.0 * 50 * 10, SAME, 1, None)
    other = found.price(Model.parse(TWO_OTHER))
    assert (other.seconds, other.level) == (2.0 * 50 * 20, ANY)
    assert found.price(Model.parse(ADAPTED)) is None  # a training tells nothing of an adaptation
    total = found.total([Model.parse(TWO), Model.parse(TWO_OTHER), Model.parse(ADAPTED)])
    assert (total.seconds, total.unpriced, total.unsure) == (3000.0, 1, 2)


def test_errors_are_those_of_pricing_finished_cells_by_the_others(made):
    found = costs(made, unet=2000.0, two=1500.0, other=8000.0)  # 2, 3 and 4 s
    by_same = math.sqrt(((3 / 2 - 1) ** 2 + (2 / 3 - 1) ** 2) / 2)
    assert found.price(Model.parse(TWO)).error == pytest.approx(by_same)
    assert found.price(Model.parse(TWO)).seconds == 2.5 * 500
    # Nobody else is like `other`; of any kind: 2 by the median of 3 and 4, 3 by that of 2 and 4, 4 by 2.5.
    by_any = math.sqrt(((3.5 / 2 - 1) ** 2 + (3 / 3 - 1) ** 2 + (2.5 / 4 - 1) ** 2) / 3)
    assert found.training.errors[ANY] == pytest.approx(by_any)
    total = found.total([Model.parse(TWO), Model.parse(TWO_OTHER)])
    # Both are priced by their own kind, with the error of that level; two kinds err apart from each other.
    assert total.error == pytest.approx(by_same * math.sqrt(1250**2 + 4000**2))
    assert (total.seconds, total.unsure) == (1250 + 4 * 1000, 0)


@pytest.mark.parametrize(
    "numbers", [[1.0, 2.0], [1.0, 2.0, 5.0], [1.0, 1.0, 4.0, 9.0], [3.0, 4.0, 7.0, 8.0, 9.0]]
)
def test_medians_without_one(numbers):
    from statistics import median

    for index in range(len(numbers)):
        assert _median_without(numbers, index) == median(numbers[:index] + numbers[index + 1 :])


def test_a_probe_tells_of_its_kind_alone(made):
    found = costs(made, unet=2000.0)
    found.probe(Model.parse(OTHER), 6000.0)  # 100 × 20: 3 s
    one = found.price(Model.parse(TWO_OTHER))
    assert (one.seconds, one.level, one.error) == (3000.0, PROBE, None)


def test_epochs_are_those_of_the_settings(made):
    grid = made.grid
    assert {path: epochs(grid, model) for path, model in grid.jobs.items()} == {
        path: grid.training(model)["epochs"] for path, model in grid.jobs.items()
    }


def test_a_dataset_that_is_not_prepared_counts_as_the_others(made):
    found = costs(made, unet=2000.0)
    (made.results.data("two") / "manifest.json").unlink()
    assert Costs(made.grid, made.results, {}).slices("two") is None
    again = Costs(made.grid, made.results, {UNET: {"device_seconds": 2000.0, "epochs": 10}})
    assert again.price(Model.parse(TWO)).seconds == 2.0 * 100 * 10 and found


@pytest.mark.parametrize(
    ("text", "hours"), [("40h", 40), ("90min", 1.5), ("90 m", 1.5), ("2d", 48), ("1.5", 1.5)]
)
def test_budgets(text, hours):
    assert budget.seconds(text) == hours * 3600


def test_tables_for_a_budget(made, capsys):
    made.prepare()
    made.finish(UNET, seconds=7200.0)  # 7.2 s a slice and epoch
    # adapted: its adaptation, of unknown cost. shift: 3500 × 7.2 s = 7 h.
    assert made.run("plan", "--budget", "7h") == 0
    said = capsys.readouterr().out
    assert "With 7h, the cheapest first" in said
    assert f"  yes  shift    {'7.0':>14}  Shift\n  no   adapted  {'?':>14}  Adapted\n" in said
    assert "1 of 2 tables for 7.0 device-hours:\n  snakemake results/tables/shift.csv\n" in said
    assert re.search(r"\nother/full/own +2 +6\.0  1 finished of other backbones\n", said)
    assert re.search(r"\nunet/full/own/finetune +1 +\?  nothing is known: --probe\n", said)
    assert made.run("plan", "--budget", "6.9h") == 0
    assert "no table" in capsys.readouterr().out
    assert made.run("plan", "--budget", "a week") == 1
    assert "the budget 'a week' is no duration" in capsys.readouterr().err


def test_a_cell_of_two_tables_is_paid_once_and_order_is_told(made, capsys):
    made.prepare()
    made.finish(TWO, seconds=3600.0)  # 7.2 s
    made.finish(ADAPTED, seconds=1800.0)
    assert made.run("plan", "--budget", "9h", "--json") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    # adapted needs one/unet, 2 h; shift then one/other and two/other, 4 + 2 h
    assert [(one["table"], one["own"]["seconds"] / 3600, one["had"]) for one in tables] == [
        ("adapted", 2.0, True),
        ("shift", 6.0, True),
    ]
    assert tables[1]["all"]["seconds"] == 8 * 3600
    assert made.run("plan", "--budget", "9h", "--json", "--listed") == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    assert [(one["table"], one["own"]["seconds"] / 3600) for one in tables] == [
        ("shift", 8.0),
        ("adapted", 0.0),
    ]
    assert made.run("plan", "adapted", "--budget", "9h", "--json") == 0
    assert [one["table"] for one in json.loads(capsys.readouterr().out)["tables"]] == ["adapted"]


def test_a_probe_where_nothing_is_finished(made, capsys, monkeypatch):
    assert made.run("plan", "--probe") == 1
    assert "a probe needs images: first segshift prepare" in capsys.readouterr().err
    made.prepare()
    made.finish(UNET, seconds=7200.0)
    made.finish(ADAPTED)
    asked = []

    class Found:
        seconds = 7200.0

    def estimate(grid, results, model, slices, size):
        asked.append((model.path, slices, size))
        return Found

    monkeypatch.setattr("segshift.adding.cost.estimate", estimate)
    assert made.run("plan", "--probe") == 0
    assert asked == [(OTHER, 100, (32, 32))]  # unet has a finished cell
    said = capsys.readouterr().out
    assert "3.0  a probe of some steps with random weights" in said  # 2 h and, half as large, 1 h
    assert "of 3 cells it is not known how wrong that may be" in said


def test_nothing_to_plan(made, capsys):
    made.prepare()
    for path in (UNET, OTHER, TWO, TWO_OTHER, ADAPTED):
        made.finish(path)
    assert made.run("plan") == 0
    assert capsys.readouterr().out == "nothing is to be trained or scored\n"


def test_scoring_is_priced_by_the_slices_of_all_targets(made, capsys):
    made.prepare()
    made.finish(UNET)
    assert made.run("plan") == 0
    said = capsys.readouterr().out
    assert re.search(r"\nscoring +4 +\?  nothing is known\n", said)
    assert "\nall: 4 cells, 4 to score, " in said
    assert "the scoring of 4 models is not in it: no finished one noted what it took" in said
    folder = made.results.run(UNET)
    scores.write_seconds(folder, "one", 400.0)  # 100 slices of validation, and 100 of test
    scores.write_seconds(folder, "two", 200.0)  # 50 and 50: 2 s each
    grid, records = made.grid, {UNET: {"device_seconds": 2000.0, "epochs": 10}}
    found = Costs(grid, made.results, records)
    one = found.price(Scoring(Model.parse(ADAPTED)))  # on `two`, after `one` again where its grid says so
    slices = sum(2 * {"one": 100, "two": 50}[name] for name in grid.targets[ADAPTED])
    assert (one.seconds, one.level, one.count) == (2.0 * slices, SAME, 1)
    total = found.total([Model.parse(TWO), Scoring(Model.parse(TWO))])
    assert (total.seconds, total.unpriced, total.unscored) == (2.0 * 50 * 10 + 600.0, 0, 0)


def test_a_model_that_is_trained_costs_only_its_scoring(made, capsys):
    made.prepare()
    for path in (UNET, OTHER, TWO, TWO_OTHER, ADAPTED):
        made.finish(path, scored=path != TWO)
    scores.write_seconds(made.results.run(UNET), "one", 4800.0)
    made.log(TWO, "evaluate", "Traceback\nRuntimeError: no memory\n")
    assert made.run("plan", "--budget", "1h", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["cells"] == []
    assert [(one["cell"], one["seconds"]) for one in content["scorings"]] == [(TWO, 24.0 * 300)]
    assert [(one["table"], one["own"]["seconds"], one["had"]) for one in content["tables"]] == [
        ("adapted", 0.0, True),
        ("shift", 7200.0, False),
    ]
