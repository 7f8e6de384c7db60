"""Surface metrics against brute force and against two libraries; what is missed costs more than anything."""

import math

import monai.metrics
import numpy as np
import pytest
import surface_distance
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from segshift import surfaces

SPACING = (3.0, 1.2, 0.7)
SHAPE = (12, 30, 34)
CLASSES = 4


def volumes(seed=0):
    """Truth and prediction with three classes of rough, smooth and torn surfaces that differ a little."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.random((2, *SHAPE)), (0, 1.5, 3, 3))
    both = noise[0], 0.6 * noise[0] + 0.4 * noise[1]
    return [np.digitize(one, np.quantile(one, [0.4, 0.7, 0.9])).astype(np.uint8) for one in both]


def one_hot(labels):
    return torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[labels]).permute(3, 0, 1, 2)[None]


def by_hand(truth, prediction, spacing, tolerance):
    """Every surface voxel against every other; faces are looked at one by one."""

    def points(mask):
        padded, found = np.pad(mask, 1), []
        for z, y, x in np.argwhere(mask):
            faces = [padded[z + 1 + a, y + 1 + b, x + 1 + c] for a, b, c in
                     ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))]  # fmt: skip
            if not all(faces):
                found.append((z, y, x))
        return np.array(found) * spacing

    distances = cdist(points(truth), points(prediction))
    there, back = distances.min(1), distances.min(0)
    every = np.concatenate([there, back])
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return hd95, every.mean(), 100 * (every <= tolerance).mean()


def test_every_class_by_hand():
    truth, prediction = volumes()
    found = surfaces.surfaces(truth, prediction, CLASSES, SPACING, 1.0)
    for number, one in enumerate(found, 1):
        expected = by_hand(truth == number, prediction == number, SPACING, 1.0)
        assert one == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_monai_agrees():
    truth, prediction = volumes(1)
    both = one_hot(prediction), one_hot(truth)
    found = np.array(surfaces.surfaces(truth, prediction, CLASSES, SPACING, 1.5))
    hd95 = monai.metrics.compute_hausdorff_distance(*both, percentile=95, spacing=SPACING)
    assd = monai.metrics.compute_average_surface_distance(*both, symmetric=True, spacing=SPACING)
    nsd = monai.metrics.compute_surface_dice(*both, class_thresholds=[1.5] * 3, spacing=SPACING)
    np.testing.assert_allclose(found[:, 0], hd95[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], assd[0].numpy(), rtol=1e-5)
    np.testing.assert_allclose(found[:, 2], 100 * nsd[0].numpy(), rtol=1e-5)


def test_balls_by_calculus_and_by_surface_distance():
    """Radii r and r + 1, centres 2 apart: surfaces lie |1 + 2u| apart, u uniform in [-1, 1] for large r.

    Its mean is 1.25, its 95th percentile 2.8, and 75 % of it is within 2. DeepMind's library weighs pieces
    of a surface by area on a grid of half voxels: near, not the same.
    """
    z, y, x = np.ogrid[:44, :70, :70]

    def ball(centre, radius):
        return np.hypot(np.hypot((z - 22) * 1.5, y - centre), x - 35) < radius

    truth, prediction, spacing = ball(34, 28), ball(36, 29), (1.5, 1.0, 1.0)
    ours = surfaces.surface(truth, prediction, spacing, 2.0)
    assert ours.assd == pytest.approx(1.25, abs=0.1)
    assert ours.hd95 == pytest.approx(2.8, abs=0.25)
    assert ours.nsd == pytest.approx(75, abs=6)
    theirs = surface_distance.compute_surface_distances(truth, prediction, spacing)
    assert ours.hd95 == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), abs=0.25)
    nsd = surface_distance.compute_surface_dice_at_tolerance(theirs, 2.0)
    assert ours.nsd == pytest.approx(100 * nsd, abs=8)


def test_surface_distance_agrees_on_shifted_slabs():
    """Two slabs that fill the field of view, four slices apart: every definition says the same at its top."""
    truth, prediction = np.zeros((2, 20, 16, 16), bool)
    truth[4:10], prediction[4:14] = True, True
    theirs = surface_distance.compute_surface_distances(truth, prediction, (2.0, 1.0, 1.0))
    assert surface_distance.compute_robust_hausdorff(theirs, 95) == 8.0
    assert surfaces.surface(truth, prediction, (2.0, 1.0, 1.0), 1.0).hd95 == 8.0


@pytest.mark.parametrize("limits", [(16, 500), (0.5, 0), (2, 3), (1e-9, 10**9)])
def test_near_and_far_surfaces_are_measured_alike(monkeypatch, limits):
    """By the tree, by the transform, or some points by each: to the last bit."""
    truth, prediction = volumes(3)
    expected = surfaces.surfaces(truth, prediction, CLASSES, SPACING, 1.0)
    monkeypatch.setattr(surfaces, "NEAR", limits[0])
    monkeypatch.setattr(surfaces, "FEW", limits[1])
    assert surfaces.surfaces(truth, prediction, CLASSES, SPACING, 1.0) == expected


def test_a_known_shift_in_mm():
    """A plane moved by three slices of 2.5 mm; a voxel moved by (1, 2, 2) voxels."""
    one, other = np.zeros((2, 9, 5, 5), bool)
    one[1], other[4] = True, True
    assert surfaces.surface(one, other, (2.5, 1, 1), 7.4) == (7.5, 7.5, 0.0)
    assert surfaces.surface(one, other, (2.5, 1, 1), 7.5) == (7.5, 7.5, 100.0)
    one, other = np.zeros((2, 3, 3, 3), bool)
    one[0, 0, 0] = other[1, 2, 2] = True
    expected = math.sqrt(9 + (2 * 0.5) ** 2 + (2 * 0.25) ** 2)
    assert surfaces.surface(one, other, (3, 0.5, 0.25), 1)[:2] == pytest.approx((expected, expected))


def test_a_spacing_in_single_precision_is_within_its_tolerance():
    one, other = np.zeros((2, 1, 4, 4), bool)
    one[0, 1, 1] = other[0, 1, 2] = True
    assert surfaces.surface(one, other, (1, 1, float(np.float32(0.7))), 0.7).nsd == 100.0


def test_one_slice_has_an_outline_and_no_surface_along_z():
    """A square of 5 × 5 pixels in a volume of one slice: 16 of its pixels are its outline."""
    truth = np.zeros((1, 9, 9), np.uint8)
    truth[0, 2:7, 2:7] = 1
    prediction = np.zeros_like(truth)
    prediction[0, 3:6, 3:6] = 1  # its outline lies 1 px inside, corners √2
    (found,) = surfaces.surfaces(truth, prediction, 2, (5.0, 1.0, 1.0), 1.0)
    assert surfaces.border(truth > 0, (True, False, False)).sum() == 16
    # outer: 12 at 1 px and 4 corners at √2; inner: 8 at 1 px
    assert found.assd == pytest.approx((20 + 4 * math.sqrt(2)) / 24)
    assert found.nsd == pytest.approx(100 * 20 / 24)


def test_in_neither_and_in_one():
    truth, prediction = np.zeros((2, 4, 5, 6), np.uint8)
    truth[0, 0, 0], prediction[3, 4, 5] = 1, 2
    diagonal = math.sqrt(9**2 + 4**2 + 2.5**2)
    found = surfaces.surfaces(truth, prediction, 4, (3, 1, 0.5), 1.0)
    assert found == [(diagonal, diagonal, 0.0), (diagonal, diagonal, 0.0), (None, None, None)]
    assert surfaces.missed((4, 5, 6), (3, 1, 0.5)) == diagonal


def test_nothing_that_was_found_is_worse_than_what_was_missed():
    """Opposite corners of the volume: as far apart as anything can be."""
    truth, prediction = np.zeros((2, 4, 5, 6), np.uint8)
    truth[0, 0, 0] = prediction[3, 4, 5] = 1
    (found,) = surfaces.surfaces(truth, prediction, 2, (3, 1, 0.5), 1.0)
    assert found[:2] == pytest.approx((surfaces.missed((4, 5, 6), (3, 1, 0.5)),) * 2, rel=1e-15)
    assert found[0] <= surfaces.missed((4, 5, 6), (3, 1, 0.5))


def test_equal_masks_are_perfect():
    truth, _ = volumes(2)
    assert surfaces.surfaces(truth, truth.copy(), CLASSES, SPACING, 0.5) == [(0.0, 0.0, 100.0)] * 3


def test_far_away_and_fewer_classes_than_named():
    """Bounding boxes are cut out; what lies in them does not depend on where they lie."""
    truth, prediction = np.zeros((2, 30, 30, 30), np.uint8)
    truth[25:28, 25:28, 25:28], prediction[26:29, 25:28, 25:28] = 1, 1
    near = surfaces.surface(truth[24:, 24:, 24:] == 1, prediction[24:, 24:, 24:] == 1, (1, 1, 1), 1.0)
    assert surfaces.surfaces(truth, prediction, 3, (1, 1, 1), 1.0) == [near, (None, None, None)]
