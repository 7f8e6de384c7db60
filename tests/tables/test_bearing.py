"""Intervals, ties, ranks and remarks in tables, from the scores up."""

import csv
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.stages import tabulate_file
from segshift.statistics.friedman import friedman
from segshift.tables import asked, bearing_text, diagram, files, making, runs
from segshift.tables.asked import Tracked
from segshift.tables.bearing import TIED
from segshift.tables.bearing_notes import UNKNOWN
from segshift.tables.table import Number, Row

ROOT = Path(__file__).parents[2]
BACKBONES = ("a", "b", "c", "d", "e", "f")
LEADS = dict(zip(BACKBONES, (70.0, 69.5, 69.0, 68.5, 68.0, 40.0), strict=True))
TABLE = {
    "title": "Backbones",
    "experiment": "x",
    "columns": ["rank", "backbone", "ds", "dg", "dg_diff_pct", "ov"],
    "statistics": True,
}


@pytest.fixture
def grid(tmp_path, two_datasets):
    """A function to a grid of six backbones on two datasets, with entries of its own."""

    def make(seeds=(0,), table=TABLE, **data):
        return grids.read(two_datasets(tmp_path, BACKBONES, seeds, data=data, tables={"t": table}))

    return make


@pytest.fixture
def tracked(evidence):
    def draw(seeds=(0,), n=12, noise=1.0, volumes=True):
        """Dice (backbones, seeds, targets, patients) and what is known of it."""
        generator = np.random.default_rng(4)
        patient = generator.normal(0, 6, (2, n))
        values = np.array([LEADS[name] for name in BACKBONES])[:, None, None, None] + patient
        values = values + generator.normal(0, noise, (6, len(seeds), 1, 1))
        values = values + generator.normal(0, noise, (6, len(seeds), 2, n))
        return values, evidence(values, BACKBONES, seeds, volumes)

    return draw


def build(made, known, name="t"):
    return making.build(made, name, asked.of_grid(made, ["x"]), known)


def test_an_interval_is_that_of_the_formula_by_hand(grid, tracked):
    values, known = tracked((0, 1, 2))
    table = build(grid((0, 1, 2)), known)
    for name, cell in zip(table.column("backbone"), table.column("ov"), strict=True):
        own = values[BACKBONES.index(name)]
        a = own.mean(axis=(1, 2)).var(ddof=1) / 3
        parts = (own.mean(axis=0) / 2).var(axis=1, ddof=1) / 12  # the datasets share no patients
        b = parts.sum()
        df = (a + b) ** 2 / (a**2 / 2 + (parts**2 / 11).sum())
        half = stats.t.ppf(0.975, df) * math.sqrt(a + b)
        assert (cell.low, cell.high) == pytest.approx((cell.value - half, cell.value + half))
    assert any("About this method" in remark for remark in table.remarks)


def test_datasets_that_share_patients_are_one_group(grid, tracked):
    values, known = tracked()
    cell = build(grid(patients="people"), known).column("ov")[0]
    own = values[0, 0].mean(axis=0)
    half = stats.t.ppf(0.975, 11) * own.std(ddof=1) / math.sqrt(12)
    assert (cell.low, cell.high) == pytest.approx((cell.value - half, cell.value + half))


def test_the_clearly_worse_row_falls_out_and_the_others_are_marked(grid, tracked):
    table = build(grid(), tracked()[1])
    marked = {
        name: TIED in row.notes.get("ov", ())
        for name, row in zip(table.column("backbone"), table.rows, strict=True)
    }
    assert not any(marked.values())  # the best one stands alone, which is no tie
    noisy = build(grid(), tracked(noise=5.0)[1])
    tied = [TIED in row.notes.get("ov", ()) for row in noisy.rows]
    assert tied[0] and sum(tied) > 1 and not tied[-1]
    spans = dict(zip(table.column("backbone"), table.column("ranks"), strict=True))
    assert (spans["f"].low, spans["f"].high) == (6, 6)
    ranks = dict(zip(table.column("backbone"), table.column("rank"), strict=True))
    assert all(spans[name].low <= ranks[name] <= spans[name].high for name in BACKBONES)
    assert any("One seed: about these models" in remark for remark in table.remarks)
    assert any("not known from fewer than three seeds" in remark for remark in table.remarks)
    assert any("80 % power" in remark for remark in table.remarks)


def test_more_noise_widens_margins_and_more_seeds_say_how_many_are_needed(grid, tracked):
    quiet, loud = (build(grid((0, 1, 2)), tracked((0, 1, 2), noise=n)[1]) for n in (0.5, 5.0))

    def tied(table):
        return sum(TIED in row.notes.get("ov", ()) for row in table.rows)

    assert tied(quiet) <= tied(loud)
    assert any("Seeds needed to tell rank 1 from rank 2" in remark for remark in quiet.remarks)


