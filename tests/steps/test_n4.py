"""N4 against SimpleITK called directly, and against a bias that is known."""

import numpy as np
import pytest
import SimpleITK as sitk

from segshift.errors import SegShiftError
from segshift.preparation import steps
from segshift.volumes import Volume

SHAPE, SPACING = (12, 40, 36), (3.0, 1.0, 1.2)


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, np.ndarray]:
    """A ball of two tissues in rings on a background of 0, times a smooth field; and that field."""
    random = np.random.default_rng(0)
    z, y, x = (np.indices(SHAPE) / np.array(SHAPE).reshape(3, 1, 1, 1)) - 0.5
    radius = np.sqrt(z**2 + y**2 + x**2)
    tissue = np.where(radius < 0.45, np.where((radius * 12).astype(int) % 2, 140.0, 80.0), 0)
    field = np.exp(0.5 * x - 0.3 * y)
    image = (tissue + (tissue > 0) * random.normal(0, 1, SHAPE)) * field
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*SPACING, 1]
    label = (tissue > 0).astype(np.uint8)
    return Volume(image.astype(np.float32), label, SPACING, affine, tissue > 0), field


def directly(volume: Volume, mask: np.ndarray, factors: list[int]) -> np.ndarray:
    """What SimpleITK gives where it does the division itself."""
    image = sitk.GetImageFromArray(volume.image)
    image.SetSpacing(SPACING[::-1])
    inside = sitk.GetImageFromArray(mask.astype(np.uint8))
    inside.SetSpacing(SPACING[::-1])
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    correct = sitk.N4BiasFieldCorrectionImageFilter()
    correct.SetMaximumNumberOfIterations([20, 20, 20])
    correct.Execute(sitk.Shrink(image, factors), sitk.Shrink(inside, factors))
    field = correct.GetLogBiasFieldAsImage(image)
    result = sitk.GetArrayFromImage(sitk.Divide(image, sitk.Exp(sitk.Cast(field, sitk.sitkFloat32))))
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    return result


@pytest.mark.parametrize("mask", ["otsu", "nonzero", "brain"])
def test_it_is_simpleitks(scan, mask):
    volume, _ = scan
    threshold = sitk.OtsuThreshold(sitk.GetImageFromArray(volume.image), 0, 1, 200)
    inside = {
        "otsu": sitk.GetArrayFromImage(threshold) > 0,
        "nonzero": volume.image > 0,
        "brain": volume.mask,
    }
    # 12 slices are too few to take every fourth: eight would not be left
    expected = directly(volume, inside[mask], [4, 4, 1])
    done = steps.apply(volume, [{"n4": {"mask": mask, "iterations": 20, "levels": 3}}])
    np.testing.assert_allclose(done.image, expected, rtol=1e-5)
    assert done.image.dtype == np.float32 and done.label is volume.label and done.mask is volume.mask


def test_it_takes_the_bias_away(scan):
    volume, field = scan
    done = steps.apply(volume, [{"n4": {"mask": "brain", "shrink": 2}}])

    def unevenness(image: np.ndarray) -> float:
        """Standard deviation of the ratio to the tissue without bias, in percent of its mean."""
        ratio = image[volume.mask] / (volume.image / field)[volume.mask]
        return 100 * ratio.std() / ratio.mean()

    assert unevenness(volume.image) > 10
    assert unevenness(done.image) < 2.5
    assert (done.image[~volume.mask] == 0).all()


def test_every_run_and_any_number_of_threads_gives_the_same_bits(scan):
    volume, _ = scan
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    for number in (1, 2, 2):
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(number)
        found.append(steps.apply(volume, [{"n4": {"iterations": 5}}]).image.tobytes())
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == number  # left as it was
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("change", "given", "sentence"),
    [
        ({}, {"mask": "head"}, "n4: unknown mask 'head'.* known: otsu, nonzero, brain"),
        ({"mask": None}, {"mask": "brain"}, "n4: mask is brain, but the reader found no brain mask"),
        ({"mask": np.zeros(SHAPE, bool)}, {"mask": "brain"}, "n4: no voxel lies in the mask brain"),
        ({}, {"shrink": 0}, "n4: shrink 0 must be a positive integer"),
        ({"image": np.full(SHAPE, -3, np.float32)}, {}, "n4: the image holds negative values, down to -3"),
        ({"image": np.ones((*SHAPE, 3), np.float32)}, {}, "n4: .*colour"),
        (
            {"image": np.random.default_rng(0).random((1, 9, 9)).astype(np.float32)},
            {},
            r"n4: no field can be estimated on 1 x 9 x 9 voxels, \d+ of them in the mask otsu",
        ),
    ],
)
def test_what_it_refuses(scan, change, given, sentence):
    volume, _ = scan
    with pytest.raises(SegShiftError, match=sentence):
        steps.apply(volume.with_(**change), [{"n4": given}])
