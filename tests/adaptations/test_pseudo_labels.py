"""Thresholds, teachers and views by hand, and the mean teacher that they make."""

import math

import numpy as np
import pytest
import torch
from tests.adaptations.test_objectives import UNET, Fixed, batch, build, learning  # noqa: F401
from torch.nn import functional as F

from segshift import plugins
from segshift.errors import SegShiftError
from segshift.layers.pseudo_labels import Threshold
from segshift.layers.strong_view import strong_view
from segshift.layers.teacher import Teacher
from segshift.watch import Watch, budget


def adaptation(model, module, **parameters):
    return plugins.build("adaptations", {"module": module, **parameters}, model)


# ---- thresholds ------------------------------------------------------------------------------------------


def test_a_threshold_for_all_classes():
    logits = torch.tensor([[0.0, 3.0, 1.0], [0.0, 0.0, 2.0]]).T.reshape(1, 3, 1, 2)
    kept, predicted = Threshold.of(0.8)(logits)
    chances = np.exp([3, 2]) / (np.exp([[0, 3, 1], [0, 0, 2]]).sum(1))
    assert predicted.flatten().tolist() == [1, 2]
    assert kept.flatten().tolist() == [1 if chances[0] >= 0.8 else -1, 2 if chances[1] >= 0.8 else -1]


@pytest.mark.parametrize("portion", [0.25, 0.5, 1.0])
def test_per_class_keeps_a_portion_of_every_class_and_whatever_is_sure(portion):
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 16, 16) * torch.tensor([4.0, 1.0, 0.5, 0.2]).reshape(1, 4, 1, 1)
    kept, predicted = Threshold.of("per_class", portion)(logits)
    probability = logits.softmax(1).amax(1)
    assert set(predicted.unique().tolist()) == {0, 1, 2, 3}
    for one in range(4):
        mine = predicted == one
        values = np.sort(probability[mine].numpy())[::-1]
        enough = math.ceil(portion * len(values))
        expected = max(enough, int((values >= 0.9).sum()))
        assert int((kept[mine] != -1).sum()) == expected
        assert values[expected - 1] == probability[mine][kept[mine] != -1].min()
    assert (kept[kept != -1] == predicted[kept != -1]).all()


