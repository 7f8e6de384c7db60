"""Each step against values computed another way; affines against known points."""

import inspect

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from segshift import modules, plugins
from segshift.errors import SegShiftError
from segshift.preparation import steps
from segshift.volumes import Volume

AFFINE = np.array([[0.1, -0.2, -0.9, 30], [0.3, -0.8, 0.1, 20], [3.0, 0.1, 0.2, -7], [0, 0, 0, 1]])


def make(shape=(3, 10, 14), spacing=(3.0, 0.9, 1.1), affine=AFFINE) -> Volume:
    random = np.random.default_rng(0)
    image = random.normal(50, 20, shape).astype(np.float32)
    label = ndimage.zoom(random.integers(0, 4, (shape[0], 5, 7)), (1, shape[1] / 5, shape[2] / 7), order=0)
    return Volume(image, label.astype(np.uint8), spacing, affine)


def run(step, volume, **parameters) -> Volume:
    return steps.apply(volume, [{step: parameters}])


def scanner_ramp(shape, affine, axis) -> np.ndarray:
    """An image whose value is the scanner coordinate of its voxels: a known point everywhere."""
    z, y, x = np.indices(shape)
    return np.tensordot(affine[axis], np.stack([z, y, x, np.ones(shape)]), 1).astype(np.float32)


def test_percentile_uses_all_voxels_and_clips():
    volume = make()
    ranked = np.sort(volume.image.ravel().astype(np.float64))

    def at(q):  # linear interpolation between ranks, written out
        place = q / 100 * (len(ranked) - 1)
        low = int(place)
        return ranked[low] + (place - low) * (ranked[low + 1] - ranked[low])

    done = run("percentile", volume, low=2, high=95)
    expected = np.clip((volume.image - at(2)) / (at(95) - at(2)), 0, 1)
    np.testing.assert_allclose(done.image, expected, atol=1e-6)
    assert done.image.dtype == np.float32 and done.image.min() == 0 and done.image.max() == 1


def test_z_then_min_max():
    volume = run("z", make())
    assert abs(volume.image.mean(dtype=np.float64)) < 1e-6
    assert abs((volume.image.astype(np.float64) ** 2).mean() - 1) < 1e-6
    done = run("min_max", volume)
    assert done.image.min() == 0 and done.image.max() == 1
    low = volume.image.min()
    assert done.image[1, 2, 3] == pytest.approx((volume.image[1, 2, 3] - low) / (volume.image.max() - low))


@pytest.mark.parametrize("step", ["percentile", "z", "min_max"])
def test_constant_volume_is_refused_by_name_and_value(step):
    volume = make().with_(image=np.full((3, 10, 14), 4.5, np.float32))
    with pytest.raises(SegShiftError, match=rf"^{step}: .*4\.5"):
        steps.apply(volume, [step])


