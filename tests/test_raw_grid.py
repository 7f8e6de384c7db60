"""Predictions on their way back to raw voxels, against what was put in and against scipy."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, center_of_mass
from scipy.spatial.transform import Rotation

from segshift.errors import SegShiftError
from segshift.preparation import steps
from segshift.raw_grid import RawGrid
from segshift.volumes import Volume

CLASSES = 4
RAW = (5, 6, 7)
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [17, -31, 49], degrees=True).as_matrix() * [3.0, 0.7, 1.1]
OBLIQUE[:3, 3] = [-90.5, 31.2, 12.7]


def logits(labels):
    """(slices, classes, H, W) that say these labels."""
    return 7 * torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels]).permute(0, 3, 1, 2)


def back(values, affine, raw_affine, raw_shape, chunk=2, multiple=1):
    shape = (len(values), *values.shape[2:])
    grid = RawGrid(affine, shape, raw_affine, raw_shape, multiple)
    for start in range(0, len(values), chunk):
        grid.add(values[start : start + chunk])
    return grid.labels()


def volume(label, affine):
    return Volume(label.astype(np.float32), label, tuple(np.linalg.norm(affine[:3, :3], axis=0)), affine)


def random_labels(shape=RAW, seed=0):
    return np.random.default_rng(seed).integers(0, CLASSES, shape).astype(np.uint8)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_flipped_and_turned_volumes_come_back_voxel_by_voxel(order):
    raw = random_labels()
    for flips in product((1, -1), repeat=3):
        turned = raw.transpose(order)[tuple(slice(None, None, step) for step in flips)]
        indices = np.zeros((4, 4))  # of the turned array -> of the raw one
        indices[3, 3] = 1
        for new, (old, step) in enumerate(zip(order, flips, strict=True)):
            indices[old, new], indices[old, 3] = step, 0 if step > 0 else raw.shape[old] - 1
        found = back(logits(turned), OBLIQUE @ indices, OBLIQUE, RAW)
        np.testing.assert_array_equal(found, raw)


@pytest.mark.parametrize("size", [4, 9, [9, 5], [3, 12]])
def test_what_was_cropped_is_background_and_what_was_padded_is_gone(size):
    raw = random_labels()
    prepared = steps.apply(volume(raw, OBLIQUE), [{"crop_pad": {"size": size}}])
    found = back(logits(prepared.label), prepared.affine, OBLIQUE, RAW)
    height, width = [size, size] if isinstance(size, int) else size
    kept = [slice(max(0, (n - new) // 2), max(0, (n - new) // 2) + min(n, new)) for n, new in
            ((6, height), (7, width))]  # fmt: skip
    expected = np.zeros_like(raw)
    expected[:, kept[0], kept[1]] = raw[:, kept[0], kept[1]]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("scale", [0.5, 1.7])
@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_interpolated_as_scipy_does(scale, seed):
    """In plane and along slices; probabilities drawn, not labels."""
    random = np.random.default_rng(seed)
    values = torch.from_numpy(random.normal(0, 2, (6, CLASSES, 8, 9)).astype(np.float32))
    raw_shape = tuple(int(n / scale) for n in (6, 8, 9))
    step = np.diag([scale, scale * 0.9, -scale, 1.0])  # raw indices -> prepared ones, columns from the right
    step[:3, 3] = [0.13, 0.4, 8.2]
    found = back(values, OBLIQUE, OBLIQUE @ step, raw_shape)
    shares = values.softmax(1).numpy()
    resampled = [
        affine_transform(shares[:, c], step, output_shape=raw_shape, order=1, mode="nearest", prefilter=False)
        for c in range(CLASSES)
    ]
    places = [step[axis, 3] + step[axis, axis] * np.arange(n) for axis, n in enumerate(raw_shape)]
    seen = [(p >= -0.5) & (p < n - 0.5) for p, n in zip(places, (6, 8, 9), strict=True)]
    expected = np.argmax(resampled, 0) * (seen[0][:, None, None] & seen[1][:, None] & seen[2])
    ordered = np.sort(resampled, 0)
    clear = ordered[-1] - ordered[-2] > 1e-5  # where rounding decides between two classes, either is right
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.99
    assert (found > 0).mean() > 0.2


def test_chunks_change_nothing_and_slices_are_interpolated():
    """Slices 3 mm apart back to 1 mm: a boundary between slices 1 and 2 lies half way."""
    label = np.zeros((4, 2, 2), int)
    label[2:] = 1
    fine = np.diag([1 / 3, 1, 1, 1.0])
    found = [back(logits(label), OBLIQUE, OBLIQUE @ fine, (10, 2, 2), chunk) for chunk in (1, 2, 4)]
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
    # places 0, 1/3, 2/3, 1, 4/3, 5/3, 2, …: the nearer slice decides
    assert found[0][:, 0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_through_every_step_that_moves_voxels_and_back():
    """A ball whose surface is known below a pixel: logits fall with the distance from its centre."""
    z, y, x = np.ogrid[:20, :60, :50]
    depth = 18 - np.sqrt((z - 10) ** 2 * 4 + (y - 31) ** 2 + (x - 24) ** 2)
    raw, raw_affine = (depth > 0).astype(np.uint8), np.diag([2.0, 1.0, 1.0, 1.0])
    scan = volume(raw, raw_affine).with_(image=np.maximum(depth + 7, 0).astype(np.float32))
    chosen = [{"resample": {"pixel": 0.8}}, {"crop_pad": {"size": 80}}, {"resize": {"size": 64}}]
    prepared = steps.apply(scan, chosen)
    inside = torch.from_numpy(prepared.image - 7)
    found = back(torch.stack([-inside, inside], 1), prepared.affine, raw_affine, raw.shape)
    assert 2 * (found & raw).sum() / (found.sum() + raw.sum()) > 0.995
    # a shift by a part of a pixel would show in the middle first
    np.testing.assert_allclose(center_of_mass(found), center_of_mass(raw), atol=0.02)


def test_the_crop_of_a_model_is_undone():
    """Multiples of 4 in slices of 6 × 7: rows 1 to 4 and columns 1 to 4."""
    raw = random_labels()
    grid = RawGrid(OBLIQUE, RAW, OBLIQUE, RAW, multiple=4)
    grid.add(logits(raw[:, 1:5, 1:5]))
    expected = np.zeros_like(raw)
    expected[:, 1:5, 1:5] = raw[:, 1:5, 1:5]
    np.testing.assert_array_equal(grid.labels(), expected)


def test_affines_in_single_precision_are_no_other_grid():
    raw = random_labels()
    single = OBLIQUE.astype(np.float32).astype(np.float64)
    grid = RawGrid(OBLIQUE, RAW, single, RAW)
    assert grid.exact
    grid.add(logits(raw))
    np.testing.assert_array_equal(grid.labels(), raw)


def test_the_largest_logit_decides_where_nothing_is_interpolated():
    """Logits that a softmax in single precision cannot tell apart."""
    values = torch.zeros(1, 3, 1, 2)
    values[0, :, 0, 0] = torch.tensor([90.0, 200.0, 200.00002])
    values[0, :, 0, 1] = torch.tensor([1e-9, 2e-9, 0.0])
    assert back(values, np.eye(4), np.eye(4), (1, 1, 2)).tolist() == [[[2, 1]]]


def test_grids_that_are_turned_against_each_other():
    turned = OBLIQUE.copy()
    turned[:3, :3] = Rotation.from_euler("z", 8, degrees=True).as_matrix() @ OBLIQUE[:3, :3]
    with pytest.raises(SegShiftError, match="turned against the raw grid"):
        RawGrid(turned, RAW, OBLIQUE, RAW)
    with pytest.raises(SegShiftError, match="has no inverse"):
        RawGrid(np.zeros((4, 4)), RAW, OBLIQUE, RAW)


def test_missing_slices_are_noticed():
    grid = RawGrid(OBLIQUE, RAW, OBLIQUE, RAW)
    grid.add(logits(random_labels()[:2]))
    with pytest.raises(ValueError, match="2 of 5 slices were added"):
        grid.labels()
