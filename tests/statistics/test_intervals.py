import hashlib
import math

import numpy as np
import pytest
from scipy import stats

from segshift.statistics import intervals, ratios
from segshift.statistics.intervals import About
from segshift.statistics.sample import Cell, sample


def cells(values, weight, seed=0, group="a", name="x"):
    """A cell of one volume a patient."""
    volumes = tuple((f"p{i}", float(value)) for i, value in enumerate(values))
    return Cell(name, seed, weight, float(np.mean(values)), group, volumes)


def two_groups(seeds=1, n=(9, 6)):
    """A row over three cells in two groups; of the first two the patients are the same."""
    generator = np.random.default_rng(1)
    shared = generator.normal(0, 8, n[0])
    found = []
    for seed in range(seeds):
        for name, group, count, weight in (
            ("c", "a", n[0], 0.5),
            ("d", "a", n[0], 0.25),
            ("e", "b", n[1], 0.25),
        ):
            base = shared if group == "a" else 0.0
            values = 70 + base + generator.normal(seed, 5, count)
            found.append(cells(values, weight / seeds, seed, group, name))
    return found


def test_parts_sum_to_the_statistic_and_moves_to_nothing():
    made = sample([two_groups(2)])
    assert made.parts.sum() == pytest.approx(made.values[0])
    assert [made.moves[0, made.groups == g].sum() for g in (0, 1)] == pytest.approx([0, 0])
    assert made.by_seed.mean() == pytest.approx(made.values[0])


def test_closed_patients_part_is_that_of_a_bootstrap_over_patients():
    row = two_groups()
    b, _ = intervals.patient_part(sample([row]).moves[0], sample([row]).groups)
    generator = np.random.default_rng(0)
    drawn = np.zeros(10_000)
    for group in ("a", "b"):
        own = [cell for cell in row if cell.group == group]
        n = len(own[0].volumes)
        picked = generator.integers(0, n, (10_000, n))
        for cell in own:
            drawn += cell.weight * np.array([value for _, value in cell.volumes])[picked].mean(axis=1)
    # A bootstrap's variance is (n - 1) / n of the unbiased one, group by group.
    expected = 0.0
    for group, n in (("a", 9), ("b", 6)):
        z = sum(c.weight * np.array([v for _, v in c.volumes]) for c in row if c.group == group)
        expected += z.var() / n
        assert n / (n - 1) * z.var() / n == pytest.approx(z.var(ddof=1) / n)
    assert drawn.var() == pytest.approx(expected, rel=0.05)
    unbiased = sum(
        sum(c.weight * np.array([v for _, v in c.volumes]) for c in row if c.group == g).var(ddof=1) / n
        for g, n in (("a", 9), ("b", 6))
    )
    assert b == pytest.approx(unbiased)


def test_patients_with_several_volumes_and_of_only_one_of_two_datasets():
    first = Cell("c", 0, 0.5, 50.0, "a", (("p", 40.0), ("p", 60.0), ("q", 30.0), ("r", 70.0)))
    second = Cell("d", 0, 0.5, 20.0, "a", (("q", 10.0), ("s", 30.0)))
    made = sample([[first, second]])
    # p: (40 - 50 + 60 - 50) / 8 = 0; q: -20 / 8 + -10 / 4; r: 20 / 8; s: 10 / 4
    assert dict(zip(made.patients, made.moves[0], strict=True)) == pytest.approx(
        {("a", "p"): 0.0, ("a", "q"): -5.0, ("a", "r"): 2.5, ("a", "s"): 2.5}
    )
    b, _ = intervals.patient_part(made.moves[0], made.groups)
    assert b == pytest.approx(4 / 3 * (25 + 6.25 + 6.25))


def test_satterthwaite_by_hand():
    assert intervals.satterthwaite((4.0, 1.0), (2, 19)) == pytest.approx(25 / (16 / 2 + 1 / 19))
    assert intervals.satterthwaite((0.0, 1.0), (2, 19)) == pytest.approx(19)
    assert intervals.satterthwaite((0.0, 0.0), (2, 19)) == math.inf