def test_limits_of_classes_are_taken_over_the_slices_at_hand():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 8)
    among = torch.tensor([True, False])
    alone, _ = Threshold.of("per_class")(logits[:1])
    both, _ = Threshold.of("per_class")(logits, among)
    assert torch.equal(both[:1], alone)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"threshold": "class"}, r"threshold is 'class'; known: a probability from 0 to 1, per_class"),
        ({"threshold": 90}, "threshold is 90; known: a probability"),
        ({"threshold": "per_class", "portion": 0}, r"portion is 0; it is above 0 and at most 1"),
        ({"threshold": 0.5, "confidence": 0.5}, "threshold and confidence are one setting: say threshold"),
        ({"labelled": 1, "patients": 1}, "labelled and patients are one setting: say labelled"),
        ({"labelled": 0}, "labelled is 0; it is a whole number of patients above 0"),
        ({"refresh": 0}, "refresh is 0; known: a number of steps, never"),
    ],
)
def test_mistakes_of_self_training(given, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        adaptation(Fixed(), "self_training", **given)


def test_mistakes_of_others():
    with pytest.raises(SegShiftError, match="unknown split 'validation'; known: train, test, all"):
        adaptation(Fixed(), "entropy_min", split="validation")
    with pytest.raises(SegShiftError, match="unknown view of the student 'week'; did you mean 'weak'"):
        adaptation(Fixed(), "mean_teacher", student="week")
    with pytest.raises(SegShiftError, match="decay is 1; it is at least 0 and below 1"):
        adaptation(Fixed(), "mean_teacher", decay=1)


# ---- teachers --------------------------------------------------------------------------------------------


def test_a_teacher_is_the_mean_of_its_students_and_then_their_moving_average():
    """α = min(1 − 1/(k + 1), decay): the mean of start and students while that is below the decay."""
    model = Fixed()
    teacher = Teacher(model)
    values, expected = [model.factor.detach().double().clone()], None
    torch.manual_seed(0)
    for k in range(1, 8):
        with torch.no_grad():
            model.factor.copy_(torch.randn(3))
        values.append(model.factor.detach().double().clone())
        teacher.follow(0.8)
        mean = torch.stack(values).mean(0)
        expected = mean if k < 5 else 0.8 * expected + 0.2 * values[-1]
        torch.testing.assert_close(teacher.model.factor.double(), expected, rtol=1e-5, atol=1e-6)
    assert not teacher.model.factor.requires_grad
    assert model.factor.requires_grad


def test_a_teacher_shares_a_frozen_backbone_and_copies_what_learns():
    model = build()
    objective = adaptation(model, "mean_teacher")
    teacher = objective.teacher.model
    assert teacher.backbone is model.backbone
    assert not {id(one) for one in teacher.head.parameters()} & {id(one) for one in model.head.parameters()}
    whole = build(UNET, "full", "own")
    assert adaptation(whole, "mean_teacher").teacher.model.backbone is not whole.backbone
    assert all(one.requires_grad for one in whole.parameters())


def test_a_teacher_survives_and_follows_batch_norm_statistics():
    model = build(UNET, "full", "own")
    objective = adaptation(model, "mean_teacher", decay=0.9)
    model.train()
    torch.manual_seed(0)
    model(torch.rand(2, 1, 32, 32))
    before = {name: one.clone() for name, one in objective.teacher.own.items()}
    objective.after_step()
    name = next(name for name in before if name.endswith("running_mean"))
    expected = 0.5 * before[name] + 0.5 * dict(model.named_buffers())[name]
    torch.testing.assert_close(objective.teacher.own[name], expected)
    state = {key: value.clone() for key, value in objective.state().items()}
    again = adaptation(build(UNET, "full", "own"), "mean_teacher", decay=0.9)
    again.load_state(state)
    assert again.teacher.updates == 1
    assert all(torch.equal(again.teacher.own[key], objective.teacher.own[key]) for key in before)
    assert not any(part.training for part in objective.teacher.model.modules())


def test_refresh_copies_the_model_every_so_many_steps(batch):  # noqa: F811
    for refresh, expected in ((3, [0, 0, 0, 3, 3, 3, 6]), ("never", [0] * 7)):
        model = Fixed()
        objective = adaptation(model, "self_training", refresh=refresh, threshold=0.0)
        seen = []
        for step in range(7):
            with torch.no_grad():
                model.factor.fill_(step)
                if step == 0:
                    objective.copy.copy()
            objective.loss(batch, step)
            seen.append(objective.labeller().factor[0].item())
        assert seen == expected


# ---- the mean teacher --------------------------------------------------------------------------------------


def test_the_strong_view_changes_light_and_blurs_and_nothing_else():
    torch.manual_seed(0)
    images = torch.rand(64, 1, 16, 16) * 0.5 + 0.2
    torch.manual_seed(1)
    views = strong_view(images, blur=0)
    touched = [not torch.equal(*pair) for pair in zip(images, views, strict=True)]
    assert 0.6 < np.mean(touched) < 0.95  # 0.8
    for image, view in zip(images, views, strict=True):
        # two factors make an affine function of a gray value: a b + c with the mean, before any clipping
        slope, shift = np.polyfit(image.flatten().double(), view.flatten().double(), 1)
        assert 0.64 - 1e-4 <= slope <= 1.44 + 1e-4
        residual = view.flatten().double() - (slope * image.flatten().double() + shift)
        assert float(residual.abs().max()) < 1e-5 or float(view.max()) == 1
    torch.manual_seed(1)
    blurred = strong_view(images, jitter=0)
    rough = [float(x.diff(dim=-1).abs().mean()) for x in images]
    smooth = [float(x.diff(dim=-1).abs().mean()) for x in blurred]
    pairs = list(zip(smooth, rough, strict=True))
    assert all(one <= other + 1e-6 for one, other in pairs)
    assert 0.3 < np.mean([one < other for one, other in pairs]) < 0.7  # 0.5
    torch.manual_seed(1)
    assert torch.equal(strong_view(images, jitter=0), blurred)


def test_mean_teacher_by_hand(batch):  # noqa: F811
    """The teacher labels the weak view in evaluation mode; the student learns that on the strong one."""
    model = Fixed()
    objective = adaptation(model, "mean_teacher", threshold=0.9)
    objective.classes = ["x", "y", "z"]
    with torch.no_grad():
        model.factor.copy_(torch.tensor([1.0, 0.0, 2.0]))  # the student has moved; the teacher has not
    torch.manual_seed(5)
    loss, numbers = objective.loss(batch, 0)
    torch.manual_seed(5)
    strong = strong_view(batch.images)
    weak = (batch.plain * torch.tensor([0.0, 4.0, -1.0]).reshape(1, 3, 1, 1)).softmax(1)
    sure, label = weak.max(1)
    labels = torch.where(sure >= 0.9, label, -1)
    labels[batch.labelled] = batch.labels[batch.labelled]
    logits = strong * torch.tensor([1.0, 0.0, 2.0]).reshape(1, 3, 1, 1)
    expected = F.nll_loss(logits.log_softmax(1), labels, ignore_index=-1)
    torch.testing.assert_close(loss, expected)
    hidden = ~batch.labelled
    assert numbers["kept"] == pytest.approx((sure[hidden] >= 0.9).float().mean().item())
    shown = label[hidden] == 1
    assert numbers["kept/y"] == pytest.approx((sure[hidden][shown] >= 0.9).float().mean().item())
    assert "kept/x" not in numbers or not (label[hidden] == 0).any()
    assert objective.teacher.model.modes == [False]
    loss.backward()
    assert model.factor.grad.abs().max() > 0
    assert objective.teacher.model.factor.grad is None


def test_scope_all_learns_what_the_source_training_learned():
    model = build(tuning="rein", length=6)
    before = learning(model)
    adaptation(model, "finetune", scope="all")
    assert learning(model) == before
    assert any(name.startswith("backbone.") for name in before)


# ---- watching ----------------------------------------------------------------------------------------------


def test_a_watch_by_hand():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3, 8, 8), torch.randint(0, 3, (6, 8, 8))
    pseudo = Threshold.of(0.6)(logits)
    watch = Watch(3)
    for part in (slice(0, 2), slice(2, 6)):  # the sums do not depend on how a volume was cut
        watch.add(logits[part], labels[part], tuple(one[part] for one in pseudo))
    found = watch.values(["x", "y", "z"], labels=True)
    chances = logits.double().softmax(1)
    predicted, kept = chances.argmax(1), chances.amax(1) >= 0.6
    assert found["entropy"] == pytest.approx(float(-(chances * chances.log()).sum(1).mean()), rel=1e-5)
    assert found["kept"] == pytest.approx(float(kept.double().mean()))
    assert found["pseudo_accuracy"] == pytest.approx(float((predicted == labels)[kept].double().mean()))
    for number, name in enumerate("xyz"):
        mine = predicted == number
        assert found[f"predicted/{name}"] == pytest.approx(float(mine.double().mean()))
        assert found[f"kept/{name}"] == pytest.approx(float(kept[mine].double().mean()))
        right = (labels[mine & kept] == number).double().mean()
        assert found[f"pseudo_accuracy/{name}"] == pytest.approx(float(right))
    assert not watch.collapsed
    blind = watch.values(["x", "y", "z"], labels=False)
    assert not any(name.startswith("pseudo") for name in blind)


def test_one_class_everywhere_is_a_collapse():
    watch = Watch(3)
    logits = torch.zeros(2, 3, 4, 4)
    logits[:, 0] = 5
    watch.add(logits)
    assert watch.collapsed
    assert watch.values(["x", "y", "z"], labels=False)["collapsed"] == 1
    logits[1, 2, 0, 0] = 9  # a single voxel of another class is none
    watch.add(logits)
    assert not watch.collapsed


@pytest.mark.parametrize(
    ("entry", "labelled", "expected"),
    [
        ({"module": "self_training"}, 3, "3 + 5 validation"),
        ({"module": "mean_teacher", "labelled": 1}, 1, "1 + 5 validation"),
        ({"module": "entropy_min"}, 0, "none"),
        ({"module": "entropy_min", "split": "all"}, 0, "none, transductive"),
    ],
)
def test_budget_in_words(entry, labelled, expected):
    objective = plugins.build("adaptations", entry, Fixed())
    assert len(objective.labelled([f"p{n}" for n in range(9)], 0)) == labelled
    assert budget(objective, labelled, 5) == expected
