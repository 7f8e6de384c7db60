"""Augmentation against SciPy, its ranges and frequencies, and what it must not depend on."""

import colorsys

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import binomtest, kstest

from segshift import augment
from segshift.errors import SegShiftError

SIZE = (48, 40)
ALL = {"elastic": {}, "structural": {}, "photometric": {}}
ALWAYS = {name: {"probability": 1} for name in ALL}


@pytest.fixture(scope="module")
def slices():
    """Images (4, 1, 48, 40), smooth, and labels with values 0, 2 and 7."""
    random = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(random.random((4, *SIZE)), (0, 2, 2))
    images = (noise - noise.min()) / np.ptp(noise)
    labels = np.select([images > 0.6, images > 0.45], [7, 2], 0)
    return torch.from_numpy(images).float().unsqueeze(1), torch.from_numpy(labels)


def draws(recipe, number, size=SIZE):
    return [augment.draw(recipe, 0, 0, position, size) for position in range(number)]


# ---- draw --------------------------------------------------------------------------------------------------


def test_draws_are_a_function_of_seed_epoch_and_position():
    def same(one, other):
        return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)

    one = augment.draw(ALWAYS, 1, 2, 3, SIZE)
    augment.draw(ALWAYS, 1, 2, 4, SIZE)
    np.random.seed(0)
    assert same(one, augment.draw(ALWAYS, 1, 2, 3, SIZE))
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        drawn = augment.draw(ALWAYS, *other, SIZE)
        assert all(not np.array_equal(one[name], drawn[name]) for name in ("elastic", "shift", "angle"))
    # a transform draws the same whatever others there are
    alone = augment.draw({"structural": {"probability": 1}}, 1, 2, 3, SIZE)
    assert alone.items() >= {"angle": one["angle"], "zoom": one["zoom"]}.items()


@pytest.mark.parametrize(("size", "sigma"), [((48, 80), 20), ((256, 256), 20), ((96, 64), 5)])
def test_the_field_of_some_noise_is_simards_by_scipy(size, sigma):
    """Gaussian-smoothed uniform noise times alpha, zeros beyond the border: its coefficients, convolved."""
    scale = np.array(size) / 256
    noise = np.random.default_rng(0).uniform(-1, 1, (2, *size))
    sigmas = tuple((sigma * scale).tolist())
    (rows, down), (columns, across) = (augment._basis(*one) for one in zip(size, sigmas, strict=True))
    smoothed = (rows.T @ torch.from_numpy(noise).float() @ columns) * down[:, None] * across
    found = {"elastic": (smoothed * 1000 * scale.prod()).numpy(), "sigmas": sigmas}
    field = [ndimage.gaussian_filter(axis, sigma * scale, mode="constant") for axis in noise]
    expected = np.array(field) * 1000 * scale.prod()
    np.testing.assert_allclose(augment.displacement(found, size), expected, atol=0.01)
    assert np.abs(expected).max() > 0.5
    assert (rows[0] > 0).all() and (columns[0] > 0).all()  # the same of both signs on every machine


