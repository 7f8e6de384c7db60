"""Tiny whole models: compiled, in half precision, one slice, multiples of the patch, 1 to 40 classes."""

import pytest
import torch

from segshift import plugins
from segshift.model import Segmenter

PAIRS = {
    "timm": ("frozen", "linear", {}),
    "sam": ("rein", "hqhsam", {"width": 32}),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def model_of(backbone, classes=3, **changes):
    """A model of ``PAIRS``."""
    tuning, head, parameters = PAIRS[backbone]
    example = plugins.load("backbones", backbone).EXAMPLE
    network = plugins.load("backbones", backbone).build(**{**example, **changes})
    network = plugins.load("tunings", tuning).build(network)
    module = plugins.load("heads", head)
    taps = module.taps(network)
    network.use(taps)
    maps = [network.maps[tap] for tap in taps]
    return Segmenter(network, module.build(maps, classes, **parameters), taps)


def test_compiled_it_gives_the_same_masks_and_gradients():
    """Traced with its backward pass; what a compiler for this machine would be given."""
    model, images = model_of("timm").double().eval(), torch.rand(1, 1, 20, 24, dtype=torch.double)
    with torch.no_grad():
        for one in model.parameters():
            one.normal_(0, 0.2)

    def run():
        model.zero_grad()
        outputs = model(images)
        sum(one.square().mean() for one in outputs).backward()
        gradients = [one.grad.clone() for one in model.parameters() if one.grad is not None]
        return [one.detach() for one in outputs] + gradients

    plain = run()
    torch._dynamo.reset()
    model.compile(backend="aot_eager")
    compiled = run()
    torch._dynamo.reset()
    assert len(plain) == len(compiled) > 3
    for ours, theirs in zip(plain, compiled, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("classes", [1, 40])
@pytest.mark.parametrize("backbone", PAIRS)
def test_one_slice_in_half_precision_at_multiples_of_the_patch(backbone, classes):
    for image_size in (32, 48):
        model = model_of(backbone, classes, image_size=image_size)
        for training in (True, False):
            model.train(training)
            with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training):
                outputs = model(torch.rand(1, 1, 30, 26))
            for one in (*outputs, model.predict(outputs)):
                assert one.shape == (1, classes, 30, 26)
                assert one.isfinite().all()