def test_every_format_shows_intervals_and_spans(grid, tracked):
    table = build(grid(), tracked(noise=5.0)[1])
    texts = files.texts(table, None, {})
    best = table.column("ov")[0]
    shown = f"{best.value:.2f} [{best.low:.2f}, {best.high:.2f}]"
    for ending in ("md", "tex", "html"):
        assert shown in re.sub(r'<br><span class="interval">(.*?)</span>', r" \1", texts[ending])
        assert TIED in texts[ending]
    assert re.search(r"\| +6 \| +6 \| f ", texts["md"]) and re.search(r"\| +1 \| +1–\d \|", texts["md"])
    (line, *_) = csv.DictReader(io.StringIO(texts["csv"]))
    assert float(line["ov_low"]) == best.low and float(line["ds_high"]) > float(line["ds"])
    assert (line["ranks_low"], line["rank"]) == ("1", "1")
    assert float(line["dg_diff_pct"]) == 0
    pairs = list(csv.DictReader(io.StringIO(texts["pairs.csv"])))
    assert len(pairs) == 15
    assert all(float(pair["difference"]) >= 0 for pair in pairs)
    assert {pair["surely_better"] for pair in pairs if "f" in pair["other"].split("/")[0]} == {"true"}


def test_the_paragraph_is_true_of_the_numbers(grid, tracked):
    for noise in (0.2, 5.0):
        table = build(grid((0, 1, 2)), tracked((0, 1, 2), noise=noise)[1])
        text = table.beside["txt"]
        names = table.column("backbone")
        best = table.column("ov")[0]
        assert f"{names[0]} came first with OV {best.value:.2f}, 95 % interval {best.low:.2f} to" in text
        assert "6 configurations, trained on one, were compared on one and two (24 test" in text
        assert "(24 test patients, 3 training seeds)" in text
        tied = [n for n, row in zip(names, table.rows, strict=True) if TIED in row.notes.get("ov", ())][1:]
        listed = ", ".join(tied[:-1]) + " and " + tied[-1] if len(tied) > 1 else "".join(tied)
        assert f"{listed} cannot be told from it" in text if tied else "better than every other one" in text
        gap = best.value - table.column("ov")[1].value
        least = float(re.search(r"80 % power, ([\d.]+) points", text)[1])
        assert ("is not below" in text) == (gap >= least)
        assert any(f"80 % power: {least:.2f} points" in remark for remark in table.remarks)


def test_names_of_a_paragraph_cannot_be_read_as_a_list(grid):
    made = grid()
    made.config.labels["head"] = {"own": "its own"}
    row = Row((), axes={"backbone": "a", "tuning": "full", "head": "own"})
    assert bearing_text._name(row, ["backbone"], made) == "a"
    assert bearing_text._name(row, ["backbone", "tuning", "head"], made) == "a (full, its own)"


def test_differences_to_the_best_have_intervals_from_the_bootstrap(grid, tracked):
    table = build(grid(), tracked()[1])
    first, *others = table.column("dg_diff_pct")
    assert first.value == 0 and first.low is None
    assert all(one.low < one.value < one.high for one in others)


def test_a_failed_run_is_named_and_stays(grid, tracked):
    _, known = tracked()
    table = build(grid(), known)
    last = table.rows[-1]
    assert table.column("backbone")[-1] == "f"
    (note,) = last.notes["ds"]
    assert "Suspect" in note and "one/f/full/own/0 on one" in note and "on two" not in note
    assert not any(
        "Suspect" in note for row in table.rows[:-1] for notes in row.notes.values() for note in notes
    )
    assert isinstance(last.cells[-1], Number) and last.cells[-1].value is not None


def test_an_experiment_s_own_table_has_them_unless_patients_are_not_known(grid, tracked):
    made = grid()
    with_patients = build(made, tracked()[1], "x")
    without = build(made, tracked(volumes=False)[1], "x")
    assert any(column.key == "ranks" for column in with_patients.columns)
    assert not any(column.key == "ranks" for column in without.columns)
    assert not any("Intervals" in remark for remark in without.remarks)


def test_a_plain_file_leaves_intervals_out_and_says_the_seeds_part(grid, tracked):
    one = build(grid(), tracked(volumes=False)[1])
    assert UNKNOWN in one.remarks
    values, known = tracked((0, 1), volumes=False)
    two = build(grid((0, 1)), known)
    by_seed = values.mean(axis=(2, 3))
    pairs = [(by_seed[i] - by_seed[j]).var(ddof=1) / 2 for i in range(6) for j in range(i)]
    assert any(f"standard error of {math.sqrt(np.mean(pairs)):.2f} points" in r for r in two.remarks)
    assert two.spread


def test_one_patient_of_a_dataset_leaves_intervals_out(grid, tracked):
    _, known = tracked()
    scores = {
        score: replace(one, volumes=one.volumes[:1], dice=one.volumes[0].dice)
        if score.target == "two"
        else one
        for score, one in known.scores.items()
    }
    table = build(grid(), Tracked(scores, {}, {}))
    assert any("of two there is one test patient" in remark for remark in table.remarks)
    assert not any("in brackets" in remark for remark in table.remarks)
    assert all(cell.low is None for cell in table.column("ov"))
    assert table.column("ds")[0].low is not None  # that column is of the other dataset alone


