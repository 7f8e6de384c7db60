"""Counts by slice against brute force and libraries, and slice Dice by its three rules."""

import monai.metrics
import numpy as np
import pytest
import SimpleITK
import torch

from segshift import metrics
from segshift.tally import Tally

CLASSES = 4


@pytest.fixture
def volumes():
    random = np.random.default_rng(3)
    truth = random.integers(0, CLASSES, (7, 9, 8))
    return truth, np.where(random.random(truth.shape) < 0.6, truth, random.integers(0, CLASSES, truth.shape))


def tallied(truth, prediction, chunk=3):
    tally = Tally(CLASSES)
    for start in range(0, len(truth), chunk):
        part = slice(start, start + chunk)
        tally.add(torch.from_numpy(prediction[part]), torch.from_numpy(truth[part]))
    return tally


def test_counts_of_slices_by_brute_force(volumes):
    truth, prediction = volumes
    tally = tallied(*volumes)
    for z, c in np.ndindex(len(truth), CLASSES):
        true, predicted = truth[z] == c, prediction[z] == c
        expected = [(true & predicted).sum(), (~true & predicted).sum(), (true & ~predicted).sum()]
        assert tally.slices[z, c].tolist() == expected
    np.testing.assert_array_equal(tally.volume, tally.slices.sum(0))
    assert tally.volume.dtype == np.int64


def test_chunks_change_nothing(volumes):
    one, other = tallied(*volumes, chunk=1), tallied(*volumes, chunk=7)
    np.testing.assert_array_equal(one.slices, other.slices)


def test_the_volume_is_counted_as_training_counts_it(volumes):
    truth, prediction = map(torch.from_numpy, volumes)
    expected = metrics.counts(metrics.confusion(prediction, truth, CLASSES))
    np.testing.assert_array_equal(tallied(*volumes).volume, expected)


def test_dice_and_iou_are_those_of_monai_and_simpleitk(volumes):
    def one_hot(labels):
        return torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels]).permute(3, 0, 1, 2)[None]

    truth, prediction = volumes
    both = one_hot(prediction), one_hot(truth)
    dice = monai.metrics.compute_dice(*both, include_background=False)[0]
    iou = monai.metrics.compute_iou(*both, include_background=False)[0]
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(SimpleITK.GetImageFromArray(one.astype(np.uint8)) for one in (prediction, truth)))
    for number, counts in enumerate(tallied(*volumes).volume[1:].tolist(), 1):
        assert metrics.dice(*counts) == pytest.approx(100 * dice[number - 1].item(), rel=1e-5)
        assert metrics.iou(*counts) == pytest.approx(100 * iou[number - 1].item(), rel=1e-5)
        assert metrics.dice(*counts) == pytest.approx(100 * overlap.GetDiceCoefficient(number))
        assert metrics.iou(*counts) == pytest.approx(100 * overlap.GetJaccardCoefficient(number))


def test_slice_dice_by_hand():
    """Four slices of class 1: half found, invented, in neither, missed."""
    truth, prediction = np.zeros((2, 4, 1, 4), int)
    truth[0, 0, :2], prediction[0, 0, 1:3] = 1, 1  # tp 1, fp 1, fn 1: 50 %; smoothed 3/5
    prediction[1, 0, :3] = 1  # 0 %; smoothed 1/4
    truth[3, 0, :1] = 1  # 0 %; smoothed 1/2
    found = tallied(truth, prediction).slice_dice()
    assert found[0] == (
        pytest.approx(50 / 3),
        pytest.approx(25),
        pytest.approx(100 * (0.6 + 0.25 + 1 + 0.5) / 4),
    )
    assert found[1] == (None, None, 100.0)
