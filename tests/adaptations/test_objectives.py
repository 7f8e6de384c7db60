"""What each adaptation minimizes, by hand, and what learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from segshift import losses, plugins
from segshift.contracts import Batch, trained_state
from segshift.errors import SegShiftError
from segshift.model import Segmenter
from segshift.objectives import Supervised
from segshift.watch import budget

VIT = {"module": "timm", "model": "vit_tiny_patch16_224", "image_size": 32,
       "options": {"depth": 2, "embed_dim": 24, "num_heads": 2}}  # fmt: skip
UNET = {"module": "unet", "image_size": 32, "width": 4, "depth": 2}


def build(backbone=VIT, tuning="frozen", head="linear_last", **parameters):
    torch.manual_seed(0)
    network = plugins.build("backbones", backbone)
    network = plugins.build("tunings", {"module": tuning, **parameters}, network)
    taps = plugins.load("heads", head).taps(network)
    network.use(taps)
    maps = [network.maps[tap] for tap in taps]
    return Segmenter(network, plugins.build("heads", {"module": head}, maps, 3), taps)


@pytest.fixture
def batch():
    """Two labelled slices between two unlabelled ones; photometric distortion has changed all."""
    torch.manual_seed(1)
    plain = torch.rand(4, 1, 32, 32)
    labelled = torch.tensor([False, True, True, False])
    labels = torch.randint(0, 3, (4, 32, 32)) * labelled.reshape(-1, 1, 1)
    return Batch((plain * 0.8 + 0.1), plain, labels, labelled)


class Fixed(nn.Module):
    """A model whose logits are its images' values times a learned factor, in both modes."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([0.0, 4.0, -1.0]))
        self.head = nn.Module()
        self.head.loss_weights, self.head.whole_network = (1.0,), True
        self.modes = []

    def features(self, images):
        self.modes.append(self.training)
        return [images]

    def decode(self, maps, size):
        return [maps[0] * self.factor.reshape(1, 3, 1, 1)]

    def predict(self, outputs):
        return outputs[-1]


def test_self_training_by_hand(batch):
    model = Fixed()
    objective = plugins.build("adaptations", {"module": "self_training", "confidence": 0.9}, model)
    loss, numbers = objective.loss(batch, 0)
    terms, kept = [], []
    for image, plain, label, known in zip(
        batch.images, batch.plain, batch.labels, batch.labelled, strict=True
    ):
        for x, before, truth in zip(image.ravel(), plain.ravel(), label.ravel(), strict=True):
            chances = np.exp(before.item() * np.array([0.0, 4.0, -1.0]))
            chances /= chances.sum()
            sure = chances.max() >= 0.9
            kept += [] if known else [sure]
            if known or sure:
                target = truth.item() if known else int(chances.argmax())
                logits = x.item() * np.array([0.0, 4.0, -1.0])
                terms.append(math.log(np.exp(logits).sum()) - logits[target])
    assert 0.1 < np.mean(kept) < 0.9
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert numbers == {"kept": pytest.approx(np.mean(kept), abs=1e-3)}
    assert model.modes == [False, True]  # pseudo-labels in evaluation mode, then training goes on
    loss.backward()
    assert model.factor.grad.abs().min() > 0


def test_self_training_learns_nothing_from_a_batch_without_labels(batch):
    objective = plugins.build("adaptations", {"module": "self_training", "confidence": 1.0}, Fixed())
    batch.labelled[:] = False
    loss, numbers = objective.loss(batch, 0)
    assert loss is None
    assert numbers == {"kept": 0.0, "empty_batches": 1.0}


def test_self_training_with_features_at_hand_is_the_same(batch):
    plain = Batch(batch.plain, batch.plain, batch.labels, batch.labelled)
    found = []
    for given in (False, True):
        model = build()  # anew, since a step's forward pass moves batch-norm statistics
        objective = plugins.build("adaptations", {"module": "self_training", "confidence": 0.34}, model)
        model.train()
        plain.maps = model.features(plain.images) if given else None
        torch.manual_seed(2)  # of the head's dropout
        found.append(objective.loss(plain, 0)[0])
    assert torch.equal(*found)
    # features of the distorted images are not those of the plain ones
    batch.maps = model.features(batch.images)
    torch.manual_seed(2)
    with_distortion = objective.loss(batch, 0)[1]
    assert with_distortion == objective.loss(plain, 0)[1]


def test_entropy_minimization_by_hand(batch):
    objective = plugins.build("adaptations", {"module": "entropy_min"}, Fixed())
    loss, numbers = objective.loss(batch, 0)
    chances = np.exp(batch.images.double().numpy() * np.array([0.0, 4.0, -1.0]).reshape(1, 3, 1, 1))
    chances /= chances.sum(1, keepdims=True)
    assert loss.item() == pytest.approx(-(chances * np.log(chances)).sum(1).mean(), rel=1e-5)
    assert numbers == {}
    assert (objective.keep, objective.labelled(["a", "b"], 0)) == ("last", [])


def test_finetune_draws_only_labelled_patients_and_the_same_as_self_training():
    patients = [f"b:{number}" for number in range(8)]
    fine, own = (
        plugins.build("adaptations", {"module": name}, Fixed()) for name in ("finetune", "self_training")
    )
    labelled = fine.labelled(patients, 5)
    assert len(labelled) == 3
    assert own.labelled(patients, 5) == labelled
    assert fine.used(patients, labelled) == labelled
    assert own.used(patients, labelled) == patients


