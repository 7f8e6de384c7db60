"""What several tests share."""

import json
import math
import os
import re
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from segshift.layers.without_values import NoValues

# Names in heads around SAM's decoder and the originals', in this order.
SAM_NAMES = [
    ("second_stage.guide.attention1.", "mask_decoder2.self_attn."),
    ("second_stage.guide.attention2.", "mask_decoder2.self_attn2."),
    ("second_stage.guide.select.", "mask_decoder2.med_sel.0."),
    ("second_stage.guide.", "mask_decoder2."),
    ("second_stage.transformer.", "mask_decoder2.transformer2."),
    ("second_stage.networks.", "mask_decoder2.output_hypernetworks_mlps2."),
    ("second_stage.skip.", "mask_decoder2.skip_connect."),
    ("second_stage.", "mask_decoder2."),
    (".unused_norms.0.", ".norm1."),
    (".unused_norms.1.", ".norm2."),
    (".unused_norms.2.", ".norm3."),
    (".hq_token.", ".hf_token."),
    (".hq_networks.0.", ".hf_mlp."),
    (".from_early.", ".compress_vit_feat."),
    (".from_last.", ".embedding_encoder."),
    (".refine.", ".embedding_maskfeature."),
]
PIECE = 1 << 15
EMBEDDING = re.compile(r"(tokens?|_embed|point_embeddings\.\d+)\.weight$")


class Reference:
    """Weights and inputs by a rule, so that numbers of an original implementation need no weights file.

    Every value follows from a tensor's name in the original's state dict and its shape there. Numbers in
    tests were computed in double precision by the originals, from weights rounded once to float32.
    """

    @staticmethod
    def unit(name, shape, seed=1):
        """Uniform numbers of mean 0 and variance 1 by an integer hash of seed, name and position."""
        values = np.empty(math.prod(shape))
        salt = np.uint32(zlib.crc32(f"{seed}:{name}".encode()))
        for first in range(0, len(values), PIECE):  # a piece stays in the processor's cache
            piece = values[first : first + PIECE]
            bits = np.arange(first, first + len(piece), dtype=np.uint32)
            bits ^= salt
            for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
                bits ^= bits >> np.uint32(shift)
                bits *= np.uint32(factor)
            bits ^= bits >> np.uint32(16)
            piece[:] = math.sqrt(3) * (2 * ((bits.astype(np.float64) + 0.5) / 2**32) - 1)
        return values.reshape(shape)

    @classmethod
    def weight(cls, name, shape, seed=1):
        """The value of a parameter or buffer with this name in the original, as a double tensor."""
        unit = cls.unit(name, shape, seed)
        last = name.split(".")[-1]
        if last == "running_var":
            values = 1 + 0.1 * unit**2
        elif last == "running_mean":
            values = 0.05 * unit
        elif unit.size == 1:
            values = 0.6 + 0.2 * unit
        elif unit.ndim == 1:
            values = 1 + 0.1 * unit if last in ("weight", "gamma") else 0.05 * unit
        elif last != "weight" or EMBEDDING.search(name):
            values = 0.3 * unit
        else:
            values = (1.4 if unit.ndim == 4 else 1.0) / math.sqrt(np.prod(shape[1:])) * unit
        return cls.rounded(values)

    @classmethod
    def features(cls, name, shape, seed=1):
        """An input map or token sequence."""
        return cls.rounded(cls.unit(f"input:{name}", shape, seed))

    @classmethod
    def image(cls, shape, seed=1):
        """An input image (B, C, H, W), about -1.5 to 1.5."""
        b, c, i, j = np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij")
        waves = np.sin(0.11 * i + 0.5 * c + 0.7 * b + seed) * np.cos(0.07 * j - 0.3 * c)
        return cls.rounded(waves + 0.5 * np.sin(0.013 * i * j + 0.9 * c + 0.2 * b))

    @staticmethod
    def read(name):
        """One file of ``tests/reference``: inputs, shapes and sampled outputs of an original module."""
        return json.loads((Path(__file__).parent / "reference" / f"{name}.json").read_text())

    @classmethod
    @torch.no_grad()
    def fill(cls, module, rename, file=None, prefix=""):
        """Give every tensor of a module its value by the rule.

        ``rename`` gives a tensor's name in the original. With ``file``, what ``read`` gave, all its tensors
        that start with ``prefix`` must be used and have our shapes; returns the names that were not.
        """
        shapes = dict(file["state_dict"]) if file else {}
        used = set()
        for name, one in module.state_dict().items():
            if not one.is_floating_point():
                continue
            original = rename(name)
            if file:
                assert shapes[original] == list(one.shape), f"{name}: {original}"
                used.add(original)
            one.copy_(cls.weight(original, tuple(one.shape)))
        return {
            name for name in shapes if name.startswith(prefix) and not name.endswith("num_batches_tracked")
        } - used

    @staticmethod
    def sam_name(name):
        """A tensor's name in the originals of the heads around SAM's decoder."""
        for ours, theirs in SAM_NAMES:
            name = name.replace(ours, theirs)
        return name

    @staticmethod
    def check(output, expected, kind="atol_f64"):
        """Compare a whole output with the sampled numbers and moments of one in a file."""
        assert list(output.shape) == expected["shape"]
        found = output.detach().double().flatten()[expected["index"]].tolist()
        assert found == pytest.approx(expected["value"], rel=1e-9, abs=expected[kind])
        moments = output.double().mean().item(), output.double().std(correction=0).item()
        assert moments == pytest.approx((expected["mean"], expected["std"]), rel=1e-6, abs=expected[kind])

    @staticmethod
    def rounded(values):
        """Rounded once to float32, then exact in double."""
        return torch.from_numpy(np.array(values, dtype=np.float32)).double()


@pytest.fixture(scope="session")
def reference():
    """See ``Reference``."""
    return Reference


@pytest.fixture(scope="session")
def unfilled():
    """Inside ``with unfilled():`` new networks leave their parameters as memory was, for a test that fills
    them by itself: random values would take longer."""
    return partial(NoValues, everywhere=True)


def pytest_configure():
    """Tests run in two processes at a time, and so do the jobs that they start: each has one thread."""
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("runs where PyTorch can use a GPU, and there is none")


def pytest_collection_modifyitems(items):
    """Who runs together where tests run on several processes.

    A file's tests share what its fixtures made. The product contract's many small tests go wherever there is
    room.
    """
    for item in items:
        if item.path.name != "test_product_contract.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
