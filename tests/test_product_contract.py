"""Every backbone module × tuning module × head module that stands in the folders, on tiny shapes.

A module's ``EXAMPLE`` (or its several ``EXAMPLES``) is its tiny case; a tuning's ``side`` there is a backbone
entry. All parameters are filled with random values, since LoRA's zeros would hide missing gradients, and
gradients are taken in double precision, so that one that is zero by mathematics is told from a small one.
"""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from segshift import modules, plugins, rows
from segshift.contracts import is_frozen, load_trained_state, set_mode, trained_state
from segshift.errors import SegShiftError
from segshift.layers.without_values import NoValues, without_memory
from segshift.model import Segmenter

CLASSES = 3
# The bias of an attention's keys adds the same to all scores of a query, and the softmax takes it away again:
# its gradient is zero by mathematics. SAM's files and the printed counts hold it as trainable.
CANCELLED = "k_proj.bias"
ATTEMPTS = 8  # with other random values: on so few pixels a ReLU may be shut, or wide open, for all of them


def examples(folder):
    """(module, parameters) of every case in a plug-in folder."""
    cases = []
    for module in modules.available(folder):
        loaded = plugins.load(folder, module)
        for index, parameters in enumerate(getattr(loaded, "EXAMPLES", None) or [loaded.EXAMPLE]):
            cases.append(pytest.param((module, parameters), id=f"{module}{index or ''}"))
    return cases


# Two parts at a time meet in all their cases beside one of these; three meet in their first cases.
PLAIN = {"timm", "full", "linear"}
LINEAR = ("linear", plugins.load("heads", "linear").EXAMPLE)  # on any backbone
TIMM = ("timm", plugins.load("backbones", "timm").EXAMPLE)
PARTS = {
    tuple(case.id for case in triple): pytest.param(
        *(case.values[0] for case in triple), id="-".join(case.id for case in triple)
    )
    for triple in product(examples("backbones"), examples("tunings"), examples("heads"))
}
IN_PAIRS = {ids for ids in PARTS if PLAIN & set(ids)}
IN_TRIPLES = {ids for ids in PARTS if not any(part[-1].isdigit() for part in ids)}
PAIRS = [case for ids, case in PARTS.items() if ids in IN_PAIRS]
TRIPLES = [case for ids, case in PARTS.items() if ids in IN_TRIPLES]
BOTH = [case for ids, case in PARTS.items() if ids in IN_PAIRS | IN_TRIPLES]


def compose(backbone, tuning, head):
    """A model, put together as ``segshift.model`` does; its parameters have no values yet."""
    with NoValues(everywhere=True):
        network, plain = tune(backbone, tuning)
        module = plugins.load("heads", head[0])
        taps = module.taps(network)
        network.use(taps)
        maps = [network.maps[tap] for tap in taps]
        model = Segmenter(network, module.build(maps, CLASSES, **head[1]), taps)
    model.plain = plain
    return model


def tune(backbone, tuning):
    """A tuned backbone, and what of it was there before, by address: whether that could learn then."""
    network = plugins.load("backbones", backbone[0]).build(**backbone[1])
    plain = {id(one): one.requires_grad for one in network.parameters()} | dict.fromkeys(
        (id(one) for one in network.buffers()), False
    )
    parameters = dict(tuning[1])
    if side := parameters.pop("side", None):
        parameters["side"] = plugins.build("backbones", side)
    return plugins.load("tunings", tuning[0]).build(network, **parameters), plain


# Tunings that train nothing that the backbone had before. One that is added later decides for itself.
NOTHING_OLD = {"frozen", "rein", "peft", "vpt", "ladder"}