def test_a_missing_row_takes_no_part(grid, tracked):
    made = grid()
    _, known = tracked()
    scores = {score: one for score, one in known.scores.items() if score.model.backbone != "b"}
    table = build(made, Tracked(scores, {}, {}))
    spans = dict(zip(table.column("backbone"), table.column("ranks"), strict=True))
    assert spans["b"].value is None
    assert max(one.high for one in spans.values() if one.value) == 5


def test_what_a_rule_costs_with_its_interval(grid, tracked):
    entry = {
        "kind": "selection",
        "title": "Choice",
        "experiment": "x",
        "choose": "backbone",
        "columns": ["backbone"],
        "statistics": True,
    }
    values, known = tracked()
    # Validation says `c` on the source; the test scores say something else.
    scores = {
        score: replace(one, validation=90.0 if score.model.backbone == "c" else 50.0)
        for score, one in known.scores.items()
    }
    table = build(grid(table=entry), Tracked(scores, {}, {}))
    (row,) = table.rows
    cells = dict(zip((column.key for column in table.columns), row.cells, strict=True))
    assert (cells["source_validation"], cells["oracle"]) == ("c", "a")
    apart = values[0, 0] - values[2, 0]  # (target, patient)
    cost, dg = cells["source_validation_cost"], cells["source_validation_cost_dg"]
    b = (apart / 2).var(axis=1, ddof=1) / 12
    half = stats.t.ppf(0.975, b.sum() ** 2 / (b**2 / 11).sum()) * math.sqrt(b.sum())
    assert (cost.value, cost.low, cost.high) == pytest.approx(
        (apart.mean(), apart.mean() - half, apart.mean() + half)
    )
    by_library = stats.ttest_rel(values[0, 0, 1], values[2, 0, 1]).confidence_interval(0.95)
    assert (dg.value, dg.low, dg.high) == pytest.approx((apart[1].mean(), by_library.low, by_library.high))
    assert (cells["oracle_cost"].value, cells["oracle_cost"].low) == (0, 0)
    assert any("take the choices as given" in remark for remark in table.remarks)


def test_the_loss_has_an_interval_and_latex_knows_every_sign(grid, tracked):
    columns = ["backbone", "ds", "domain_shift", "dom_shift_loss_pct", "ov"]
    values, known = tracked()
    table = build(grid(table=TABLE | {"columns": columns}), known)
    at = [list(table.column("backbone")).index(name) for name in ("a", "f")]
    for i, name in zip(at, (0, 5), strict=True):
        cell = table.column("dom_shift_loss_pct")[i]
        ds, dg = values[name, 0].mean(axis=1)
        # The linear form of a ratio, of two datasets that share no patients.
        b = (
            1e4
            * (values[name, 0, 1].var(ddof=1) / ds**2 + (dg / ds**2) ** 2 * values[name, 0, 0].var(ddof=1))
            / 12
        )
        half = stats.t.ppf(0.975, 11) * math.sqrt(b)
        assert cell.value == pytest.approx(100 * (dg - ds) / ds)
        assert cell.high - cell.low == pytest.approx(2 * half, rel=0.08)
    text = files.texts(table, None, {})["tex"]
    assert not set(text) & set("√·“”−±≥≤")


@pytest.mark.parametrize("ending", ["pdf", "png", "svg"])
def test_a_diagram_is_the_same_bytes_every_time(tmp_path, ending):
    found = friedman({name: {b: float(i * b % 7) for b in range(1, 9)} for i, name in enumerate("abcd", 2)})
    diagram.write(found, tmp_path / f"one.{ending}", "Title")
    diagram.write(found, tmp_path / f"two.{ending}", "Title")
    assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    with pytest.raises(SegShiftError, match="svg, pdf, png"):
        diagram.write(found, tmp_path / "one.gif")


@pytest.fixture(scope="module")
def published():
    grid = grids.read(ROOT / "config")
    return grid, runs.read(ROOT / "config" / "published" / "runs.csv", grid)


@pytest.mark.parametrize(
    ("blocks", "said"), [("cells", "2.99; 31 blocks of 12"), ("models", "4.81; 12 blocks of 12")]
)
def test_friedman_on_the_thesis_s_heads_from_its_plain_file(published, blocks, said):
    grid, found = published
    entry = grid.config.tables["4.2"]
    grid.config.tables["4.2"] = entry.model_copy(
        update={
            "statistics": type(entry).model_validate(TABLE | {"statistics": {"blocks": blocks}}).statistics
        }
    )
    try:
        table = tabulate_file.build(grid, "4.2", found, Results("nowhere"))
    finally:
        grid.config.tables["4.2"] = entry
    (remark,) = [remark for remark in table.remarks if "Friedman" in remark]
    assert said in remark
    rank, count = {"cells": ("3.77", 9), "models": ("3.25", 10)}[blocks]
    assert f"First by mean rank: HQHSAM ({rank}); {count} of 12 rows" in remark
    assert table.beside["ranks.svg"].decode().count("HQHSAM (") == 1
    assert UNKNOWN in table.remarks
