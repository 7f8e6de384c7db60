"""One scan under two names is near itself whatever was done to it; two patients are far apart.

Phantoms are warps of one template head, so they are more alike than patients.
"""

import numpy as np
import pytest
from scipy import ndimage

from segshift import phantoms
from segshift.preparation.fingerprints import NEAR, distances, fingerprint


def hashed(image) -> str:
    return fingerprint(image, np.asarray(image, np.float32))["hash"]


@pytest.fixture(scope="module")
def heads():
    """Six patients of one scanner, 16 slices of 64 px, in [0, 1]."""
    found = [phantoms.volume("t1_a", number, seed=0, size=64, slices=16)[0] for number in range(6)]
    return [(head / head.max()).astype(np.float32) for head in found]


def test_patients_are_far_apart(heads):
    hashes = [hashed(head) for head in heads]
    apart = distances(hashes, hashes)
    np.testing.assert_allclose(np.diag(apart), 0)
    np.testing.assert_array_equal(apart, apart.T)
    assert apart[~np.eye(6, dtype=bool)].min() > 1.5 * NEAR


CHANGES = {
    "other units": lambda head: 1000 * head + 50,
    "gamma": lambda head: head**1.3,
    "bytes": lambda head: np.round(head * 255),
    "float16": lambda head: head.astype(np.float16),
    "noise": lambda head: head + np.random.default_rng(0).normal(0, 0.01, head.shape),
    "less resolution": lambda head: ndimage.zoom(head, (1, 0.75, 0.75), order=1),
    "a margin off": lambda head: head[:, 2:-2, 3:-1],
    "a margin on": lambda head: np.pad(head, ((0, 0), (9, 3), (0, 8))),
    "one slice less": lambda head: head[1:],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_scan_is_near_itself(heads, change):
    ours, theirs = [hashed(head) for head in heads], [hashed(CHANGES[change](head)) for head in heads]
    assert np.diag(distances(ours, theirs)).max() < NEAR


def test_voxels_are_compared_exactly(heads):
    one = heads[0]
    assert fingerprint(one, one) == fingerprint(one.copy(order="F"), one)
    other = one.copy()
    other[3, 4, 5] += 1e-6
    assert fingerprint(one, one)["voxels"] != fingerprint(other, one)["voxels"]


def test_single_slices_and_volumes_too_small_to_tell():
    random = np.random.default_rng(0)
    pictures = [ndimage.gaussian_filter(random.random((1, 90, 80)), (0, 4, 4)) for _ in range(4)]
    apart = distances([hashed(p) for p in pictures], [hashed(p * 3 + 1) for p in pictures])
    assert np.diag(apart).max() < NEAR < 1.5 * NEAR < apart[~np.eye(4, dtype=bool)].min()
    tiny = hashed(random.random((2, 5, 6)))
    assert distances([tiny], [tiny]) == 1  # two of 54 neighbours may agree by chance
    assert hashed(np.zeros((1, 1, 1))) == ""
    colour = random.random((1, 40, 40, 3))
    assert hashed(colour) == hashed(colour.mean(3))