def should_learn(network, plain, tuning):
    """Names of the parameters of a tuned backbone that the tuning trains, by what the tuning is; None where
    that is not known here."""
    if tuning not in NOTHING_OLD | {"full", "bitfit"}:
        return None
    at_exit = {id(p) for m in network.modules() if getattr(m, "of_head", False) for p in m.parameters()}
    names = set()
    for name, one in network.named_parameters():
        old = id(one) in plain
        could = plain.get(id(one), True)
        learns = not old or (could and (tuning == "full" or (tuning == "bitfit" and name.endswith("bias"))))
        if learns or id(one) in at_exit:
            names.add(name)
    return names


def compose_or_refuse(backbone, tuning, head):
    """A model, or None where two parts are refused by a sentence that names both."""
    try:
        return compose(backbone, tuning, head)
    except SegShiftError as error:
        sentence = str(error)
        assert f"backbone {backbone[0]}" in sentence, sentence
        assert f"tuning {tuning[0]}" in sentence or f"head {head[0]}" in sentence, sentence
        return None


@torch.no_grad()
def fill(model):
    """Random values everywhere; scales of norms stay near 1 so that signals survive the depth, and learned
    tokens as far apart as at their start so that they do not become one."""
    for part in model.modules():
        is_norm = "norm" in type(part).__name__.lower()
        deviation = 1.0 if isinstance(part, nn.Embedding) else 0.2
        for name, parameter in part.named_parameters(recurse=False):
            parameter.normal_(1.0 if is_norm and name == "weight" else 0.0, deviation)


def weighted_sum(model, images):
    """A random-weighted sum over all outputs, each weighted by the head's ``loss_weights``."""
    outputs = model(images)
    assert len(outputs) == len(model.head.loss_weights)
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    for weight, logits in zip(model.head.loss_weights, outputs, strict=True):
        assert logits.shape == (len(images), CLASSES, *images.shape[-2:])
        factors = torch.randn(logits.shape, generator=generator, dtype=logits.dtype)
        total = total + weight * (logits * factors).sum()
    return total


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.mark.parametrize(("backbone", "tuning", "head"), BOTH)
def test_what_learns_gets_a_gradient_and_nothing_else_does(backbone, tuning, head):
    model = compose_or_refuse(backbone, tuning, head)
    if model is None:
        return
    if (expected := should_learn(model.backbone, model.plain, tuning[0])) is not None:
        assert {name for name, one in model.backbone.named_parameters() if one.requires_grad} == expected
    # Evaluation mode: a batch norm that takes its batch's own mean cancels every constant before it.
    model.double().eval()
    without = {name for name, one in model.named_parameters() if one.requires_grad}
    for _ in range(ATTEMPTS):
        without &= without_gradient(model)
        if not any(not name.endswith(CANCELLED) for name in without):
            break
    assert [name for name in sorted(without) if not name.endswith(CANCELLED)] == []
    assert all(one.grad is None for one in model.parameters() if not one.requires_grad)


def without_gradient(model):
    """Names of what should learn and gets no gradient from new random values."""
    fill(model)
    model.zero_grad()
    weighted_sum(model, torch.rand(2, 1, 24, 24, dtype=torch.double)).backward()
    largest = {
        name: 0.0 if one.grad is None else one.grad.abs().max().item()
        for name, one in model.named_parameters()
        if one.requires_grad
    }
    floor = 1e-12 * max(largest.values())
    return {name for name, gradient in largest.items() if gradient <= floor}


@pytest.mark.parametrize(("backbone", "tuning", "head"), TRIPLES)
def test_training_moves_what_learns_and_no_bit_of_the_rest(backbone, tuning, head):
    model = compose_or_refuse(backbone, tuning, head)
    if model is None:
        return
    model.train()
    fill(model)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    untouched = pretrained(model) if tuning[0] in NOTHING_OLD else {}
    learning = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, fused=True)  # one by one they take as long as all else
    for _ in range(3):
        optimizer.zero_grad()
        weighted_sum(model, torch.rand(2, 1, 24, 24)).backward()
        optimizer.step()
    # By address, since shared parts stand under several names in a state dict and under one in a checkpoint.
    saved = {one.data_ptr() for one in trained_state(model).values()}
    after = model.state_dict()
    moved = {name for name, one in after.items() if not torch.equal(one, before[name])}
    assert [name for name in moved if after[name].data_ptr() not in saved] == []
    assert {one.data_ptr() for one in learning} <= {after[name].data_ptr() for name in moved}
    now = pretrained(model)
    assert [name for name, one in untouched.items() if not torch.equal(one, now[name])] == []


