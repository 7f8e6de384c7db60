"""Optimizers by name, and learning-rate curves against values by hand or by PyTorch's schedulers."""

import math

import pytest
import torch

from segshift import optimizers
from segshift.errors import SegShiftError
from segshift.optimizers import learning_rate


def curve(total, **training):
    return [learning_rate(step, total, {"learning_rate": 2.0, **training}) for step in range(total)]


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_optimizers_by_name(name):
    """The settings reach the optimizer, and what it does is what PyTorch's does."""
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    training = {"optimizer": name, "learning_rate": 0.1, "weight_decay": 0.01}
    training |= {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    names = {
        "adamw": "AdamW",
        "adam": "Adam",
        "nadam": "NAdam",
        "radam": "RAdam",
        "rmsprop": "RMSprop",
        "sgd": "SGD",
    }
    more = {"momentum": 0.9} if "momentum" in training else {}
    pairs = [
        (ours, optimizers.build([ours], training)),
        (theirs, getattr(torch.optim, names[name])([theirs], lr=0.1, weight_decay=0.01, **more)),
    ]
    for parameter, optimizer in pairs:
        for _ in range(4):
            parameter.grad = 3 * parameter.detach()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours.detach(), torch.tensor([1.0, -2.0]))


def test_the_default_is_adamw_without_decay():
    optimizer = optimizers.build([torch.nn.Parameter(torch.zeros(1))], {"learning_rate": 0.5})
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.5, 0)
    assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_the_thesis_schedule_over_a_whole_training():
    """120 epochs of 640 steps: up over the first 3,840 steps, down to 0 over the others, one line each."""
    total = 120 * 640
    rates = [learning_rate(step, total, {"learning_rate": 5e-5}) for step in range(total)]
    assert rates[:3840] == pytest.approx([5e-5 * (step + 1) / 3840 for step in range(3840)], rel=1e-12)
    falling = [5e-5 * (total - step) / (total - 3840) for step in range(3840, total)]
    assert rates[3840:] == pytest.approx(falling, rel=1e-12)
    assert max(rates) == 5e-5
    assert rates[-1] == pytest.approx(5e-5 / (total - 3840))  # one step more and it is 0


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_other_schedules_are_those_of_pytorch(schedule):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=2.0)
    if schedule == "cosine":
        theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
    else:
        theirs = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=30, power=0.9)
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert curve(30, schedule=schedule, warm_up=0.0) == pytest.approx(rates, rel=1e-9)


def test_other_schedules_start_with_the_same_warm_up():
    for schedule in ("linear", "cosine", "polynomial"):
        assert curve(20, schedule=schedule, warm_up=0.2)[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    rate = curve(20, schedule="cosine", warm_up=0.2)[12]  # half of the 16 steps after the warm-up
    assert rate == pytest.approx(1.0)
    assert curve(20, schedule="polynomial", warm_up=0.2, power=2.0)[12] == pytest.approx(0.5)
    assert math.isclose(curve(20, schedule="constant", warm_up=0.2)[0], 2.0)


def test_unknown_names():
    with pytest.raises(SegShiftError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        curve(2, schedule="cosin")
    with pytest.raises(SegShiftError, match="unknown optimizer 'adamv'; did you mean 'adam"):
        optimizers.build([torch.nn.Parameter(torch.zeros(1))], {"optimizer": "adamv", "learning_rate": 1})


def test_the_thesiss_code_steps_by_epochs_from_a_third_to_a_half():
    """40 epochs of 3 steps with two of warm-up; two epochs, as entropy minimization has, have one."""
    found = curve(120, schedule="linear_to_half", warm_up=0.05, epochs=40)
    assert found[::3] == found[1::3] == found[2::3]
    by_epoch = found[::3]
    assert by_epoch[:3] == pytest.approx([2 / 3, 4 / 3, 2.0])
    assert by_epoch[2:] == pytest.approx([2 * (1 - k / 76) for k in range(38)])
    assert by_epoch[-1] == pytest.approx(2 * (1 - 37 / 76))  # 0.51, not 0
    assert curve(4, schedule="linear_to_half", epochs=2) == pytest.approx([2 / 3, 2 / 3, 2.0, 2.0])
    assert curve(2, schedule="linear_to_half", epochs=1) == pytest.approx([2 / 3, 2 / 3])
