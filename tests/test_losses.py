"""Losses against values computed with NumPy and by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from segshift import losses
from segshift.errors import SegShiftError


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


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("gamma", [0.0, 2.0, 0.5])
def test_focal_is_the_mean_over_pixels_of_its_formula(batch, gamma, ignored):
    """(1 − p)^γ · −log p of the label's class; MONAI computes in float32."""
    logits, labels = batch
    labels = labels if ignored else labels.clamp_min(0)
    p = softmax(logits)
    chance = np.array([p[b, labels[b, y, x], y, x] for b, y, x in np.argwhere(labels.numpy() >= 0)])
    assert len(chance) == (37 if ignored else 40)
    expected = np.mean((1 - chance) ** gamma * -np.log(chance))
    assert losses.focal(logits, labels, gamma=gamma).item() == pytest.approx(expected, rel=1e-5)


def test_class_weights_and_label_smoothing_by_hand(batch):
    """A weighted mean over pixels; smoothing mixes the label with all classes alike."""
    logits, labels = batch
    classes, logs = ["background", "gland", "zone"], np.log(softmax(logits))
    where = [tuple(one) for one in np.argwhere(labels.numpy() >= 0)]
    weight = np.array([1.0, 3.0, 0.5])[[int(labels[one]) for one in where]]
    nll = np.array([-logs[b, labels[b, y, x], y, x] for b, y, x in where])
    given = {"class_weights": {"gland": 3.0, "zone": 0.5}}
    for name, terms in (("cross_entropy", nll), ("focal", (1 - np.exp(-nll)) ** 2 * nll)):
        found = losses.criterion({"loss": name} | given, classes)(logits, labels).item()
        assert found == pytest.approx((weight * terms).sum() / weight.sum(), rel=1e-5)
    smooth = [0.9 * -logs[b, labels[b, y, x], y, x] + 0.1 * -logs[b, :, y, x].mean() for b, y, x in where]
    found = losses.criterion({"label_smoothing": 0.1}, classes)(logits, labels).item()
    assert found == pytest.approx(np.mean(smooth), rel=1e-12)


def test_dice_is_that_of_monai(batch):
    from monai.losses import DiceLoss

    logits, labels = batch[0], batch[1].clamp_min(0)
    theirs = DiceLoss(softmax=True, to_onehot_y=True, batch=True, smooth_nr=1, smooth_dr=1)
    assert losses.dice(logits, labels).item() == pytest.approx(
        theirs(logits, labels[:, None]).item(), rel=1e-6
    )


def test_sums_of_two(batch):
    for name, parts in (("focal_dice", (losses.focal, losses.dice)),):
        expected = sum(part(*batch).item() for part in parts)
        assert losses.CRITERIA[name](*batch).item() == pytest.approx(expected, rel=1e-6)


def test_criterion_by_name():
    assert losses.criterion({}, ["a", "b"]) is losses.cross_entropy
    gamma = losses.criterion({"loss": "focal", "focal_gamma": 1.0}, ["a", "b"])
    assert gamma.keywords == {"gamma": 1.0}
    with pytest.raises(SegShiftError, match="unknown loss 'dise'; did you mean 'dice'"):
        losses.criterion({"loss": "dise"}, ["a"])
    with pytest.raises(SegShiftError, match="class_weights: unknown class 'glant'; did you mean 'gland'"):
        losses.criterion({"class_weights": {"glant": 1}}, ["background", "gland"])


def test_monai_is_loaded_by_those_who_name_its_loss_only():
    code = "import sys, segshift.losses as l; l.criterion({'loss': 'dice_cross_entropy'}, ['a', 'b']); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('monai' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "dice_cross_entropy"])
def test_gradients(batch, name):
    """Right to second order, and none where a pixel teaches nothing."""
    logits, labels = batch
    logits = logits.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda one: losses.CRITERIA[name](one, labels), logits, fast_mode=True)
    losses.CRITERIA[name](logits, labels).backward()
    assert logits.grad[0, :, 0, :3].abs().max() == 0
    assert logits.grad[1].abs().min() > 0


def test_gradient_of_focal_is_that_of_its_formula(batch):
    """Against the formula in double precision, and none where a pixel teaches nothing."""
    logits, labels = batch
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    losses.focal(ours, labels).backward()
    keep = labels != losses.IGNORED
    log = theirs.log_softmax(1).gather(1, labels.clamp_min(0)[:, None])[:, 0][keep]
    ((1 - log.exp()) ** 2 * -log).mean().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-4)
    assert ours.grad[0, :, 0, :3].abs().max() == 0


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