def pretrained(model):
    """All that a backbone had before its tuning, batch-norm statistics too, but for its exits."""
    at_exit = {id(m) for m in model.backbone.modules() if getattr(m, "of_head", False) for m in m.modules()}
    return {
        f"{path}.{name}": one.detach().clone()
        for path, part in model.backbone.named_modules()
        if id(part) not in at_exit
        for name, one in (*part._parameters.items(), *part._buffers.items())
        if one is not None and id(one) in model.plain
    }


# ---- influence: what is trained moves the output, what is frozen for reaching no mask does not -------------

FREEZING = {"da", "sam", "hqsam", "hsam", "hqhsam"}  # heads that freeze what reaches no mask
ON_PURPOSE = "no_mask_embed.weight"  # reaches masks, and is frozen with `train_prompt_encoder: false`
MOVED = 1e-10  # of the largest number; rounding is a thousandth of that


@torch.no_grad()
def still(run, parameters):
    """Names of tensors whose change moves nothing that `run` gives."""
    before = run()
    names = set()
    for name, one in parameters:
        kept = one.clone()
        one.add_(torch.randn_like(one))
        after = run()
        one.copy_(kept)
        pairs = list(zip(after, before, strict=True))
        if not any((new - old).abs().max() > MOVED * old.abs().max() for new, old in pairs):
            names.add(name)
    return names


@pytest.mark.parametrize("head", examples("heads"))
def test_each_tensor_of_a_head_that_learns_moves_its_outputs_on_random_maps(head):
    backbone = ("unet", plugins.load("backbones", "unet").EXAMPLE) if head[0] == "own" else TIMM
    model = compose(backbone, ("full", {}), head)
    network = model.head.double().eval()
    maps = [model.backbone.maps[tap] for tap in model.taps]
    lost, frozen = dict(network.named_parameters()), None
    for _ in range(ATTEMPTS):
        fill(network)
        inputs = [torch.randn(2, one.channels, *one.grid, dtype=torch.double) for one in maps]
        learning = [(name, one) for name, one in lost.items() if one.requires_grad]
        lost = {name: lost[name] for name in still(lambda given=inputs: network(given), learning)}
        if frozen is None:
            frozen = [(name, one) for name, one in network.named_parameters() if not one.requires_grad]
            reaching = {name for name, _ in frozen} - still(lambda given=inputs: network(given), frozen)
        if all(name.endswith(CANCELLED) for name in lost):
            break
    assert [name for name in sorted(lost) if not name.endswith(CANCELLED)] == []
    if head[0] in FREEZING:
        assert [name for name in sorted(reaching) if not name.endswith(ON_PURPOSE)] == []


@pytest.mark.parametrize("tuning", examples("tunings"))
@pytest.mark.parametrize("backbone", examples("backbones"))
def test_each_tensor_that_a_tuning_trains_moves_the_maps(backbone, tuning):
    if compose_or_refuse(backbone, tuning, LINEAR) is None:
        return
    with NoValues(everywhere=True):
        network, _ = tune(backbone, tuning)
        taps = list(range(len(network.maps)))
        network.use(taps)
    network.double().eval()
    lost = {name: one for name, one in network.named_parameters() if one.requires_grad}
    for _ in range(ATTEMPTS):
        fill(network)
        images = torch.rand(1, 3, 24, 24, dtype=torch.double)
        lost = {name: lost[name] for name in still(lambda given=images: network(given, taps), lost.items())}
        if not lost:
            break
    assert sorted(lost) == []


