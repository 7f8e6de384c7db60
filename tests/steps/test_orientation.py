"""Canonical orientation and slice plane: a voxel's place in scanner space says where it must be."""

import itertools

import numpy as np
import pytest

from segshift.errors import SegShiftError
from segshift.preparation import steps
from segshift.volumes import Volume

# 48 ways to turn and flip three axes, beside a slant that no plane follows exactly
SLANT = np.array([[0.98, -0.17, 0.05], [0.17, 0.98, -0.02], [-0.05, 0.03, 0.99]])
TURNS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
SIDES = np.array([3.0, 0.8, 1.1])


def volume(axes, signs, slant: bool) -> Volume:
    random = np.random.default_rng(0)
    affine = np.eye(4)
    matrix = np.zeros((3, 3))
    for number, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[axis, number] = sign * SIDES[number]
    affine[:3, :3] = SLANT @ matrix if slant else matrix
    affine[:3, 3] = [-20, 31, 7]
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    label = random.integers(0, 5, (3, 4, 5)).astype(np.uint8)
    return Volume(random.random((3, 4, 5)).astype(np.float32), label, spacing, affine, label == 2)


def by_place(one: Volume) -> dict:
    """Every voxel by its place in scanner space."""
    found = {}
    for index in np.ndindex(one.image.shape):
        place = tuple(np.round((one.affine @ [*index, 1])[:3], 6))
        found[place] = (one.image[index], one.label[index], one.mask[index])
    return found


# towards the patient's left, front and head are (-1, 0, 0), (0, 1, 0), (0, 0, 1) in RAS+
LAYOUT = {
    "axial": [(0, 0, 1), (0, -1, 0), (-1, 0, 0)],
    "coronal": [(0, 1, 0), (0, 0, -1), (-1, 0, 0)],
    "sagittal": [(1, 0, 0), (0, 0, -1), (0, -1, 0)],
}


@pytest.mark.parametrize("slant", [False, True])
@pytest.mark.parametrize("plane", LAYOUT)
def test_every_turn_comes_to_the_same_layout(plane, slant):
    for axes, signs in TURNS:
        before = volume(axes, signs, slant)
        after = steps.apply(before, [{"plane": {"plane": plane}}])
        directions = after.affine[:3, :3] / np.array(after.spacing)
        for column, expected in zip(directions.T, LAYOUT[plane], strict=True):
            assert column @ expected > 0.9  # the closest axis, the right way round
        np.testing.assert_allclose(np.linalg.norm(after.affine[:3, :3], axis=0), after.spacing)
        assert by_place(after) == by_place(before)


def test_canonical_keeps_the_plane_and_is_done_once():
    for axes, signs in TURNS:
        before = volume(axes, signs, True)
        after = steps.apply(before, ["canonical"])
        kept = {2: "axial", 1: "coronal", 0: "sagittal"}[axes[0]]
        assert after.image.shape[0] == before.image.shape[0]
        same = steps.apply(before, [{"plane": {"plane": kept}}])
        np.testing.assert_array_equal(after.image, same.image)
        np.testing.assert_array_equal(after.affine, same.affine)
        again = steps.apply(after, ["canonical"])
        np.testing.assert_array_equal(again.image, after.image)
        np.testing.assert_array_equal(again.affine, after.affine)


def test_colours_stay_with_their_voxels():
    before = volume((2, 1, 0), (1, 1, 1), False)
    colour = before.with_(image=np.stack([before.image, 2 * before.image, 3 * before.image], -1))
    gray, done = (steps.apply(one, [{"plane": {"plane": "sagittal"}}]) for one in (before, colour))
    for channel in range(3):
        np.testing.assert_array_equal(done.image[..., channel], (channel + 1) * gray.image)


def test_what_is_refused():
    flat = volume((2, 1, 0), (1, 1, 1), False)
    flat.affine[:, 1] = 0
    with pytest.raises(SegShiftError, match="maps different voxels to the same place"):
        steps.apply(flat, ["canonical"])
    with pytest.raises(SegShiftError, match="unknown plane 'axal'; did you mean 'axial'"):
        steps.apply(flat, [{"plane": {"plane": "axal"}}])