@pytest.mark.parametrize("name", losses.CRITERIA)
def test_supervised_and_finetune_take_the_loss_by_name(batch, name):
    model = Fixed()
    expected = losses.CRITERIA[name](model.decode([batch.images], (32, 32))[0], batch.labels)
    fine = plugins.build("adaptations", {"module": "finetune"}, model, loss=name)
    for objective in (Supervised(model, name), fine):
        loss, _ = objective.loss(batch, 0)
        assert torch.equal(loss, expected)


def learning(model):
    return {name for name, one in model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize(("tuning", "parameters"), [("frozen", {}), ("rein", {"length": 6}), ("full", {})])
def test_only_the_head_learns_on_any_tuning(tuning, parameters):
    model = build(tuning=tuning, **parameters)
    head = {name for name in learning(model) if name.startswith("head.")}
    plugins.build("adaptations", {"module": "finetune"}, model)
    assert learning(model) == head != set()
    model.train()
    assert not any(part.training for part in model.backbone.modules())
    assert {name.split(".")[0] for name in trained_state(model)} == {"head"}


def test_a_network_of_its_own_learns_whole():
    model = build(UNET, "full", "own")
    before = learning(model)
    plugins.build("adaptations", {"module": "finetune"}, model)
    assert learning(model) == before
    assert any(name.startswith("backbone.") for name in before)


def test_scope_norms():
    """Of the linear head its norm alone; of a network of its own all norms and nothing else."""
    model = build()
    plugins.build("adaptations", {"module": "entropy_min", "scope": "norms"}, model)
    norms = {
        f"{name}.{kind}"
        for name, part in model.named_modules()
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm) and name.startswith("head.")
        for kind, _ in part.named_parameters(recurse=False)
    }
    assert learning(model) == norms != set()
    model = build(UNET, "full", "own")
    plugins.build("adaptations", {"module": "entropy_min", "scope": "norms"}, model)
    assert all(one.ndim == 1 for one in model.parameters() if one.requires_grad)
    assert len(learning(model)) == 2 * sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def test_an_unknown_scope():
    with pytest.raises(SegShiftError, match="unknown scope 'heads'; did you mean 'head'"):
        plugins.build("adaptations", {"module": "finetune", "scope": "heads"}, Fixed())


# ---- as the thesis's code did ------------------------------------------------------------------------------


def test_original_self_training_believes_the_outputs_that_it_trains(batch):
    """No second pass, in training mode, of the image with its photometric distortion."""
    model = Fixed()
    objective = plugins.build("adaptations", {"module": "self_training", "original": True}, model)
    loss, numbers = objective.loss(batch, 0)
    logits = batch.images * torch.tensor([0.0, 4.0, -1.0]).reshape(1, 3, 1, 1)
    chance, label = logits.softmax(1).max(1)
    label[batch.labelled] = batch.labels[batch.labelled]
    believed = (chance >= 0.9) | batch.labelled.reshape(-1, 1, 1)
    expected = nn.functional.cross_entropy(logits, label, reduction="none")[believed].mean()
    assert model.modes == [True]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert numbers == {"kept": pytest.approx((chance[~batch.labelled] >= 0.9).float().mean().item())}
    batch.labelled[:] = False
    never = plugins.build(
        "adaptations", {"module": "self_training", "original": True, "threshold": 1.0}, model
    )
    assert never.loss(batch, 0) == (None, {"kept": 0.0, "empty_batches": 1.0})


def test_original_self_training_labels_the_first_patients_or_the_first_slices_of_all():
    patients = [f"b:{number}" for number in (7, 3, 5, 1)]
    entry = {"module": "self_training", "original": True}
    objective = plugins.build("adaptations", entry, Fixed())
    assert objective.labelled(patients, 1) == objective.labelled(patients, 2) == ["b:7", "b:3", "b:5"]
    assert budget(objective, 3, 5) == "3 + 5 validation"
    of_slices = plugins.build("adaptations", entry | {"labelled_slices": 2}, Fixed())
    assert of_slices.labelled(patients, 1) == patients
    assert of_slices.labelled_slices == 2
    assert budget(of_slices, 4, 5) == "4 (of each 2 slices) + 5 validation"


def test_original_entropy_minimization_learns_by_name_on_the_test_split():
    model = build(head="hqhsam")
    objective = plugins.build("adaptations", {"module": "entropy_min", "original": True}, model)
    assert objective.splits == ("test",)
    assert budget(objective, 0, 5) == "none, transductive"
    numbered = {  # norms in a chain of layers, which have no name
        f"head.{name}.{kind}"
        for name, part in model.head.named_modules()
        if "norm" in type(part).__name__.lower() and name.rpartition(".")[2].isdigit()
        for kind in ("weight", "bias")
        if "unused_norms" not in name
    }
    assert len(numbered) > 4
    assert learning(model) and not learning(model) & numbered
    assert all("norm" in name and name.startswith("head.") for name in learning(model))
    whole = build(UNET, "full", "own")
    before = learning(whole)
    plugins.build("adaptations", {"module": "entropy_min", "original": True}, whole)
    assert learning(whole) == before


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"module": "self_training", "labelled_slices": 3}, "labelled_slices is a number above 0, beside"),
        ({"module": "self_training", "original": True, "labelled_slices": 0}, "labelled_slices is a number"),
        (
            {"module": "self_training", "original": True, "refresh": 4},
            "makes pseudo-labels anew in every step",
        ),
        ({"module": "entropy_min", "original": True, "split": "all"}, "says scope and split itself"),
        ({"module": "entropy_min", "original": True, "scope": "head"}, "says scope and split itself"),
        ({"module": "entropy_min", "split": "tests"}, "unknown split 'tests'; did you mean 'test'"),
    ],
)
def test_settings_that_do_not_fit_an_original(entry, said):
    with pytest.raises(SegShiftError, match=said):
        plugins.build("adaptations", entry, Fixed())
