"""Whatever the steps, in whatever order: a label is never mixed into a value that was not there, and lies
where the image's voxel lies."""

import numpy as np
import pytest

from segshift import modules
from segshift.errors import SegShiftError
from segshift.preparation import steps
from segshift.volumes import Volume


def random_volume(random: np.random.Generator) -> Volume:
    """Random size, geometry and class values far apart, so that any mean of two is no class."""
    shape = tuple(int(n) for n in random.integers(4, 14, 3))
    values = random.choice([0, 3, 50, 101, 250], random.integers(2, 6), replace=False)
    label = values[random.integers(0, len(values), shape)].astype(np.uint8)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    spacing = random.uniform(0.4, 3, 3)
    affine = np.eye(4)
    affine[:3, :3] = rotation * spacing
    affine[:3, 3] = random.normal(0, 50, 3)
    image = random.random(shape).astype(np.float32) + label / np.float32(255)
    return Volume(image, label, tuple(spacing), affine, random.random(shape) > 0.3)


def random_steps(random: np.random.Generator) -> list:
    """Up to six steps with random parameters; N4, which takes long and moves nothing, is left to its own
    test."""

    def way() -> str:
        return str(random.choice(["linear", "nearest"]))

    def size() -> list[int]:
        return [int(n) for n in random.integers(3, 20, 2)]

    kinds = {
        "percentile": lambda: {"low": float(random.uniform(0, 20)), "high": float(random.uniform(80, 100))},
        "z": dict,
        "min_max": dict,
        "skull_strip": dict,
        "canonical": dict,
        "plane": lambda: {"plane": str(random.choice(["axial", "coronal", "sagittal"]))},
        "resample": lambda: {
            "pixel": float(random.uniform(0.5, 3)),
            "labels": way(),
            "thickness": [None, float(random.uniform(0.5, 3))][random.integers(2)],
        },
        "resize": lambda: {"size": size(), "labels": way()},
        "crop_pad": lambda: {"size": size()},
    }
    assert {*kinds, "n4"} == set(modules.steps())
    return [{name: kinds[name]()} for name in random.choice(list(kinds), random.integers(1, 7))]


def test_labels_are_never_interpolated_into_new_values():
    random = np.random.default_rng(0)
    moved = refused = 0
    for _ in range(300):
        before, chosen = random_volume(random), random_steps(random)
        try:
            after = steps.apply(before, chosen)
        except SegShiftError:  # little is left of it: a constant image, an empty mask
            refused += 1
            continue
        moved += after.label.shape != before.label.shape
        padded = {0} if any("crop_pad" in step for step in chosen) else set()
        assert set(np.unique(after.label)) <= set(np.unique(before.label)) | padded, chosen
        assert after.label.dtype == np.uint8
        assert after.image.shape == after.label.shape == after.mask.shape, chosen
        np.testing.assert_allclose(np.linalg.norm(after.affine[:3, :3], axis=0), after.spacing)
    assert moved > 150 and refused < 60


def test_image_and_label_move_together():
    """The label of a voxel is its image's value, under all steps that interpolate nothing."""
    random = np.random.default_rng(1)
    for _ in range(100):
        volume = random_volume(random)
        volume = volume.with_(image=volume.label.astype(np.float32), mask=volume.label == 50)
        way = [{"crop_pad": {"size": [int(n) for n in random.integers(3, 20, 2)]}}, "canonical"]
        way.append({"plane": {"plane": str(random.choice(["axial", "coronal", "sagittal"]))}})
        random.shuffle(way)
        after = steps.apply(volume, way)
        np.testing.assert_array_equal(after.image, after.label)
        np.testing.assert_array_equal(after.mask, after.label == 50)


@pytest.mark.parametrize("mask", ["brain", "label"])
def test_skull_strip(mask):
    volume = random_volume(np.random.default_rng(2))
    volume.label[:2] = 0
    done = steps.apply(volume, [{"skull_strip": {"mask": mask}}])
    inside = volume.mask if mask == "brain" else volume.label > 0
    np.testing.assert_array_equal(done.image, np.where(inside, volume.image, 0))
    np.testing.assert_array_equal(done.label, volume.label)
    assert (volume.image[~inside] != 0).any()  # the volume before is as it was


@pytest.mark.parametrize(
    ("change", "mask", "sentence"),
    [
        ({}, "skull", "skull_strip: unknown mask 'skull'.* known: brain, label"),
        ({"mask": None}, "brain", "mask is brain, but the reader found no brain mask"),
        ({"label": None}, "label", "mask is label, but there is no label"),
        ({"mask": np.zeros((4, 4, 4), bool)}, "brain", "the mask brain is empty"),
    ],
)
def test_skull_strip_refuses(change, mask, sentence):
    volume = random_volume(np.random.default_rng(3)).with_(**change)
    with pytest.raises(SegShiftError, match=sentence):
        steps.apply(volume, [{"skull_strip": {"mask": mask}}])
