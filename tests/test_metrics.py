"""Counts against brute force, and scores by hand."""

import math

import numpy as np
import pytest
import torch

from segshift import metrics


@pytest.fixture
def masks():
    random = np.random.default_rng(0)
    return random.integers(0, 4, (3, 6, 5)), random.integers(0, 4, (3, 6, 5))


@pytest.mark.parametrize("classes", [1, 2, 15, 256, 300])
def test_the_predicted_class_is_the_first_of_most_weight(classes):
    """Few distinct values, so that many are equal; and what a network without numbers says."""
    random = np.random.default_rng(classes)
    logits = random.integers(-3, 3, (2, classes, 6, 5)).astype(np.float32)
    logits[:, :, 0, 0], logits[:, :, 0, 1] = -np.inf, np.nan
    found = metrics.prediction(torch.from_numpy(logits))
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), logits.argmax(1))
    half = torch.from_numpy(logits).to(torch.bfloat16)
    assert torch.equal(metrics.prediction(half), found)
    broken = half.clone()
    broken[:, classes // 2] = float("nan")  # of a model that diverged
    assert torch.equal(metrics.prediction(broken), broken.argmax(1))


def test_confusion_by_brute_force(masks):
    prediction, labels = masks
    matrix = metrics.confusion(torch.from_numpy(prediction), torch.from_numpy(labels), 5)
    for truth in range(5):
        for predicted in range(5):
            assert matrix[truth, predicted] == np.sum((labels == truth) & (prediction == predicted))
    assert matrix.dtype == torch.int64


def test_counts_by_brute_force(masks):
    prediction, labels = masks
    table = metrics.counts(metrics.confusion(torch.from_numpy(prediction), torch.from_numpy(labels), 5))
    for number in range(5):
        predicted, true = prediction == number, labels == number
        expected = [np.sum(predicted & true), np.sum(predicted & ~true), np.sum(~predicted & true)]
        assert table[number].tolist() == expected


def test_counts_may_be_streamed(masks):
    prediction, labels = map(torch.from_numpy, masks)
    whole = metrics.confusion(prediction, labels, 4)
    parts = sum(metrics.confusion(p, t, 4) for p, t in zip(prediction, labels, strict=True))
    assert torch.equal(whole, parts)


def test_scores_are_percentages():
    assert metrics.dice(3, 1, 2) == 100 * 6 / 9
    assert metrics.iou(3, 1, 2) == 50.0
    assert metrics.dice(5, 0, 0) == metrics.iou(5, 0, 0) == 100.0


def test_absent_classes():
    """In neither: no score. In one alone: 0."""
    assert metrics.dice(0, 0, 0) is None
    assert metrics.iou(0, 0, 0) is None
    assert metrics.dice(0, 4, 0) == metrics.dice(0, 0, 4) == 0.0
    assert metrics.iou(0, 4, 0) == metrics.iou(0, 0, 4) == 0.0


def test_the_mean_leaves_out_what_is_absent_and_does_not_depend_on_order():
    assert metrics.mean([1.0, None, 3.0]) == 2.0
    assert metrics.mean([None, None]) is None
    assert metrics.mean([]) is None
    values = [1e16, 1.0, -1e16, 3.0]
    assert metrics.mean(values) == metrics.mean(values[::-1]) == 1.0
    assert math.isnan(metrics.mean([math.nan, 1.0]))


def test_a_volume_is_the_mean_of_its_foreground_classes():
    table = np.array([[100, 3, 3], [3, 1, 2], [0, 0, 0], [1, 1, 0]])
    assert metrics.volume_dice(table) == pytest.approx((100 * 6 / 9 + 100 * 2 / 3) / 2)
    assert metrics.volume_dice(table[[0, 2]]) is None