def test_two_terms_by_hand_and_what_they_are_about():
    values = np.array([[50.0, 60, 70, 80], [52, 58, 74, 80], [49, 61, 69, 85]])
    made = sample([[cells(row, 1 / 3, seed) for seed, row in enumerate(values)]])
    a = values.mean(axis=1).var(ddof=1) / 3
    b = values.mean(axis=0).var(ddof=1) / 4
    df = (a + b) ** 2 / (a**2 / 2 + b**2 / 3)
    found = intervals.of_row(made)
    assert found.about is About.METHOD
    assert (found.seed_part, found.patient_part, found.df) == pytest.approx((a, b, df))
    half = stats.t.ppf(0.975, df) * math.sqrt(a + b)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half))
    fixed = intervals.of_row(made, models=True)
    assert (fixed.about, fixed.seed_part, fixed.df) == (About.MODELS, 0.0, pytest.approx(3))
    assert fixed.error < found.error


@pytest.mark.parametrize(("seeds", "what"), [(1, About.ONE_SEED), (2, About.MODELS), (3, About.METHOD)])
def test_seeds_decide_what_an_interval_is_about(seeds, what):
    assert intervals.of_row(sample([two_groups(seeds)])).about is what
    assert what.explained


def test_a_difference_loses_what_patients_share():
    generator = np.random.default_rng(3)
    patient = generator.normal(70, 10, 20)
    one, other = patient + generator.normal(1, 1, 20), patient + generator.normal(0, 1, 20)
    made = sample([[cells(one, 1.0)], [cells(other, 1.0)]])
    found = intervals.of_difference(made, 0, 1)
    by_library = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((by_library.low, by_library.high))
    assert found.high - found.low < intervals.of_row(made, 0).high - intervals.of_row(made, 0).low


def test_without_volumes_or_with_one_patient_there_is_no_interval():
    assert intervals.of_row(sample([[Cell("c", 0, 1.0, 50.0)]])) is None
    assert intervals.of_row(sample([[cells([50.0], 1.0)]])) is None
    lonely = sample([[cells([50.0, 60, 70], 0.5), cells([40.0], 0.5, group="b")]])
    assert intervals.lone(lonely) == ["b"]
    assert intervals.of_row(lonely) is None


def test_equal_patients_leave_an_interval_of_no_width():
    found = intervals.of_row(sample([[cells([50.0, 50, 50], 1.0)]]))
    assert (found.low, found.high) == (50, 50)


def test_seeds_that_rows_do_not_share_take_no_part():
    rows = [[cells([50.0, 60], 0.5, seed) for seed in seeds] for seeds in ((0, 1), (1, 2))]
    assert sample(rows).by_seed.shape == (2, 1)
    assert sample(rows).seeds == 1


def test_the_bootstrap_of_a_mean_is_its_closed_form_and_of_a_ratio_its_linear_form():
    row = two_groups(1, (40, 40))
    draws = ratios.Draws.of(row, 20_000)
    one, whole = [row[0]._replace(weight=1.0)], [cell._replace(weight=1 / 3) for cell in row]
    mean = ratios.of_ratio(one, whole, draws, lambda a, b: a)
    assert mean.patient_part == pytest.approx(intervals.of_row(sample([one])).patient_part, rel=0.05)
    found = ratios.of_ratio(one, whole, draws)
    values = sample([one, whole])
    ratio = values.values[0] / values.values[1]
    linear = 100 * (values.moves[0] - ratio * values.moves[1]) / values.values[1]
    b, _ = intervals.patient_part(linear, values.groups)
    assert found.value == pytest.approx(100 * (ratio - 1))
    assert found.patient_part == pytest.approx(b, rel=0.05)
    assert ratios.of_ratio([Cell("c", 0, 1.0, 50.0)], whole, draws) is None


def test_a_drawing_does_not_depend_on_the_order_of_cells():
    row = two_groups()
    assert np.array_equal(ratios.Draws.of(row).mean(row), ratios.Draws.of(row[::-1]).mean(row))


def test_a_drawing_does_not_depend_on_what_patients_are_called():
    row = two_groups()
    other = [
        cell._replace(
            volumes=tuple((hashlib.sha256(patient.encode()).hexdigest(), x) for patient, x in cell.volumes)
        )
        for cell in row
    ]
    assert np.array_equal(ratios.Draws.of(row).mean(row), ratios.Draws.of(other).mean(other))
