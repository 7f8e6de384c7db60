"""Drawing slices: a function of its key alone, with the frequencies of the formula."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import chisquare

from segshift import sampling
from segshift.errors import SegShiftError
from segshift.layers.patients import drawn

# Pixels of four classes in six slices of 100; the last class never reaches four pixels.
COUNTS = np.array(
    [[90, 10, 0, 0], [80, 20, 0, 0], [70, 20, 7, 3], [100, 0, 0, 0], [60, 30, 10, 0], [96, 1, 3, 0]]
)


def test_a_key_is_the_same_on_every_machine():
    """By sha256sum of the text ``(42, 'step', 7)``, and from a process with another hash seed."""
    assert sampling.key(42, "step", 7) == 1126860162937687769
    command = [sys.executable, "-c", "from segshift.sampling import key; print(key(42, 'step', 7))"]
    found = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONHASHSEED": "1", "PYTHONPATH": "src"}
    )
    assert int(found.stdout) == sampling.key(42, "step", 7)


def test_keys_of_different_purposes_differ():
    keys = [sampling.key(seed, what, n) for seed in (0, 1) for what in ("order", "step") for n in range(500)]
    assert len(set(keys)) == 2000
    assert min(keys) >= 0
    assert max(keys) < 2**63


def test_uniform_draws_each_slice_once_a_round():
    order = sampling.uniform(7, 7, seed=0, epoch=0)
    assert sorted(order) == list(range(7))
    assert not np.array_equal(order, sampling.uniform(7, 7, seed=0, epoch=1))
    assert not np.array_equal(order, sampling.uniform(7, 7, seed=1, epoch=0))
    assert np.array_equal(order, sampling.uniform(7, 7, seed=0, epoch=0))
    longer = sampling.uniform(7, 17, seed=0, epoch=0)
    assert np.array_equal(longer[:7], order)
    assert sorted(longer[7:14]) == list(range(7))
    assert not np.array_equal(longer[7:14], order)
    assert len(set(longer[14:])) == 3
    assert len(longer) == 17


def test_uniform_favours_no_place():
    first = np.bincount([sampling.uniform(5, 5, seed=0, epoch=epoch)[0] for epoch in range(2000)])
    assert chisquare(first).pvalue > 1e-3


def test_class_count_needs_a_slice_that_shows_something():
    with pytest.raises(SegShiftError, match="no slice shows a class with more than 4 pixels; lower"):
        sampling.order("class_count", np.zeros((3, 2), np.int64), 6, seed=0, epoch=0)


def test_class_count_draws_by_the_number_of_classes():
    """Of the six slices 2, 2, 3, 1, 3 and 1 classes show more than four pixels."""
    orders = [sampling.order("class_count", COUNTS, 6, seed=0, epoch=epoch) for epoch in range(1000)]
    expected = 6000 * np.array([2, 2, 3, 1, 3, 1]) / 12
    assert chisquare(np.bincount(np.concatenate(orders)), expected).pvalue > 1e-3
    assert np.array_equal(orders[0], sampling.order("class_count", COUNTS, 6, seed=0, epoch=0, temperature=9))
    assert not np.array_equal(*orders[:2])
    # With more than nine pixels counted, the third slice has two classes, as many as the first.
    few = [sampling.order("class_count", COUNTS, 6, 0, epoch, minimum=9) for epoch in range(1000)]
    expected = 6000 * np.array([2, 2, 2, 1, 3, 1]) / 11
    assert chisquare(np.bincount(np.concatenate(few)), expected).pvalue > 1e-3


def test_class_probabilities_by_hand():
    """f = 496/600, 81/600, 20/600; the class without four pixels in any slice is never drawn."""
    weights = np.exp([(1 - 496 / 600) / 0.1, (1 - 81 / 600) / 0.1, (1 - 20 / 600) / 0.1])
    expected = [*(weights / weights.sum()), 0]
    assert sampling.class_probabilities(COUNTS) == pytest.approx(expected, rel=1e-12)
    hot = np.exp([(1 - 496 / 600) / 2, (1 - 81 / 600) / 2, (1 - 20 / 600) / 2])
    assert sampling.class_probabilities(COUNTS, 2)[:3] == pytest.approx(hot / hot.sum(), rel=1e-12)


def test_rare_class_has_the_frequencies_of_the_formula():
    probability = sampling.class_probabilities(COUNTS)
    expected = np.zeros(6)
    for number in range(3):
        having = [s for s in range(6) if COUNTS[s, number] >= 4]
        expected[having] += probability[number] / len(having)
    order = np.concatenate([sampling.rare_class(COUNTS, 50, seed=3, epoch=epoch) for epoch in range(400)])
    found = np.bincount(order, minlength=6)
    assert chisquare(found, expected * len(order)).pvalue > 1e-3
    # and not those of drawing uniformly
    assert chisquare(found).pvalue < 1e-9


def test_rare_class_is_a_function_of_seed_and_epoch():
    order = sampling.rare_class(COUNTS, 30, seed=3, epoch=2)
    np.random.default_rng(0).random(100)
    np.random.seed(1)
    assert np.array_equal(order, sampling.rare_class(COUNTS, 30, seed=3, epoch=2))
    assert not np.array_equal(order, sampling.rare_class(COUNTS, 30, seed=3, epoch=3))
    assert not np.array_equal(order, sampling.rare_class(COUNTS, 30, seed=4, epoch=2))


def test_order_takes_the_sampling_by_name():
    rare, even = (sampling.order(how, COUNTS, 30, 3, 2) for how in ("rare_class", "uniform"))
    assert np.array_equal(rare, sampling.rare_class(COUNTS, 30, 3, 2))
    assert np.array_equal(even, sampling.uniform(6, 30, 3, 2))


def test_labelled_patients_are_nested_and_drawn_by_the_seed():
    patients = [f"b:{number:02d}" for number in range(12)]
    for seed in range(20):
        one, three, five = (drawn(patients, number, seed) for number in (1, 3, 5))
        assert three[:1] == one
        assert five[:3] == three
        assert len(set(five)) == 5
    firsts = [drawn(patients, 1, seed)[0] for seed in range(600)]
    assert chisquare([firsts.count(patient) for patient in patients]).pvalue > 1e-3


def test_labelled_patients_do_not_depend_on_the_order_of_the_file():
    patients = ["b:2", "b:10", "b:1", "b:3"]
    assert drawn(patients, 3, 0) == drawn(patients[::-1], 3, 0)


def test_more_labelled_patients_than_there_are():
    with pytest.raises(SegShiftError, match="patients: 3 must be labelled, and the training split has 2"):
        drawn(["b:1", "b:2"], 3, 0)


def test_temperature_and_pixels_are_settings():
    """With 10 pixels as the least, the third class is shown by one slice; a hot T draws evenly."""
    hot = sampling.class_probabilities(COUNTS, 1e6, 10)
    assert hot == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0], rel=1e-5)
    assert sampling.class_probabilities(COUNTS, 0.1, 11)[2] == 0
    order = sampling.order("rare_class", COUNTS, 400, 3, 2, temperature=1e6, minimum=10)
    expected = np.zeros(6)
    for number in range(3):
        having = [s for s in range(6) if COUNTS[s, number] >= 10]
        expected[having] += 1 / 3 / len(having)
    assert expected[4] > expected[2]
    assert chisquare(np.bincount(order, minlength=6), expected * 400).pvalue > 1e-3
