import math

import numpy as np
import pytest
from scipy import stats

from segshift.statistics import power, ties
from segshift.statistics.intervals import About, of_row, patient_part
from segshift.statistics.sample import Cell, sample
from segshift.statistics.studentized import critical


def rows(values):
    """A sample of Dice (k, S, n): one cell a row and seed."""
    k, seeds, n = values.shape
    return sample(
        [
            [
                Cell(
                    "c",
                    s,
                    1 / seeds,
                    float(values[i, s].mean()),
                    "a",
                    tuple((f"{p:03}", float(values[i, s, p])) for p in range(n)),
                )
                for s in range(seeds)
            ]
            for i in range(k)
        ]
    )


def drawn(generator, k=12, seeds=3, n=20, lead=0.0, skewed=False):
    """What the choices were simulated on: rows, patients and seeds, crossed."""
    patient = generator.normal(0, 8, n)
    if skewed:
        patient = 8 * (1 - generator.exponential(1, n))
    values = 70 + patient + generator.normal(0, 3, (k, 1, n)) + generator.normal(0, 2, (k, seeds, 1))
    values = values + generator.normal(0, 3, (k, seeds, n))
    values[0] += lead
    return values


# Printed tables of the upper 5 % points, for example Pearson & Hartley, Biometrika Tables 1, Table 29.
TABULATED = [
    (2, 1, 17.97),
    (3, 10, 3.88),
    (4, 3, 6.82),
    (5, 20, 4.23),
    (6, 60, 4.16),
    (8, 12, 5.12),
    (10, 5, 6.99),
    (12, math.inf, 4.62),
]


@pytest.mark.parametrize(("k", "df", "q"), TABULATED)
def test_studentized_range_against_printed_tables(k, df, q):
    assert critical(k, df) == pytest.approx(q, abs=0.006)


@pytest.mark.parametrize(("k", "df"), [(7, 1.3), (12, 8.4)])
def test_studentized_range_against_scipy(k, df):
    assert critical(k, df) == pytest.approx(stats.studentized_range.ppf(0.95, k, df), rel=2e-4)


def test_pooled_seed_part_is_the_mean_over_pairs():
    by_seed = np.random.default_rng(0).normal(size=(5, 3))
    pairs = [(by_seed[i] - by_seed[j]).var(ddof=1) / 3 for i in range(5) for j in range(i)]
    assert ties.pooled_seed_part(by_seed) == pytest.approx(np.mean(pairs))


def test_a_pair_by_hand():
    values = np.array([[[80.0, 70, 90, 60]], [[70.0, 65, 75, 55]], [[20.0, 10, 40, 5]]])
    found = ties.pairs(rows(values))
    difference = values[0, 0] - values[1, 0]
    b = difference.var(ddof=1) / 4
    assert found.about is About.ONE_SEED
    assert found.differences[0, 1] == pytest.approx(difference.mean())
    q = stats.studentized_range.ppf(0.95, 3, 3)
    assert found.margins[0, 1] == pytest.approx(q * math.sqrt(b) / math.sqrt(2), rel=1e-3)
    assert found.tied().tolist() == [True, True, False]
    assert found.ranks() == [(1, 2), (1, 2), (3, 3)]
    turned = ties.pairs(rows(values), rises=False)
    assert turned.tied().tolist() == [False, False, True]


def test_rank_intervals_hold_ranks_and_grow_with_noise():
    values = drawn(np.random.default_rng(2), k=6)
    quiet = values.copy()
    quiet += 5 * np.arange(6)[:, None, None]
    for found in (ties.pairs(rows(values)), ties.pairs(rows(quiet))):
        order = np.argsort(-found.differences.sum(axis=1))
        for rank, row in enumerate(order, 1):
            low, high = found.ranks()[row]
            assert low <= rank <= high
        assert found.tied()[order[0]]
    louder = quiet + np.random.default_rng(3).normal(0, 20, values.shape)
    assert (ties.pairs(rows(louder)).margins[0, 1:] > ties.pairs(rows(quiet)).margins[0, 1:]).all()


def test_equal_rows_are_tied_and_lone_rows_have_no_pairs():
    values = np.repeat(drawn(np.random.default_rng(0), k=1), 3, axis=0)
    assert ties.pairs(rows(values)).tied().all()
    assert ties.pairs(rows(values[:1])) is None
    assert ties.pairs(sample([[Cell("c", 0, 1.0, 50.0)], [Cell("c", 0, 1.0, 60.0)]])) is None


def best_by_paired_t(values):
    """A wrong method: each row against the observed best, paired t over patients, seeds averaged, Holm."""
    means = values.mean(axis=1)
    best = int(means.mean(axis=1).argmax())
    p = {i: stats.ttest_rel(means[best], means[i]).pvalue for i in range(len(means)) if i != best}
    kept, running = {best, *p}, True
    for place, i in enumerate(sorted(p, key=p.get)):
        running = running and p[i] * (len(p) - place) < 0.05
        kept -= {i} if running else set()
    return len(kept)


def both(repetitions=120):
    generator = np.random.default_rng(7)
    ours = wrong = covered = naive = 0
    for _ in range(repetitions):
        values = drawn(generator)
        found = rows(values)
        ours += bool(ties.pairs(found).tied().all())
        wrong += best_by_paired_t(values) == len(values)
        interval = of_row(found)
        covered += interval.low <= 70 <= interval.high
        pooled = values[
            0
        ].ravel()  # the other wrong method: all volumes of all seeds as if they were patients
        half = stats.t.ppf(0.975, pooled.size - 1) * pooled.std(ddof=1) / math.sqrt(pooled.size)
        naive += abs(pooled.mean() - 70) <= half
    return [count / repetitions for count in (ours, wrong, covered, naive)]


def test_simulated_tie_sets_and_intervals_hold_what_they_promise_and_wrong_ones_do_not():
    ours, wrong, covered, naive = both()
    assert ours >= 0.90 and covered >= 0.90  # 95 wanted; 120 repetitions have a standard error of 2
    assert wrong < 0.5 and naive < 0.85


def test_the_smallest_detectable_difference_is_detected_as_often_as_promised():
    generator = np.random.default_rng(5)
    k, n = 4, 40
    typical = np.median(
        [power.smallest_detectable(ties.pairs(rows(drawn(generator, k, 5, n)))) for _ in range(20)]
    )
    hits = sum(
        bool(ties.pairs(rows(drawn(generator, k, 5, n, lead=typical))).better[0, 1]) for _ in range(150)
    )
    assert 0.68 < hits / 150 < 0.92


def test_seeds_needed_falls_with_the_gap_and_is_nothing_where_patients_forbid_it():
    values = drawn(np.random.default_rng(1), k=3, n=60)
    values[:, :, :] += np.array([20.0, 0, -40])[:, None, None]
    wide = rows(values)
    b = tuple(map(float, patient_part(wide.difference(0, 1).moves[0], wide.groups)))
    many = power.seeds_needed(ties.pairs(wide), 0, 1, b)
    values[0] -= 14
    near = rows(values)
    assert many <= power.seeds_needed(ties.pairs(near), 0, 1, b)
    values[0] += values[1].mean() - values[0].mean() + 0.01
    assert power.seeds_needed(ties.pairs(rows(values)), 0, 1, b) is None
    with pytest.raises(ValueError, match="three seeds"):
        power.seeds_needed(ties.pairs(rows(values[:, :1])), 0, 1, b)