@pytest.mark.parametrize(("backbone", "tuning", "head"), PAIRS)
def test_the_trained_state_restores_the_outputs(backbone, tuning, head):
    model = compose_or_refuse(backbone, tuning, head)
    if model is None:
        return
    model.train()
    fill(model)
    images = torch.rand(3, 1, 24, 24)
    model(images)  # moves batch-norm statistics
    model.eval()
    with torch.no_grad():
        before = model(images)
        state = {name: one.clone() for name, one in trained_state(model).items()}
        for one in trained_state(model).values():
            one.zero_()
        assert not torch.equal(model(images)[-1], before[-1])
        load_trained_state(model, state)
        for ours, theirs in zip(model(images), before, strict=True):
            assert torch.equal(ours, theirs)
        assert model.predict(before).shape == before[-1].shape


@pytest.mark.parametrize(("backbone", "tuning", "head"), PAIRS)
def test_everything_builds_without_memory(backbone, tuning, head):
    with without_memory():
        model = compose_or_refuse(backbone, tuning, head)
    if model is not None:
        assert {one.device.type for one in model.parameters()} == {"meta"}


def test_what_is_refused():
    """Of the modules named here exactly these pairs; those added later have tests of their own."""
    backbones = ("lite_medsam", "timm", "timm1", "timm2", "unet")  # timm1 is a convolutional network
    known = backbones, ("frozen", "full", "rein", "rein1"), ("linear", "linear_last", "own", "pyramid")
    with without_memory():
        refused = {ids for ids in product(*known) if compose_or_refuse(*PARTS[ids].values) is None}
    assert refused == {
        (backbone, tuning, head)
        for backbone, tuning, head in product(*known)
        if (head == "own" and backbone != "unet")
        or (tuning.startswith("rein") and backbone not in ("timm", "timm2"))
    }


def test_a_frozen_root_stays_in_evaluation_mode_when_its_parent_trains():
    frozen = plugins.load("tunings", "frozen")
    network = plugins.load("backbones", "unet").build(**plugins.load("backbones", "unet").EXAMPLE)
    parent = nn.Sequential(frozen.build(network))
    set_mode(parent, True)
    assert parent.training
    assert not any(part.training for part in network.modules())


# ---- what source says without being imported --------------------------------------------------------------

RESNET = {"image_size": 224, "model": "resnet18"}
RESNETS = [
    ("resnet", RESNET | more)
    for more in ({}, {"outputs": "thesis"}, {"outputs": "pyramid"}, {"model": "resnet101"})
]
OTHERS = [("resnet", RESNET | {"skip_last": True}), *(case.values[0] for case in examples("backbones"))]


@pytest.mark.parametrize("backbone", RESNETS + OTHERS)
def test_settings_say_of_a_frozen_backbone_whether_it_learns(backbone):
    """So that a workflow plans no row in vain: of the usual ResNets always, of others never wrongly."""
    with without_memory():
        network, _ = tune(backbone, ("frozen", {}))
    parts = {"backbone": {"module": backbone[0], **backbone[1]}, "tuning": {"module": "frozen"}}
    for name in modules.available("heads"):
        try:
            taps = plugins.load("heads", name).taps(network)
        except SegShiftError:
            continue
        used = copy.deepcopy(network)
        used.use(taps)
        alone = rows.alone(parts | {"head": {"module": name}, "training": {}})
        if backbone in RESNETS or alone:
            assert (alone is None) == is_frozen(used), name
        if len(network.maps) > 1:
            assert bool(modules.constant("heads", name, "ONE_MAP")) == (len(taps) == 1), name


@pytest.mark.parametrize("adaptation", examples("adaptations"))
def test_settings_say_whether_an_adaptation_estimates(adaptation):
    objective = plugins.load("adaptations", adaptation[0]).build(
        compose(TIMM, ("frozen", {}), LINEAR), **adaptation[1]
    )
    assert bool(modules.constant("adaptations", adaptation[0], "ESTIMATES")) == objective.estimates