@pytest.mark.parametrize(
    "step",
    [
        {"resample": {"pixel": 0.7}},
        {"resample": {"pixel": 1.7}},
        {"resize": {"size": [23, 9]}},
        {"resize": {"size": 10}},
        {"crop_pad": {"size": [7, 21]}},
        {"crop_pad": {"size": [12, 9]}},
    ],
    ids=str,
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_affine_maps_every_voxel_to_its_place(step, axis):
    """A ramp of scanner mm stays that ramp, read through the new affine, except in the extended border."""
    before = make()
    before = before.with_(image=scanner_ramp(before.image.shape, AFFINE, axis))
    after = steps.apply(before, [step])
    old_index = (
        np.linalg.inv(AFFINE)
        @ after.affine
        @ np.vstack([np.indices(after.image.shape).reshape(3, -1), np.ones(after.image.size)])
    )
    limits = np.array(before.image.shape)[:, None] - 1
    within = ((old_index[:3] > -1e-6) & (old_index[:3] < limits + 1e-6)).all(0)
    assert within.mean() > 0.3
    expected = scanner_ramp(after.image.shape, after.affine, axis).ravel()
    np.testing.assert_allclose(after.image.ravel()[within], expected[within], atol=1e-4)
    np.testing.assert_allclose(
        np.linalg.norm(after.affine[:3, 1:3], axis=0) / np.linalg.norm(AFFINE[:3, 1:3], axis=0),
        np.array(after.spacing[1:]) / before.spacing[1:],
    )
    assert after.spacing[0] == 3.0
    assert after.label.shape == after.image.shape and set(np.unique(after.label)) <= set(
        np.unique(before.label)
    )


def test_resample_of_a_known_function_along_all_axes():
    """A function linear in each coordinate comes through trilinear interpolation exactly."""
    spacing, shape = (3.0, 0.9, 1.1), (7, 20, 16)
    affine = np.diag([*spacing, 1.0])

    def function(z, y, x):
        return 2 + z * 0.3 - y * 0.2 + x * 0.1 + 0.05 * z * y - 0.02 * z * y * x

    places = np.indices(shape) * np.array(spacing).reshape(3, 1, 1, 1)
    before = Volume(function(*places).astype(np.float32), None, spacing, affine)
    after = run("resample", before, pixel=0.7, thickness=1.4)
    assert after.image.shape == (15, 26, 25) and after.spacing == pytest.approx((1.4, 0.7, 0.7))
    index = np.stack([*np.indices(after.image.shape), np.ones(after.image.shape)])
    z, y, x, _ = np.tensordot(after.affine, index, 1)
    last = (np.array(shape) - 1) * spacing
    inside = (z >= 0) & (z <= last[0]) & (y >= 0) & (y <= last[1]) & (x >= 0) & (x <= last[2])
    assert inside.mean() > 0.7
    np.testing.assert_allclose(after.image[inside], function(z, y, x)[inside], atol=1e-4)


@pytest.mark.parametrize(
    ("image", "low", "high", "expected"),
    [
        ([0, 1, 2, 3, 4], 0, 100, [0, 0.25, 0.5, 0.75, 1]),  # the extremes themselves
        ([0, 1, 2, 3, 4], 25, 75, [0, 0, 0.5, 1, 1]),  # percentiles that are values
        ([0, 0, 0, 0, 9], 0, 90, [0, 0, 0, 0, 1]),  # p90 = 0.6 * 9, between two ranks
        ([5, 7], 0, 50, [0, 1]),  # p50 = 6
        ([-1000, -1000, 0, 1000, 3000], 0, 75, [0, 0, 0.5, 1, 1]),  # CT
        ([1e30, 2e30, 3e30], 0, 100, [0, 0.5, 1]),  # no overflow in between
    ],
)
def test_percentiles_on_edge_cases(image, low, high, expected):
    image = np.array(image, np.float32).reshape(-1, 1, 1)
    done = run("percentile", Volume(image, None, (1.0,) * 3, np.eye(4)), low=low, high=high)
    np.testing.assert_allclose(done.image.ravel(), expected, atol=1e-6)


def test_resample_reaches_the_pixel_size_and_keeps_the_centre():
    before = make(shape=(2, 100, 80), spacing=(3.0, 0.9, 1.1), affine=np.diag([3.0, 0.9, 1.1, 1.0]))
    after = run("resample", before, pixel=0.7)
    assert after.image.shape == (2, 129, 126)  # 90 / 0.7 = 128.6, 88 / 0.7 = 125.7
    assert after.spacing == pytest.approx((3.0, 0.7, 0.7))
    centre = [(n - 1) / 2 for n in after.image.shape[1:]]
    assert after.affine @ [0, *centre, 1] == pytest.approx(before.affine @ [0, 49.5, 39.5, 1])


def test_resampled_values_are_scipys():
    before = make()
    after = run("resample", before, pixel=0.6)
    matrix = np.linalg.inv(before.affine) @ after.affine
    expected = ndimage.affine_transform(
        before.image, matrix, output_shape=after.image.shape, order=1, mode="nearest"
    )
    np.testing.assert_allclose(after.image, expected, atol=1e-3)
    shares = [
        ndimage.affine_transform(
            (before.label == value).astype(float),
            matrix,
            output_shape=after.image.shape,
            order=1,
            mode="nearest",
        )
        for value in range(4)
    ]
    ranked = np.sort(shares, axis=0)
    clear = ranked[-1] - ranked[-2] > 1e-6  # ties are tested below
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(after.label[clear], np.argmax(shares, 0)[clear])


def test_labels_are_never_mixed_and_a_tie_goes_to_the_lower_value():
    label = np.array([[[7, 2, 2]]], np.uint8)  # between 7 and 2 lies no 4
    volume = Volume(label.astype(np.float32), label, (1.0, 1.0, 1.0), np.eye(4))
    halves = run("resize", volume, size=[1, 6], labels="linear").label[0, 0]
    assert halves.tolist() == [7, 7, 2, 2, 2, 2]
    # pixel centres at old -0.25, 0.5 (a tie), ...
    tie = run(
        "resize",
        Volume(volume.image[..., :2], label[..., :2], (1.0,) * 3, np.eye(4)),
        size=[1, 1],
        labels="linear",
    )
    assert tie.label.item() == 2
    assert run("resize", volume, size=[1, 6]).label[0, 0].tolist() == [7, 7, 2, 2, 2, 2]


def test_crop_and_pad_are_centred_and_inverse():
    before = make(shape=(2, 5, 6))
    padded = run("crop_pad", before, size=[8, 9])
    assert padded.image[:, 1:6, 1:7].tolist() == before.image.tolist()
    assert padded.image.sum() == pytest.approx(before.image.sum(), rel=1e-5)
    assert np.count_nonzero(padded.label) == np.count_nonzero(before.label)
    again = run("crop_pad", padded, size=[5, 6])
    np.testing.assert_array_equal(again.image, before.image)
    np.testing.assert_allclose(again.affine, before.affine, atol=1e-12)
    assert run("crop_pad", before, size=4).image.shape == (2, 4, 4)


def test_a_volume_without_label_goes_through():
    done = steps.apply(
        make().with_(label=None), ["percentile", {"resample": {"pixel": 2}}, {"crop_pad": {"size": 4}}]
    )
    assert done.label is None and done.image.shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("percentil", "unknown step 'percentil'; did you mean 'percentile'"),
        ({"percentile": {"lo": 1}}, "percentile has no parameter 'lo'; did you mean 'low'"),
        ("resample", "resample needs pixel"),
        ({"a": 1, "b": 2}, "neither a step's name nor"),
        ({"percentile": 3}, "parameters of percentile must be"),
        ({"percentile": {"low": 99, "high": 1}}, "0 <= low < high <= 100"),
        ({"resample": {"pixel": 0}}, "pixel 0 must be a positive number"),
        ({"resample": {"pixel": 1, "thickness": -2}}, "thickness -2 must be a positive number"),
        ({"resample": {"pixel": 1, "labels": "cubic"}}, "unknown labels 'cubic'.*linear, nearest"),
        ({"crop_pad": {"size": [1, 2, 3]}}, "crop_pad: size .* height and width"),
        ({"resize": {"size": 0}}, "resize: size 0 must be"),
    ],
)
def test_a_wrong_step_is_a_sentence(step, sentence):
    with pytest.raises(SegShiftError, match=sentence):
        steps.apply(make(), [step])


def test_steps_can_be_validated_from_their_source():
    known = modules.steps()
    assert known["resample"] == ("pixel", "labels", "thickness")
    assert sorted(known) == sorted(file.stem for file in (modules.PACKAGE / "steps").glob("[a-z]*.py"))
    for name, keys in known.items():
        keyword_only = inspect.signature(plugins.load("steps", name).apply).parameters
        assert tuple(keyword_only) == ("volume", *keys)


def test_the_affine_is_one_that_nibabel_understands():
    """An [x, y, z] NIfTI with the affine's columns turned round puts voxels where the volume has them."""
    after = run("resample", make(), pixel=0.7)
    image = nibabel.Nifti1Image(after.image.transpose(2, 1, 0), after.affine[:, [2, 1, 0, 3]])
    assert nibabel.affines.apply_affine(image.affine, [4, 3, 2]) == pytest.approx(
        (after.affine @ [2, 3, 4, 1])[:3]
    )
