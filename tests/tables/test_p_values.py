"""p-values in tables, from enumeration and from scipy's own tests of the same volumes."""

import csv
import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.statistics.sample import Cell
from segshift.tables import asked, files, making
from segshift.tables.samples import patient_differences

LEADS = {"a": 70.0, "b": 69.0, "c": 50.0}
ENTRY = {
    "title": "Backbones",
    "experiment": "x",
    "columns": ["rank", "backbone", "ds", "dg", "ov"],
    "statistics": {"p_values": True},
}
SEEDS, PATIENTS = (0, 1), 4  # of each of two datasets: 2 ** 8 swaps


@pytest.fixture
def grid(tmp_path, two_datasets):
    def make(table=ENTRY, experiment=True, **data):
        more = {"data": data, "experiment": {"statistics": experiment}, "tables": {"t": table}}
        return grids.read(two_datasets(tmp_path, LEADS, SEEDS, **more))

    return make


@pytest.fixture
def tracked(evidence):
    def draw(volumes=True):
        """Dice (backbone, seed, target, patient), and what is known of it."""
        generator = np.random.default_rng(1)
        values = np.array(list(LEADS.values()))[:, None, None, None]
        values = values + generator.normal(0, 6, (2, PATIENTS))
        values = values + generator.normal(0, 2, (3, len(SEEDS), 2, PATIENTS))
        return values, evidence(values, LEADS, SEEDS, volumes)

    return draw


def build(made, known, name="t"):
    return making.build(made, name, asked.of_grid(made, ["x"]), known)


def enumerated(one, other):
    """Of two rows (seed, target, patient): every way of swapping patients, the printed mean computed anew."""
    seen, reached = abs(one.mean() - other.mean()), []
    places = list(itertools.product(range(2), range(PATIENTS)))
    for swapped in itertools.product((False, True), repeat=len(places)):
        mask = np.zeros((2, PATIENTS), bool)
        for place, is_swapped in zip(places, swapped, strict=True):
            mask[place] = is_swapped
        a, b = np.where(mask, other, one), np.where(mask, one, other)
        reached.append(abs(a.mean() - b.mean()) >= seen - 1e-9)
    return np.mean(reached)


def test_they_are_those_of_enumeration_and_of_scipy(grid, tracked):
    values, known = tracked()
    table = build(grid(), known)
    best = table.column("backbone")[0]
    assert [column.key for column in table.columns[-3:]] == ["ov", "p", "p_wilcoxon"]
    assert table.column("p")[0].value is table.column("p_wilcoxon")[0].value is None
    lines = {(line["row"], line["dataset"]): line for line in _lines(table)}
    assert len(lines) == 4
    for at in (1, 2):
        name = table.column("backbone")[at]
        one, other = (values[list(LEADS).index(key)] for key in (best, name))
        assert table.column("p")[at].value == pytest.approx(enumerated(one, other), abs=1e-12)
        apart = (one - other).mean(axis=0)  # (target, patient)
        raw = [stats.wilcoxon(own).pvalue for own in apart]
        holm = [min(1, 2 * min(raw)), max(min(1, 2 * min(raw)), max(raw))]
        assert table.column("p_wilcoxon")[at].value == pytest.approx(holm[0])
        for target, p in zip(("one", "two"), raw, strict=True):
            line = lines[f"{name}/full/own", target]
            assert float(line["p_wilcoxon"]) == pytest.approx(p)
            assert float(line["p_holm"]) == pytest.approx(holm[0] if p == min(raw) else holm[1])
            assert (line["patients"], line["swaps"], line["best"]) == ("4", "256", f"{best}/full/own")


def _lines(table):
    return csv.DictReader(io.StringIO(table.beside["p_values.csv"]))


def test_datasets_of_the_same_patients_swap_together(grid, tracked):
    _, known = tracked()
    apart, together = (build(grid(**more), known) for more in ({}, {"patients": "pool"}))
    assert {line["swaps"] for line in _lines(apart)} == {"256"}
    assert {line["swaps"] for line in _lines(together)} == {"16"}


def test_every_format_has_them_with_their_footnote(grid, tracked):
    table = build(grid(), tracked()[1])
    texts = files.texts(table, None, {})
    (line, *_) = list(csv.DictReader(io.StringIO(texts["csv"])))[1:]
    assert float(line["p"]) == table.column("p")[1].value
    for ending in ("md", "tex", "html"):
        assert "by swapping rows patient by patient (all swaps" in texts[ending]
        assert "p, Wilcoxon" in texts[ending]
    smallest = build(grid(), tracked()[1]).column("p")[2].value
    assert smallest == pytest.approx(2 / 256) and f"{smallest:.3f}" in texts["md"]


def test_a_row_of_other_targets_than_the_best_has_none(grid, tracked):
    made = grid()
    ones = [
        replace(one, left_out="seen") if (one.model.backbone, one.target) == ("c", "two") else one
        for one in asked.of_grid(made, ["x"])
    ]
    table = making.build(made, "t", ones, tracked()[1])
    found = dict(zip(table.column("backbone"), table.column("p"), strict=True))
    assert found.pop("c").value is None and table.column("ov")[2].value is not None
    assert sorted(cell.value is None for cell in found.values()) == [False, True]  # the best has none either
    assert "A row of other sources or targets than the best has none" in table.remarks[-1]


def test_nothing_is_there_unless_it_is_asked_for(grid, tracked):
    for entry in (ENTRY | {"statistics": True}, ENTRY | {"statistics": False}):
        table = build(grid(entry), tracked()[1])
        assert not {"p", "p_wilcoxon"} & {column.key for column in table.columns}
        assert "p_values.csv" not in table.beside
    without = build(grid(), tracked(volumes=False)[1])
    assert "p" not in {column.key for column in without.columns}
    with pytest.raises(SegShiftError, match="unknown key 'p_value'; did you mean"):
        grid(ENTRY | {"statistics": {"p_value": True}})


def test_an_experiment_may_ask_too(grid, tracked):
    known = tracked()[1]
    made = grid(experiment={"p_values": True})
    assert "p" in {column.key for column in build(made, known, "x").columns}
    assert "p" not in {column.key for column in build(grid(), known, "x").columns}


def test_a_patient_s_volumes_count_as_one():
    first = [Cell("x", 0, 0.5, 0.0, "g", (("p", 10.0), ("p", 30.0), ("q", 50.0)))]
    second = [
        Cell("y", 0, 0.25, 0.0, "g", (("p", 12.0), ("q", 40.0), ("r", 1.0))),
        Cell("y", 1, 0.25, 0.0, "g", (("p", 16.0), ("q", 44.0), ("r", 1.0))),
    ]
    assert patient_differences(first, second) == {"p": 20.0 - 14.0, "q": 50.0 - 42.0}