def test_what_is_drawn_is_distributed_as_the_coefficients_of_uniform_noise():
    """Independent, normal, of variance 1/3, after the filter's and alpha's factors."""
    size, sigma, alpha = (64, 48), 20, 1000
    scale = np.array(size) / 256
    found = draws({"elastic": {"probability": 1, "sigma": sigma, "alpha": alpha}}, 300, size)
    (rows, down), (columns, across) = (
        augment._basis(side, sigma * one) for side, one in zip(size, scale, strict=True)
    )
    factor = np.outer(down, across) * alpha * scale.prod()
    numbers = np.stack([one["elastic"] / factor for one in found])
    noise = np.random.default_rng(1).uniform(-1, 1, (300, 2, *size))
    real = rows.numpy().T @ noise @ columns.numpy()
    assert numbers.shape == real.shape
    for some in (numbers, real):
        assert kstest(some[:, :, ::5, ::5].ravel() * np.sqrt(3), "norm").pvalue > 1e-3
    apart = numbers.reshape(300, -1)[:, :40]
    correlation = np.corrcoef(apart.T)[np.triu_indices(40, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(300)


def test_the_number_of_threads_changes_no_draw():
    """A worker has one thread, the training process as many as the settings say."""
    before, size = torch.get_num_threads(), (256, 256)
    try:
        torch.set_num_threads(1)
        (one,) = draws({"elastic": {"probability": 1}}, 1, size)
        torch.set_num_threads(2)
        (two,) = draws({"elastic": {"probability": 1}}, 1, size)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(one["elastic"], two["elastic"])


def test_probabilities():
    found = draws(ALL, 1500)
    for name, probability in (("elastic", 0.25), ("shift", 0.25)):
        assert binomtest(sum(name in one for one in found), len(found), probability).pvalue > 1e-3
    for name, still in (("brightness", 0.0), ("contrast", 1.0)):
        assert binomtest(sum(one[name] != still for one in found), len(found), 0.5).pvalue > 1e-3
    both = sum("elastic" in one and "shift" in one for one in found)
    assert binomtest(both, len(found), 1 / 16).pvalue > 1e-3  # independent of each other
    assert (
        draws({name: {"probability": 0} for name in ALL}, 20) == [{"brightness": 0.0, "contrast": 1.0}] * 20
    )


def test_ranges():
    """Uniform over the thesis's ranges; pixels are those of a 256 px slice."""
    found = draws({"structural": {"probability": 1}, "photometric": {"probability": 1}}, 1000)
    ranges = {
        "angle": (-10, 10), "zoom": (0.9, 1.1), "contrast": (0.5, 1.5), "brightness": (-32 / 255, 32 / 255),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        assert kstest([(one[name] - low) / (high - low) for one in found], "uniform").pvalue > 1e-3
    for axis, side in enumerate(SIZE):
        shifts = [one["shift"][axis] / side * 256 for one in found]
        assert kstest([(shift + 10) / 20 for shift in shifts], "uniform").pvalue > 1e-3


def test_displacement_at_full_size_is_the_formula_and_a_smaller_slice_gets_the_same_share():
    recipe = {"elastic": {"probability": 1}}
    spread = {}
    for side in (64, 256):
        size = (side, side)
        fields = [augment.displacement(one, size) for one in draws(recipe, 40 if side == 64 else 6, size)]
        spread[side] = float(torch.stack(fields).std()) / side
    # white noise of variance 1/3, smoothed by a Gaussian of deviation s in two dimensions: 1/3 / (4 pi s^2)
    expected = 1000 * np.sqrt(1 / 3 / (4 * np.pi * 20**2)) / 256
    assert spread[256] == pytest.approx(expected, rel=0.15)
    assert spread[64] == pytest.approx(spread[256], rel=0.15)


def test_an_unknown_transform():
    with pytest.raises(SegShiftError, match="unknown transform 'elastik'; did you mean 'elastic'"):
        augment.draw({"elastik": {}}, 0, 0, 0, SIZE)


# ---- apply -------------------------------------------------------------------------------------------------


def reference(image, label, drawn):
    """The same by SciPy, in double: where each output pixel comes from, then one interpolation."""
    image, label = image.numpy().astype(float), label.numpy()
    centre = (np.array(image.shape) - 1) / 2
    angle = np.deg2rad(drawn.get("angle", 0))
    forward = drawn.get("zoom", 1) * np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    p = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij")).reshape(2, -1)
    moved = p - centre[:, None] - np.reshape(drawn.get("shift", (0, 0)), (2, 1))
    q = np.linalg.inv(forward) @ moved + centre[:, None]
    inside = ((q >= -0.5) & (q <= np.array(image.shape)[:, None] - 0.5)).all(0)
    if "elastic" in drawn:
        field = augment.displacement(drawn, image.shape).double().numpy()
        q = q + [ndimage.map_coordinates(axis, q, order=1, mode="mirror") for axis in field]
    image = ndimage.map_coordinates(image, q, order=1, mode="mirror") * inside
    nearest = ndimage.map_coordinates(label, q, order=0, mode="mirror") * inside
    # where rounding decides between two pixels, either is right
    sure = (np.abs(q - np.floor(q) - 0.5) > 1e-3).all(0)
    return tuple(one.reshape(label.shape) for one in (image, nearest, sure))


@pytest.mark.parametrize("recipe", [("structural",), ("elastic",), ("elastic", "structural")], ids="-".join)
def test_warps_are_those_of_scipy(slices, recipe):
    images, labels = slices
    drawn = draws({name: {"probability": 1} for name in recipe}, 4)
    result, _, moved = augment.apply(images, labels, drawn)
    assert (result - images).abs().mean() > 0.005
    for index in range(4):
        image, label, sure = reference(images[index, 0], labels[index], drawn[index])
        assert np.abs(result[index, 0].numpy() - image).max() < 1e-3
        assert sure.mean() > 0.98
        assert np.array_equal(moved[index].numpy()[sure], label[sure])


def test_structural_by_hand(slices):
    """A shift down by three, a quarter turn of a square slice, and a zoom."""
    images, labels = slices[0][:1], slices[1][:1]
    shifted, _, moved = augment.apply(
        images, labels, [{"shift": np.array([3.0, 0.0]), "angle": 0.0, "zoom": 1.0}]
    )
    torch.testing.assert_close(shifted[0, 0, 3:], images[0, 0, :-3], atol=1e-5, rtol=0)
    assert torch.equal(moved[0, 3:], labels[0, :-3])
    assert shifted[0, 0, :3].abs().max() == 0
    assert moved[0, :3].max() == 0
    square = images[..., :40, :]
    turned, _, _ = augment.apply(square, labels[:, :40], [{"shift": (0, 0), "angle": 90.0, "zoom": 1.0}])
    torch.testing.assert_close(turned[0, 0], square[0, 0].rot90(), atol=1e-5, rtol=0)
    # twice as large: every second pixel of the middle's enlargement is one of the slice
    larger, _, _ = augment.apply(square, labels[:, :40], [{"shift": (0.5, 0.5), "angle": 0.0, "zoom": 2.0}])
    torch.testing.assert_close(larger[0, 0, 1:39:2, 1:39:2], square[0, 0, 10:29, 10:29], atol=1e-5, rtol=0)


def test_photometric_by_hand(slices):
    images, labels = slices
    drawn = [{"brightness": 0.1, "contrast": 1.5}, {"brightness": -0.1, "contrast": 1.0}] * 2
    result, plain, moved = augment.apply(images, labels, drawn)
    brighter = np.clip(np.clip(images[0].numpy() + np.float32(0.1), 0, 1) * np.float32(1.5), 0, 1)
    np.testing.assert_allclose(result[0].numpy(), brighter, atol=1e-6)
    np.testing.assert_allclose(result[1].numpy(), np.clip(images[1].numpy() - 0.1, 0, 1), atol=1e-6)
    assert torch.equal(plain, images)
    assert torch.equal(moved, labels)


def test_plain_is_what_was_there_before_photometric_distortion(slices):
    geometric = {name: ALWAYS[name] for name in ("elastic", "structural")}
    result, plain, labels = augment.apply(*slices, draws(ALWAYS, 4))
    warped, same, moved = augment.apply(*slices, draws(geometric, 4))
    assert same is warped
    assert torch.equal(plain, warped)
    assert torch.equal(labels, moved)
    assert not torch.equal(result, plain)


def test_images_stay_in_range_and_labels_get_no_new_value(slices):
    strong = ALWAYS | {"elastic": {"probability": 1, "alpha": 4000}}
    strong |= {"structural": {"probability": 1, "scale": (0.5, 2)}}
    for start in range(0, 40, 4):
        drawn = [augment.draw(strong, 0, 0, start + n, SIZE) for n in range(4)]
        images, plain, labels = augment.apply(*slices, drawn)
        assert min(images.min(), plain.min()) >= 0
        assert max(images.max(), plain.max()) <= 1 + 1e-6
        assert set(labels.unique().tolist()) <= {0, 2, 7}
        assert labels.dtype == slices[1].dtype


def test_a_batch_is_its_slices_one_by_one(slices):
    drawn = draws(ALL | {"elastic": {"probability": 0.5}, "structural": {"probability": 0.5}}, 4)
    assert len({frozenset(one) for one in drawn}) > 1
    together = augment.apply(*slices, drawn)
    for index in range(4):
        alone = augment.apply(
            slices[0][index : index + 1], slices[1][index : index + 1], drawn[index : index + 1]
        )
        for one, all_ in zip(alone, together, strict=True):
            assert torch.equal(one[0], all_[index])


def test_what_draws_nothing_keeps_its_bits(slices):
    still = {"brightness": 0.0, "contrast": 1.0}
    moving = augment.draw(ALWAYS, 0, 0, 0, SIZE)
    for drawn in ([{}] * 4, [still] * 4, [moving, {}, still, moving]):
        images, plain, labels = augment.apply(*slices, drawn)
        for index, one in enumerate(drawn):
            if "shift" not in one:
                assert torch.equal(images[index], slices[0][index])
                assert torch.equal(plain[index], slices[0][index])
                assert torch.equal(labels[index], slices[1][index])
            else:
                assert not torch.equal(images[index], slices[0][index])


def test_structural_draws_apart():
    """As in the thesis's code: three coins, so that more than half of the slices are moved somehow."""
    found = draws({"structural": {"separate": True}}, 1500)
    for name, still in (("angle", 0.0), ("zoom", 1.0)):
        moved = sum(one.get(name, still) != still for one in found)
        assert binomtest(moved, len(found), 0.25).pvalue > 1e-3
    shifted = sum(bool(np.any(one.get("shift", 0.0))) for one in found)
    assert binomtest(shifted, len(found), 0.25).pvalue > 1e-3
    any_of_them = sum("shift" in one for one in found)
    assert binomtest(any_of_them, len(found), 1 - 0.75**3).pvalue > 1e-3


def test_saturation_and_hue_do_nothing_to_a_gray_image(slices):
    """Which is why they are not drawn; by torchvision, on three equal channels."""
    from torchvision.transforms.v2 import functional

    image = slices[0][0].expand(3, -1, -1)
    for changed in (functional.adjust_saturation(image, 1.5), functional.adjust_hue(image, 0.05)):
        torch.testing.assert_close(changed, image, atol=1e-4, rtol=0)  # gray is 0.9999 of it, there


# ---- colour ------------------------------------------------------------------------------------------------

COLOUR = {"photometric": {"probability": 1, "saturation": (0.5, 1.5), "hue": 18}}


@pytest.fixture(scope="module")
def pictures():
    """Pictures in colour (4, 3, 48, 40), some pixels gray, black and white, and labels."""
    random = np.random.default_rng(1)
    images = torch.from_numpy(random.random((4, 3, *SIZE))).float()
    images[:, :, :2] = images[:, :1, :2]
    images[:, :, 2], images[:, :, 3] = 0, 1
    return images, torch.from_numpy(random.integers(0, 5, (4, *SIZE)))


def test_saturation_and_hue_are_those_of_hsv(pictures):
    """Pixel by pixel with the standard library; labels and gray pixels stay, and so does what draws none."""
    drawn = [
        {"saturation": 1.5, "hue": 0.0},
        {"saturation": 0.5, "hue": 18.0},
        {"saturation": 1.0, "hue": -170.0},
        {"saturation": 1.0, "hue": 0.0},
    ]
    found, plain, labels = augment.apply(*pictures, drawn)
    for index, one in enumerate(drawn):
        expected = np.empty((3, *SIZE))
        for row, column in np.ndindex(*SIZE):
            hue, saturation, value = colorsys.rgb_to_hsv(*pictures[0][index, :, row, column].tolist())
            turned = (hue + one["hue"] / 360) % 1, min(saturation * one["saturation"], 1), value
            expected[:, row, column] = colorsys.hsv_to_rgb(*turned)
        np.testing.assert_allclose(found[index].numpy(), expected, atol=2e-5)
    torch.testing.assert_close(found[:, :, :4], pictures[0][:, :, :4], atol=1e-6, rtol=0)
    assert torch.equal(found[3], pictures[0][3])
    assert torch.equal(plain, pictures[0])
    assert torch.equal(labels, pictures[1])
    assert min(found.min(), 0) > -1e-6 and max(found.max(), 1) < 1 + 1e-6
    alone, _, _ = augment.apply(pictures[0][1:2], pictures[1][1:2], drawn[1:2])
    assert torch.equal(alone[0], found[1])


def test_ranges_of_saturation_and_hue():
    found = draws(COLOUR, 1000)
    for name, low, high in (("saturation", 0.5, 1.5), ("hue", -18, 18)):
        assert kstest([(one[name] - low) / (high - low) for one in found], "uniform").pvalue > 1e-3
    half = draws({"photometric": {"saturation": (0.5, 1.5), "hue": 18}}, 1000)
    for name, still in (("saturation", 1.0), ("hue", 0.0)):
        assert binomtest(sum(one[name] != still for one in half), len(half), 0.5).pvalue > 1e-3


def test_colours_change_no_other_draw():
    """A cell that asks for none is as before; one that asks for both has the same light and shape."""
    plain, colour = draws(ALL, 20), draws(ALL | {"photometric": {"saturation": (0.5, 1.5), "hue": 18}}, 20)
    for one, other in zip(plain, colour, strict=True):
        assert set(other) - set(one) == {"saturation", "hue"}
        assert all(np.array_equal(one[name], other[name]) for name in one)
    only = draws({"photometric": {"hue": 18}}, 20)
    assert [one["hue"] for one in only] == [one["hue"] for one in colour]
    assert {one["saturation"] for one in only} == {1.0}


def test_colours_do_nothing_to_gray_slices(slices):
    found, _, _ = augment.apply(*slices, [{"saturation": 0.5, "hue": 90.0}] * 4)
    assert torch.equal(found, slices[0])


def test_what_is_stored_is_widened(slices):
    """float16 images and uint8 labels, as the loader hands them over, give what their wide forms give."""
    narrow = slices[0].half(), slices[1].to(torch.uint8)
    drawn = draws(ALWAYS, 4)
    for found, wide in zip(
        augment.apply(*narrow, drawn), augment.apply(narrow[0].float(), slices[1], drawn), strict=True
    ):
        assert found.dtype == wide.dtype
        assert torch.equal(found, wide)


@pytest.mark.gpu
def test_the_gpu_augments_a_batch_as_the_cpu_does(slices):
    """The same draws by the same code; a pixel may differ where rounding decides between two labels."""
    drawn = draws(ALWAYS, 4)
    here = augment.apply(*slices, drawn)
    there = augment.apply(*(one.cuda() for one in slices), drawn)
    for one, other in zip(here[:2], there[:2], strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=1e-4, rtol=0)
    assert (there[2].cpu() == here[2]).float().mean() > 0.995
