"""Both array layouts of the lab's HDF5 files, and what is said of broken ones."""

import h5py
import numpy as np
import pytest

from segshift.datasets import hdf5_stack
from segshift.errors import SegShiftError

DEPTHS = [3, 1, 2]


def write(file, stacked=True, **changes):
    random = np.random.default_rng(1)
    images = random.random((6, 5, 4)).astype(np.float64)
    labels = random.integers(0, 3, (6, 5, 4)).astype(np.float32)
    content = {"images": images, "labels": labels, "nz": DEPTHS, "nx": [5] * 3, "ny": [4] * 3} | changes
    if not stacked:
        first = 0
        for key in ("images", "labels"):
            padded, first = np.full((3, 3, 5, 4), 99.0), 0
            for index, depth in enumerate(DEPTHS):
                padded[index, :depth] = content[key][first : first + depth]
                first += depth
            content[key] = padded
    with h5py.File(file, "w") as out:
        for key, value in content.items():
            if value is not None:
                out[key] = value
    return images, labels


@pytest.mark.parametrize("stacked", [True, False])
def test_volumes_come_back(tmp_path, stacked):
    images, labels = write(tmp_path / "a.hdf5", stacked)
    cases = hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})
    assert [(case.id, case.patient, case.split) for case in cases] == [
        (f"train_00{i}", f"train_00{i}", "train") for i in range(3)
    ]
    for case, first, depth in zip(cases, (0, 3, 4), DEPTHS, strict=True):
        volume = hdf5_stack.read(case)
        np.testing.assert_array_equal(volume.image, images[first : first + depth].astype(np.float32))
        np.testing.assert_array_equal(volume.label, labels[first : first + depth])
        assert volume.image.dtype == np.float32 and np.issubdtype(volume.label.dtype, np.integer)
        assert volume.spacing == (1, 1, 1)


def test_pixel_sizes_patients_and_scale(tmp_path):
    images, _ = write(
        tmp_path / "a.hdf5",
        px=[0.5, 0.6, 0.7],
        py=[1.5, 1.6, 1.7],
        pz=[3.0, 4.0, 5.0],
        patients=["ann", "bob", "ann"],
    )
    cases = hdf5_stack.cases(tmp_path, files={"test": "a.hdf5"}, scale=0.5)
    assert [case.patient for case in cases] == ["ann", "bob", "ann"]
    volume = hdf5_stack.read(cases[2])
    assert volume.spacing == (5.0, 1.7, 0.7)
    assert (volume.affine @ [1, 10, 100, 1]).tolist() == pytest.approx([70, 17, 5, 1])
    np.testing.assert_allclose(volume.image, images[4:] / 0.5, rtol=1e-6)
    cases = hdf5_stack.cases(tmp_path, files={"test": "a.hdf5"}, pixel=0.7, thickness=2)
    assert hdf5_stack.read(cases[1]).spacing == (2.0, 0.7, 0.7)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"labels": None}, "a.hdf5 has no key 'labels'; it has: images, nx, ny, nz"),
        ({"nz": None}, "no key 'nz'"),
        ({"nz": [3, 1, 3]}, "nz sums to 7 slices, images hold 6"),
        ({"nz": [6, 0]}, "one slice or more each"),
        ({"labels": np.zeros((6, 5, 5))}, r"images have shape \(6, 5, 4\), labels \(6, 5, 5\)"),
        ({"images": np.zeros((6, 5)), "labels": np.zeros((6, 5))}, "not \\[slices, H, W\\]"),
        ({"px": [1.0]}, "px has 1 entries for 3 volumes"),
        ({"patients": ["a"]}, "patients has 1 entries for 3 volumes"),
    ],
)
def test_keys_that_do_not_fit(tmp_path, changes, sentence):
    write(tmp_path / "a.hdf5", **changes)
    with pytest.raises(SegShiftError, match=sentence):
        hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})


def test_unusable_files(tmp_path):
    with pytest.raises(SegShiftError, match="no such file: .*a.hdf5"):
        hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})
    with pytest.raises(SegShiftError, match="unknown split 'val'.*known: train, validation, test"):
        hdf5_stack.cases(tmp_path, files={"val": "a.hdf5"})
    write(tmp_path / "a.hdf5")
    cases = hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})
    whole = (tmp_path / "a.hdf5").read_bytes()
    (tmp_path / "a.hdf5").write_bytes(whole[: len(whole) // 2])
    for call in (
        lambda: hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"}),
        lambda: hdf5_stack.read(cases[0]),
    ):
        with pytest.raises(SegShiftError, match="a.hdf5 cannot be read as HDF5, it is truncated"):
            call()


def test_4d_files_need_enough_slices(tmp_path):
    write(tmp_path / "a.hdf5", stacked=False)
    with h5py.File(tmp_path / "a.hdf5", "r+") as content:
        content["nz"][0] = 4
    with pytest.raises(SegShiftError, match="up to 4 slices"):
        hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})


def test_scale_is_refused_where_values_are_scaled_already(tmp_path):
    images, _ = write(tmp_path / "a.hdf5")
    write(tmp_path / "b.hdf5", images=images * 255)
    scaled, bytes_ = (
        hdf5_stack.cases(tmp_path, files={"train": f}, scale=255)[0] for f in ("a.hdf5", "b.hdf5")
    )
    np.testing.assert_allclose(hdf5_stack.read(bytes_).image, images[:3], rtol=1e-6)
    with pytest.raises(SegShiftError, match="a.hdf5: scale is 255, but train_000 holds no value above 1"):
        hdf5_stack.read(scaled)


def test_labels_are_class_numbers(tmp_path):
    write(tmp_path / "a.hdf5", labels=np.full((6, 5, 4), 0.5))
    case = hdf5_stack.cases(tmp_path, files={"train": "a.hdf5"})[0]
    with pytest.raises(SegShiftError, match="a.hdf5, train_000: the label holds 0.5"):
        hdf5_stack.read(case)
