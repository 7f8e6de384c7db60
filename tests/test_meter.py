"""FLOPs and memory without memory: against arithmetic, PyTorch's own counter, and what a real run keeps."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segshift import plugins
from segshift.meter import FusedAttention, Kept, Meter

OPTIONS = {"depth": 3, "embed_dim": 24, "num_heads": 2}
VIT = {"module": "timm", "image_size": 32, "model": "vit_tiny_patch16_224", "options": OPTIONS}
UNET = {"module": "unet", "image_size": 16, "width": 4, "depth": 2}
SAM = {"module": "sam"} | plugins.load("backbones", "sam").EXAMPLE
NETWORKS = [pytest.param(entry, id=entry["module"]) for entry in (VIT, UNET, SAM)]


def images(entry, device):
    return torch.zeros(2, 3, entry["image_size"], entry["image_size"], device=device)


def test_a_network_worked_out_by_hand():
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        with Meter() as meter:
            network(torch.empty(2, 3, 10, 10))
    assert meter.flops == 2 * 2 * 100 * (3 * 9 * 8 + 8 * 5)


def test_queries_in_groups_cost_what_they_cost_one_by_one():
    query, key = (torch.empty(2, heads, 5, 8, device="meta") for heads in (6, 2))
    with torch.device("meta"), Meter() as meter, FusedAttention():
        grouped = nn.functional.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    assert grouped.shape == query.shape
    assert meter.flops == 2 * (2 * 2 * 6 * 5 * 5 * 8)  # two products, of queries with keys and with values


def test_the_same_shapes_again_cost_the_same_again():
    layer = nn.Linear(6, 4, device="meta")
    with Meter() as meter:
        for rows in (3, 3, 5):
            assert layer(torch.empty(rows, 6, device="meta")).shape == (rows, 4)
    assert meter.flops == 2 * (3 + 3 + 5) * 6 * 4


@pytest.mark.parametrize("entry", NETWORKS)
def test_flops_are_those_of_pytorchs_own_counter(entry):
    with torch.device("meta"):
        network = plugins.build("backbones", entry)
        with FlopCounterMode(display=False) as expected:  # takes attention apart; the products are the same
            network(images(entry, "meta"), [network.last])
        with Meter() as meter, FusedAttention():
            network(images(entry, "meta"), [network.last])
    assert meter.flops == expected.get_total_flops() > 0


@pytest.mark.parametrize("entry", NETWORKS)
def test_what_is_kept_is_what_a_real_run_keeps(entry):
    kept = {}
    for device in ("cpu", "meta"):
        with torch.device(device):
            network = plugins.build("backbones", entry)
        one = Kept([*network.parameters(), *network.buffers()])
        if device == "meta":
            with torch.device("meta"), Meter(), FusedAttention():
                one.run(network, images(entry, device), [network.last])
        else:
            one.run(network, images(entry, device), [network.last])
        kept[device] = one.bytes
    assert kept["meta"] == pytest.approx(kept["cpu"], rel=0.01)
    assert kept["meta"] > 0


def test_a_relu_and_a_linear_layer_keep_what_autograd_needs_once():
    """The input of the first layer; the output of the ReLU, which the second layer needs too."""
    network = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    kept = Kept(network.parameters())
    kept.run(network, torch.zeros(5, 6))
    assert kept.bytes == 4 * (5 * 6 + 5 * 4)


def test_a_real_tensor_inside_is_computed():
    with Meter() as meter:
        assert torch.equal(torch.ones(2) + torch.ones(2), torch.full((2,), 2.0))
        assert torch.equal(torch.ones(2) + 2 * torch.ones(2), torch.full((2,), 3.0))
    assert meter.flops == 0
