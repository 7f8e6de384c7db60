"""Losses against values computed with NumPy and by hand."""

import math

import numpy as np
import pytest
import torch

from segshift import losses


@pytest.fixture
def batch():
    """Logits (2, 3, 4, 5) and labels, some of them ignored."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (2, 4, 5))
    labels[0, 0, :3] = losses.IGNORED
    return torch.from_numpy(random.normal(0, 2, (2, 3, 4, 5))), torch.from_numpy(labels)


def softmax(logits):
    values = np.exp(logits.numpy())
    return values / values.sum(1, keepdims=True)


def test_cross_entropy_is_the_mean_over_pixels_that_teach(batch):
    logits, labels = batch
    p = softmax(logits)
    terms = [-math.log(p[b, labels[b, y, x], y, x]) for b, y, x in np.argwhere(labels.numpy() >= 0)]
    assert len(terms) == 37
    assert losses.cross_entropy(logits, labels).item() == pytest.approx(np.mean(terms), rel=1e-12)


def test_dice_by_definition(batch):
    logits, labels = batch
    p, keep = softmax(logits), labels.numpy() >= 0
    ratios = []
    for number in range(3):
        truth, chance = (labels.numpy() == number)[keep], p[:, number][keep]
        ratios.append((2 * (truth * chance).sum() + 1) / (truth.sum() + chance.sum() + 1))
    assert losses.dice(logits, labels).item() == pytest.approx(1 - np.mean(ratios), rel=1e-12)


def test_dice_of_a_perfect_and_of_a_wrong_prediction():
    labels = torch.tensor([[[0, 1], [1, 2]]])
    sure = 1000.0 * torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    assert losses.dice(sure, labels).item() == pytest.approx(0, abs=1e-6)
    # each class is predicted where another is: (0 + 1) / (n + n' + 1)
    wrong = torch.roll(sure, 1, 1)
    expected = 1 - np.mean([1 / (1 + 1 + 1), 1 / (2 + 1 + 1), 1 / (1 + 2 + 1)])
    assert losses.dice(wrong, labels).item() == pytest.approx(expected, abs=1e-6)


def test_the_sum_of_both(batch):
    both = losses.cross_entropy(*batch) + losses.dice(*batch)
    assert losses.CRITERIA["dice_cross_entropy"](*batch).item() == pytest.approx(both.item(), rel=1e-12)


def test_entropy(batch):
    p = softmax(batch[0])
    assert losses.entropy(batch[0]).item() == pytest.approx(-(p * np.log(p)).sum(1).mean(), rel=1e-12)
    assert losses.entropy(torch.zeros(1, 4, 2, 2)).item() == pytest.approx(math.log(4), rel=1e-6)
    assert losses.entropy(torch.tensor([1e4, 0.0]).reshape(1, 2, 1, 1)).item() == 0.0


@pytest.mark.parametrize("name", losses.CRITERIA)
def test_gradients(batch, name):
    """Right to second order, and none where a pixel teaches nothing."""
    logits, labels = batch
    logits = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: losses.CRITERIA[name](one, labels), logits, fast_mode=True)
    losses.CRITERIA[name](logits, labels).backward()
    assert logits.grad[0, :, 0, :3].abs().max() == 0
    assert logits.grad[1].abs().min() > 0


def test_outputs_are_weighted_and_those_of_weight_0_not_computed(batch):
    seen = []

    def mean(output):
        seen.append(output)
        return output.mean()

    outputs = [torch.full((2,), value) for value in (1.0, 10.0, 100.0)]
    assert losses.weighted(outputs, (0.4, 0.0, 0.6), mean).item() == pytest.approx(0.4 + 60)
    assert [one[0].item() for one in seen] == [1.0, 100.0]
    with pytest.raises(ValueError, match="shorter"):
        losses.weighted(outputs, (1.0, 1.0), mean)
