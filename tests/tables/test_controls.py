"""Tables of an adaptation beside its control: every number by hand."""

from pathlib import Path

import pytest
from tests.tables.test_aggregate import AXES, grid, tracked  # noqa: F401

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.tables import asked, making, plan
from segshift.tables.controls import NO_GAP

ROOT = Path(__file__).parents[2]
COLUMNS = ["backbone", "labelled", "ds", "before", "control", "domain_shift", "in_domain", "gap_closed_pct",
           "control_gap_closed_pct"]  # fmt: skip
GRID = {"source": ["one", "two"], "backbone": ["a"], **AXES}
EXPERIMENTS = {
    "x": {"title": "X", "grid": GRID | {"adapt": ["self_training"]}, "targets": {"brain": ["one", "two"]}},
    "c": {"title": "C", "grid": GRID | {"adapt": ["none", "finetune"]}, "targets": {"brain": ["one", "two"]}},
}
TABLE = {"title": "T", "experiment": ["x", "c"], "control": "finetune", "columns": COLUMNS}
SCORES = {
    ("one", "a", "one"): 80.0,
    ("two", "a", "two"): 60.0,
    ("one", "a", "two"): 20.0,
    ("two", "a", "one"): 30.0,
    ("one", "a:0:finetune", "two"): 50.0,
    ("two", "a:0:finetune", "one"): 61.0,
    ("one", "a:0:self_training", "two"): 40.0,
    ("two", "a:0:self_training", "one"): 50.0,
}


@pytest.fixture
def build(grid):  # noqa: F811
    def build(scores, budgets=None, **changes):
        made = grid({"grid": GRID}, experiments=EXPERIMENTS, tables={"t": TABLE | changes})
        known = tracked(scores)
        known.budgets.update(budgets or {})
        return making.build(made, "t", asked.of_grid(made, ["x", "c"]), known)

    return build


def cells(table, row=0):
    return {c.key: cell for c, cell in zip(table.columns, table.rows[row].cells, strict=True)}


def test_one_row_an_adaptation_with_its_controls_beside_it(build):
    table = build(SCORES)
    assert len(table.rows) == 1
    found = {key: cell.value for key, cell in cells(table).items() if key not in ("backbone", "labelled")}
    assert found == {
        "ds": 70.0,  # of one on one and two on two
        "before": 25.0,
        "control": 55.5,
        "domain_shift": 45.0,
        "in_domain": 70.0,
        "gap_closed_pct": pytest.approx(100 * (45 - 25) / (70 - 25)),
        "control_gap_closed_pct": pytest.approx(100 * (55.5 - 25) / (70 - 25)),
    }
    behind = {(one.cell, one.target) for one in cells(table)["gap_closed_pct"].scores}
    assert behind == {
        *(("one/a/full/own/0/self_training/two", "two"), ("two/a/full/own/0/self_training/one", "one")),
        *(("one/a/full/own/0", "two"), ("two/a/full/own/0", "one")),
        *(("one/a/full/own/0", "one"), ("two/a/full/own/0", "two")),
    }
    assert not table.partial


def test_by_source_the_own_model_is_the_targets(build):
    table = build(SCORES, by=["source"])
    first, second = cells(table), cells(table, 1)
    assert (first["source"], first["ds"].value, first["in_domain"].value) == ("one", 80.0, 60.0)
    assert (second["source"], second["ds"].value, second["in_domain"].value) == ("two", 60.0, 80.0)
    assert first["gap_closed_pct"].value == 50.0  # (40 - 20) / (60 - 20)
    assert second["control_gap_closed_pct"].value == pytest.approx(62.0)  # (61 - 30) / (80 - 30)


def test_a_missing_control_is_a_dash_that_names_it(build):
    scores = {key: dice for key, dice in SCORES.items() if key != ("one", "a:0:finetune", "two")}
    table = build(scores)
    found = cells(table)
    assert (found["control"].value, found["control_gap_closed_pct"].value) == (None, None)
    assert found["gap_closed_pct"].value is not None
    assert any("one/a/full/own/0/finetune/two on two" in note for note in table.rows[0].notes["control"])
    assert table.partial


def test_no_gap_is_a_dash(build):
    scores = SCORES | {("one", "a", "two"): 60.0, ("two", "a", "one"): 80.0}
    table = build(scores)
    assert cells(table)["gap_closed_pct"].value is None
    assert NO_GAP in table.rows[0].notes["gap_closed_pct"]


def test_the_labelled_budget_stands_beside_every_adapted_number(build):
    two, one = (
        Model(s, "a", "full", "own", 0, "self_training", t) for s, t in (("one", "two"), ("two", "one"))
    )
    control = Model("one", "a", "full", "own", 0, "finetune", "two")
    table = build(SCORES, {two: "3 + 5 validation", one: "3 + 5 validation", control: "1 + 5 validation"})
    assert cells(table)["labelled"] == "3 + 5 validation"
    note = "Labelled patients of the target: {}."
    notes = table.rows[0].notes
    assert notes["domain_shift"] == (note.format("3 + 5 validation"),)
    assert notes["control"] == (note.format("1 + 5 validation"),)
    assert set(notes["gap_closed_pct"]) == {note.format("3 + 5 validation")}
    assert not {"ds", "before", "in_domain"} & set(notes)
    apart = build(SCORES, {two: "3 + 1 validation", one: "3 + 20 validation"})
    assert cells(apart)["labelled"] == "3 + 1 validation on two; 3 + 20 validation on one"


def test_mistakes(build):
    with pytest.raises(SegShiftError, match="t: control: unknown adapt 'finetun'; did you mean 'finetune'"):
        build(SCORES, control="finetun")
    with pytest.raises(SegShiftError, match="the column labelled needs a control: name an adaptation"):
        build(SCORES, control=None)


def test_the_tables_of_the_controls_are_made_when_asked_for_alone():
    thesis = grids.read(ROOT / "config")
    assert not {"4.8c", "4.9c"} & set(plan.names(thesis))
    for number in ("4.8c", "4.9c"):
        entry = thesis.config.tables[number]
        assert set(thesis.config.tables[number.removesuffix("c")].columns) <= set(entry.columns)
        assert {"before", "control", "in_domain", "gap_closed_pct", "labelled"} <= set(entry.columns)
        assert plan.needs(thesis, [number]).experiments == ["self_training", "controls"]
    adapted = {
        name: {m._replace(adapt=None) for m, _ in thesis.experiments[name].scores if m.adapt}
        for name in ("self_training", "controls")
    }
    assert adapted["self_training"] == adapted["controls"]  # the same pairs
    unadapted = {(m, t) for m, t in thesis.experiments["controls"].scores if not m.adapt}
    assert unadapted <= set(thesis.experiments["generalization"].scores)  # trained and scored anyway
