"""One more missed organ never improves a score: random masks, every metric and every rule for absent classes.

A library that leaves out what it cannot measure (a distance to nothing) rewards the miss: its mean is then
over the organs that were found.
"""

from itertools import product
from statistics import fmean

import monai.metrics
import numpy as np
import pytest
import torch

from segshift import metrics, scores, surfaces
from segshift.measures import ABSENT, METRICS, smoothed
from segshift.scores import Row
from segshift.tally import Tally

CLASSES, SHAPE, SPACING = 4, (5, 6, 7), (2.0, 1.0, 0.5)
CASES = 150


def random_case(seed):
    """Blocks and specks, often absent, often in the wrong place."""
    random = np.random.default_rng(seed)

    def labels():
        found = np.zeros(SHAPE, np.uint8)
        for number in range(1, CLASSES):
            if random.random() < 0.75:
                start = [random.integers(0, n - 1) for n in SHAPE]
                sides = [random.integers(1, n) for n in SHAPE]
                found[tuple(slice(a, a + n) for a, n in zip(start, sides, strict=True))] = number
        speck = random.random(SHAPE) < 0.03
        found[speck] = random.integers(0, CLASSES, speck.sum())
        return found

    return labels(), labels()


def rows(truth, prediction):
    """A score file's rows of one volume, of all metrics."""
    tally = Tally(CLASSES)
    tally.add(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    found = surfaces.surfaces(truth, prediction, CLASSES, SPACING, 1.0)
    parts = zip(tally.volume[1:].tolist(), tally.slice_dice(), found, strict=True)
    worst = surfaces.missed(SHAPE, SPACING)
    return [
        Row("t", "test", "model", "v", "p", str(number), *counts, metrics.dice(*counts), metrics.iou(*counts),
            None, "m", "d", "prepared", *slices, *surface, 1.0, worst)
        for number, (counts, slices, surface) in enumerate(parts, 1)
    ]  # fmt: skip


def mean(rows, metric, absent):
    values = [scores.value(row, metric, absent) for row in rows]
    present = [one for one in values if one is not None]
    return fmean(present) if present else None


def misses(case):
    """A volume's rows before and after a miss of each organ that is there and was predicted somewhere."""
    truth, prediction = random_case(case)
    before = rows(truth, prediction)
    for number in range(1, CLASSES):
        if (truth == number).any() and (prediction == number).any():
            yield before, rows(truth, np.where(prediction == number, 0, prediction).astype(np.uint8)), number


@pytest.fixture(scope="module")
def all_misses():
    found = [miss for case in range(CASES) for miss in misses(case)]
    assert len(found) > 150
    return found


SMOOTHED = ("dice", "iou", "slice_dice")  # under `one`; slices too are smoothed there


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("metric", METRICS)
def test_a_miss_never_improves_a_score(all_misses, metric, absent):
    for before, after, number in all_misses:
        old, new = mean(before, metric, absent), mean(after, metric, absent)
        allowance = 1e-9
        if absent == "one" and metric in SMOOTHED:
            allowance += limit(before[number - 1], metric)
        if METRICS[metric].rises:
            assert new <= old + allowance
        else:
            assert new >= old - allowance


def limit(row, metric):
    """By how much a miss may raise the mean: where less was hit than the 1 that is added is worth."""
    voxels = row.tp + row.fn
    if metric == "slice_dice":
        return 100 / (CLASSES - 1)  # per slice, where an organ may have few voxels or be invented
    old = smoothed(metric, row.tp, row.fp, row.fn)
    return max(0.0, 100 / (voxels + 1) - old) / (CLASSES - 1)


def test_smoothing_rewards_a_miss_only_where_next_to_nothing_was_hit(all_misses):
    """2 · TP · (organ + 1) < predicted: one hit in a prediction larger than twice the organ, or no hit."""
    rewarded = 0
    for before, after, number in all_misses:
        row = before[number - 1]
        old, new = mean(before, "dice", "one"), mean(after, "dice", "one")
        hardly_hit = 2 * row.tp * (row.tp + row.fn + 1) < row.tp + row.fp
        assert (new > old + 1e-12) == hardly_hit
        rewarded += hardly_hit
    assert rewarded > 5  # it does happen: why `one` is not the default


def test_skipping_what_cannot_be_measured_rewards_a_miss():
    """What our value of a missed structure prevents, shown on MONAI's mean over the distances that exist."""
    truth, prediction = np.zeros((2, *SHAPE), np.uint8)
    truth[:2, :2, :2], prediction[:2, :2, :2] = 1, 1  # found
    truth[3:, 4:, 5:], prediction[3:, :2, :2] = 2, 2  # far off
    missed = np.where(prediction == 2, 0, prediction).astype(np.uint8)

    def monai_mean(labels):
        both = [torch.from_numpy(np.eye(3, dtype=np.float32)[one]).permute(3, 0, 1, 2)[None] for one in
                (labels, truth)]  # fmt: skip
        metric = monai.metrics.HausdorffDistanceMetric(percentile=95, reduction="mean")
        with pytest.warns() if labels is missed else torch.no_grad():
            metric(*both)
        return metric.aggregate().item()

    assert monai_mean(missed) < monai_mean(prediction)
    old, new = (mean(rows(truth, one), "hd95", "skip") for one in (prediction, missed))
    assert new > old


def test_an_invented_organ_never_improves_a_score_that_counts_it():
    """The same the other way: predicting what is not there, where only background was predicted."""
    for case in range(60):
        truth, prediction = random_case(case)
        number = CLASSES - 1
        truth[truth == number] = 0
        less = np.where(prediction == number, 0, prediction).astype(np.uint8)
        if (prediction == number).any():
            before, after = rows(truth, less), rows(truth, prediction)
            for metric, absent in product(METRICS, ABSENT):
                old, new = mean(before, metric, absent), mean(after, metric, absent)
                if old is not None and new is not None:
                    assert new <= old + 1e-9 if METRICS[metric].rises else new >= old - 1e-9
