"""Orientation, planes and patterns of the NIfTI reader, and what is said of broken files."""

import nibabel
import numpy as np
import pytest

from segshift.datasets import nifti
from segshift.errors import SegShiftError

OBLIQUE = np.array([[-0.99, 0.1, 0.0, 40], [0.1, 0.99, 0.05, -60], [0.0, -0.05, 2.0, 10], [0, 0, 0, 1]])
PATTERNS = {"image_files": "{id}_T1.nii.gz", "label_files": "{id}_Label.nii.gz"}


def save(folder, name="a", affine=OBLIQUE, shape=(4, 5, 6), label=None, image=None, label_affine=None):
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).random(shape).astype(np.float32) if image is None else image
    label = (image[..., : shape[2]] > 0.5).astype(np.uint8) if label is None else label
    nibabel.Nifti1Image(image, affine).to_filename(folder / f"{name}_T1.nii.gz")
    nibabel.Nifti1Image(label, affine if label_affine is None else label_affine).to_filename(
        folder / f"{name}_Label.nii.gz"
    )
    return image


def only(folder, **more):
    (case,) = nifti.cases(folder, **PATTERNS, **more)
    return case


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SLA"])
def test_every_voxel_keeps_its_place(tmp_path, plane, orientation):
    """Each value of the image, found in the array, lies where the file's own affine puts it."""
    values = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    canonical = nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0]) + np.eye(4, k=3) * 5)
    wanted = nibabel.orientations.axcodes2ornt(orientation)
    stored = canonical.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.io_orientation(canonical.affine), wanted)
    )
    assert nibabel.aff2axcodes(stored.affine) == tuple(orientation)
    save(tmp_path, affine=stored.affine, image=stored.get_fdata(dtype=np.float32), shape=stored.shape)
    volume = nifti.read(only(tmp_path, plane=plane))
    for value in (0, 17, 63, 119):
        here = volume.affine @ [*np.argwhere(volume.image == value)[0], 1]
        there = canonical.affine @ [*np.argwhere(values == value)[0], 1]
        assert here == pytest.approx(there)
    assert volume.label.shape == volume.image.shape
    mm = {"axial": (3, 2, 1), "coronal": (2, 3, 1), "sagittal": (1, 3, 2)}[plane]
    assert volume.spacing == pytest.approx(mm)


@pytest.mark.parametrize(
    ("plane", "slices", "rows", "columns"),
    [("axial", "S", "P", "L"), ("coronal", "A", "I", "L"), ("sagittal", "R", "I", "P")],
)
def test_layout_of_planes(tmp_path, plane, slices, rows, columns):
    """Axis codes say where an index grows to: axial rows to the back, so row 0 is anterior."""
    save(tmp_path)
    volume = nifti.read(only(tmp_path, plane=plane))
    assert nibabel.aff2axcodes(volume.affine) == (slices, rows, columns)


def test_oblique_affine_stays_exact(tmp_path):
    image = save(tmp_path)
    volume = nifti.read(only(tmp_path))
    index = np.argwhere(volume.image == image[1, 2, 3])[0]
    assert volume.affine @ [*index, 1] == pytest.approx(OBLIQUE @ [1, 2, 3, 1], abs=1e-5)
    np.testing.assert_array_equal(volume.label, volume.image > 0.5)


def test_splits_patients_and_names_from_patterns(tmp_path):
    for folder, name in (("tr", "p1_s1"), ("tr", "p1_s2"), ("val", "p2_s1"), ("test", "p3_s1")):
        save(tmp_path / folder, name)
    cases = nifti.cases(
        tmp_path,
        image_files="{split}/{id}_T1.nii.gz",
        label_files="{split}/{id}_Label.nii.gz",
        patient="^([^_]+)_",
        split_names={"train": "tr", "validation": "val"},
    )
    assert [(case.id, case.patient, case.split) for case in cases] == [
        ("p1_s1", "p1", "train"),
        ("p1_s2", "p1", "train"),
        ("p2_s1", "p2", "validation"),
        ("p3_s1", "p3", "test"),
    ]


def test_repeated_id_and_labels_beside_images(tmp_path):
    for name in ("s1", "s2"):
        (tmp_path / name).mkdir()
        for end in (".nii", "_seg.nii"):
            nibabel.Nifti1Image(np.eye(3)[None], np.eye(4)).to_filename(tmp_path / name / f"{name}{end}")
    cases = nifti.cases(tmp_path, image_files="{id}/{id}.nii", label_files="{id}/{id}_seg.nii")
    assert [case.id for case in cases] == ["s1", "s2"] and {case.split for case in cases} == {None}
    flat = nifti.cases(tmp_path / "s1", image_files="{id}.nii", label_files="{id}_seg.nii")
    assert [case.id for case in flat] == ["s1"]


def test_channels(tmp_path):
    image = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)
    save(tmp_path, image=image, label=np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(SegShiftError, match="has 3 channels; say which"):
        nifti.read(only(tmp_path))
    with pytest.raises(SegShiftError, match="channels 0 to 2, not 3"):
        nifti.read(only(tmp_path, channel=3))
    volume = nifti.read(only(tmp_path, channel=2))
    assert np.sort(volume.image, axis=None) == pytest.approx(np.sort(image[..., 2], axis=None))


def test_image_and_label_must_fit(tmp_path):
    save(tmp_path, label=np.zeros((4, 5, 5), np.uint8))
    with pytest.raises(SegShiftError, match=r"differ in shape: \(4, 5, 6\) and \(4, 5, 5\)"):
        nifti.read(only(tmp_path))
    moved = OBLIQUE + 0.01 * np.eye(4, k=3)
    save(tmp_path, label_affine=moved)
    with pytest.raises(SegShiftError, match="a_T1.nii.gz and its label a_Label.nii.gz lie apart"):
        nifti.read(only(tmp_path))
    save(tmp_path, label_affine=OBLIQUE + 0.0005 * np.eye(4, k=3))
    nifti.read(only(tmp_path))
    save(tmp_path, label=np.full((4, 5, 6), 1.5, np.float32))
    with pytest.raises(SegShiftError, match="a_Label.nii.gz: the label holds 1.5"):
        nifti.read(only(tmp_path))


def test_files_that_are_no_nifti(tmp_path):
    save(tmp_path)
    file = tmp_path / "a_T1.nii.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegShiftError, match="a_T1.nii.gz cannot be read as NIfTI"):
        nifti.read(only(tmp_path))
    file.write_text("not an image")
    with pytest.raises(SegShiftError, match="a_T1.nii.gz cannot be read as NIfTI"):
        nifti.read(only(tmp_path))
    nibabel.Spm2AnalyzeImage(np.zeros((4, 5, 6), np.float32), np.eye(4)).to_filename(tmp_path / "b.img")
    with pytest.raises(SegShiftError, match="b.img is no NIfTI or MGZ file but Spm2AnalyzeImage"):
        nifti.read(nifti.Case("b", "b", None, only(tmp_path).where | {"image": tmp_path / "b.img"}))


def test_what_cannot_be_found(tmp_path):
    with pytest.raises(SegShiftError, match="no such folder: .*absent"):
        nifti.cases(tmp_path / "absent", **PATTERNS)
    with pytest.raises(SegShiftError, match="holds no file that matches '{id}_T1.nii.gz'"):
        nifti.cases(tmp_path, **PATTERNS)
    save(tmp_path)
    with pytest.raises(SegShiftError, match="unknown plane 'axail'; did you mean 'axial'"):
        only(tmp_path, plane="axail")
    with pytest.raises(SegShiftError, match="finds no group in the id 'a'"):
        only(tmp_path, patient="^(x)")
    with pytest.raises(SegShiftError, match="unknown split 'val'"):
        only(tmp_path, split_names={"val": "v"})
    with pytest.raises(SegShiftError, match="must both hold {id}"):
        nifti.cases(tmp_path, image_files="{split}.nii", label_files="{id}.nii")
    (tmp_path / "a_Label.nii.gz").unlink()
    with pytest.raises(SegShiftError, match="no such file: .*a_Label.nii.gz, the label of a_T1.nii.gz"):
        only(tmp_path)
