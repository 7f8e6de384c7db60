"""Every public form in its true layout, from its files to prepared voxels and back: miniatures made here.

Affines are flipped, turned, oblique and unequal in size. Each prepared voxel is compared with what was put
into the file at the place where both affines say that it is. Prediction goes through a model that marks
bright pixels, so that what must come out on the raw voxels is known.
"""

import locale
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml

from segshift import grid, inference
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.prepared import Prepared
from segshift.stages import look, predict, prepare, split

CONFIG = Path(__file__).parents[1] / "config"
SHAPE = (9, 11, 5)
NUMBERS = {"train": 2, "validation": 1, "test": 1}
TURN = nibabel.eulerangles.euler2mat(0.3, -0.2, 0.1)


def affines():
    """One a patient: flipped (LPS), turned by right angles, oblique, and oblique and mirrored."""
    turned = np.array([[0, 0, -3.0], [0.7, 0, 0], [0, -0.9, 0]])
    for matrix in (np.diag([-0.7, -0.9, 3.0]), turned, TURN * (0.7, 0.9, 3.0), TURN * (-0.8, 0.8, -2.0)):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, (12.5, -40, 7.25)
        yield affine


class Patient:
    """What is put into files: an image [x, y, z], a label of raw values, a mask, and an affine."""

    def __init__(self, name, number, values, affine):
        random = np.random.default_rng(number)
        self.name, self.affine = name, affine
        self.images = {
            kind: random.permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) for kind in "ab"
        }
        self.label = random.choice(values, SHAPE).astype(np.int16)
        self.mask = (random.random(SHAPE) < 0.8).astype(np.uint8)


def save(file, array, affine):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.MGHImage if file.suffix == ".mgz" else nibabel.Nifti1Image
    if file.suffix == ".mgz":
        array = array.astype(np.int32)
    image(array, affine).to_filename(file)


def itk(array, affine):
    """An image of SimpleITK, whose space is LPS."""
    lps = np.diag([-1, -1, 1, 1]) @ affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def save_dicom(folder, array, affine, name):
    """A series of slices, in files whose names say nothing of their order."""
    folder.mkdir(parents=True)
    before = locale.setlocale(locale.LC_ALL)  # ITK changes it when it writes DICOM, and with it read_text()
    image = itk(array, affine)
    direction, writer = image.GetDirection(), sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(image.GetDepth()):
        one = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        cosines = [direction[at] for at in (0, 3, 6, 1, 4, 7)]
        tags = {"0008|0060": "MR", "0010|0020": name, "0020|0013": str(number)}
        tags |= {
            "0020|000e": f"1.2.826.{sum(map(ord, name))}",
            "0008|0018": f"1.2.826.{sum(map(ord, name))}.{number}",
        }
        tags |= {"0020|0032": "\\".join(f"{at:.9g}" for at in place)}
        tags |= {"0020|0037": "\\".join(f"{at:.12g}" for at in cosines)}
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"1-{(number * 3) % 5:02d}.dcm"))
        writer.Execute(one)
    locale.setlocale(locale.LC_ALL, before)


# ---- the layouts -------------------------------------------------------------------------------------------


def hcp(raw, one):
    for kind, contrast in zip("ab", ("T1w", "T2w"), strict=True):
        save(raw / f"{one.name}/T1w/{contrast}_acpc_dc_restore.nii.gz", one.images[kind], one.affine)
    save(raw / f"{one.name}/T1w/aparc+aseg.nii.gz", one.label, one.affine)
    save(raw / f"{one.name}/T1w/brainmask_fs.nii.gz", one.mask, one.affine)


def abide(site):
    def write(raw, one):
        for name, array in (
            ("orig", one.images["a"]),
            ("aparc+aseg", one.label),
            ("brainmask", 70 * one.mask),
        ):
            save(raw / f"{site}_{one.name}/mri/{name}.mgz", array, one.affine)

    return write


def nci(raw, one):
    save_dicom(
        raw / f"Prostate-3T/{one.name}/01-02-2003-MR prostate/4.0-t2 tra",
        one.images["a"],
        one.affine,
        one.name,
    )
    (raw / "Training").mkdir(exist_ok=True)
    sitk.WriteImage(itk(one.label, one.affine), str(raw / f"Training/{one.name}.nrrd"))


def verse(raw, one):
    release = "01training" if one.name != "sub-verse033" else "verse20test"
    for kind in "ab" if one.name == "sub-verse005" else "a":  # a patient with two scans
        scan = f"{one.name}_dir-{'ax' if kind == 'a' else 'sag'}"
        save(raw / f"dataset-{release}/rawdata/{one.name}/{scan}_ct.nii.gz", one.images[kind], one.affine)
        derived = raw / f"dataset-{release}/derivatives/{one.name}"
        save(derived / f"{scan}_seg-vert_msk.nii.gz", one.label, one.affine)


def mrspineseg(raw, one):
    save(raw / f"train/MR/Case{one.name}.nii.gz", one.images["a"], one.affine)
    save(raw / f"train/Mask/mask_case{one.name}.nii.gz", one.label, one.affine)


def brats(raw, one):
    grade = "LGG" if one.name.endswith("2_1") else "HGG"
    for kind, contrast in zip("ab", ("t1", "flair"), strict=True):
        save(raw / f"{grade}/{one.name}/{one.name}_{contrast}.nii.gz", one.images[kind], one.affine)
    save(raw / f"{grade}/{one.name}/{one.name}_seg.nii.gz", one.label, one.affine)


FREESURFER = [0, 2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 17, 18, 24, 28, 31, 41, 43, 63, 77, 251, 1001, 1035, 2018]
#: raw value -> class, by hand: the index in anatomies.yaml
BRAIN = {2: 4, 3: 3, 4: 8, 7: 2, 8: 1, 10: 5, 11: 9, 12: 10, 13: 11, 16: 14, 17: 6, 18: 7, 24: 13, 28: 12,
         41: 4, 43: 8, 77: 4, 1001: 3, 1035: 3, 2018: 3}  # fmt: skip
HCP = ("public/hcp", hcp, ("100307", "100408", "101107", "99"))
BRATS = ("public/brats", brats, tuple(f"Brats18_2013_{n}_1" for n in range(1, 5)))
PROSTATES = tuple(f"Prostate3T-01-000{n}" for n in range(1, 5))
CALTECH = ("0051456", "0051457", "0051461", "0051493")
STANFORD = ("0051160", "0051161", "0051199", "0051198")
VERSE = ("sub-verse004", "sub-verse005", "sub-gl033", "sub-verse033")
VERTEBRAE = [0, 7, 19, 20, 21, 22, 23, 24, 25, 28]
LAYOUTS = {
    # dataset: folder, writer, names, which image, raw values, their classes where not background
    "hcp1": (*HCP, "a", FREESURFER, BRAIN),
    "hcp2": (*HCP, "b", FREESURFER, BRAIN),
    "abide_c": ("public/abide", abide("Caltech"), CALTECH, "a", FREESURFER, BRAIN),
    "abide_s": ("public/abide", abide("Stanford"), STANFORD, "a", FREESURFER, BRAIN),
    "nci": ("public/nci", nci, PROSTATES, "a", [0, 1, 2], {1: 2, 2: 1}),
    "verse": ("public/verse", verse, VERSE, "a", VERTEBRAE, {20: 1, 21: 2, 22: 3, 23: 4, 24: 5}),
    "mrsegv": ("public/mrspineseg", mrspineseg, ("1", "2", "10", "172"), "a", [*range(20)],
               {6: 1, 5: 2, 4: 3, 3: 4, 2: 5}),
    "brats_t1": (*BRATS, "a", [0, 1, 2, 4], {4: 1, 1: 2}),
    "brats_flair": (*BRATS, "b", [0, 1, 2, 4], {4: 1, 1: 2}),
}  # fmt: skip
MASKED = ("hcp1", "hcp2", "abide_c", "abide_s")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All miniatures, a configuration with steps that only move voxels, and the splits drawn."""
    root = tmp_path_factory.mktemp("public")
    config = Path(shutil.copytree(CONFIG, root / "config"))
    datasets = yaml.safe_load((config / "datasets.yaml").read_text())
    patients = {}
    for name, (folder, write, names, _, values, _) in LAYOUTS.items():
        entry = datasets[f"{name}_public"]
        assert entry["folder"] == folder
        steps = ["min_max", *(["skull_strip"] if name in MASKED else []), {"crop_pad": {"size": [16, 13]}}]
        entry["preprocess"] = steps
        patients[name] = {
            who: Patient(who, number, values, affine)
            for number, (who, affine) in enumerate(zip(names, affines(), strict=True))
        }
        if name not in ("hcp2", "brats_flair"):  # the same files as of their first domain
            for one in patients[name].values():
                write(root / "data" / folder, one)
    (config / "datasets.yaml").write_text(yaml.safe_dump(datasets, sort_keys=False))
    for file in (config / "splits").glob("*.yaml"):
        content = yaml.safe_load(file.read_text())
        if "draw" in content:
            file.write_text(yaml.safe_dump({"draw": {"seed": 42, **NUMBERS}}))
    raw = root / "data"
    for names in (("hcp1", "hcp2"), ("brats_t1", "brats_flair"), *((name,) for name in LAYOUTS)):
        if len(names) == 2 or names[0] not in ("hcp1", "hcp2", "brats_t1", "brats_flair"):
            split.run([f"{name}_public" for name in names], config, raw)
    return SimpleNamespace(
        root=root, config=config, raw=raw, patients=patients, results=Results(root / "results")
    )


def settings(site, dataset):
    expanded = grid.read(site.config)
    folder = site.results.data(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.yaml").write_text(grid.render(expanded.dataset_settings(dataset)))
    return expanded


def back(volume, shape, one):
    """Of every prepared voxel: the index (x, y, z) in the file, and whether it is inside it."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3)
    places = np.c_[indices, np.ones(len(indices))] @ (np.linalg.inv(one.affine) @ volume.affine).T
    raw = np.rint(places[:, :3]).astype(int)
    np.testing.assert_allclose(places[:, :3], raw, atol=2e-3)
    inside = ((raw >= 0) & (raw < SHAPE)).all(1)
    return raw, inside


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_voxel_is_where_its_file_put_it(site, name, capsys):
    dataset = f"{name}_public"
    folder, _, names, kind, _, classes = LAYOUTS[name]
    look.run(dataset, site.config, site.raw / folder)
    assert re.search(rf"{dataset}: train \d of 2 patients, validation ", capsys.readouterr().out)
    expanded = settings(site, dataset)
    prepare.run(dataset, site.results.root, site.raw / folder)
    data = Prepared(site.results.data(dataset))
    data.verify()
    found = set()
    for part in NUMBERS:
        for volume in data.volumes(part):
            pool, who = volume.patient.split(":")
            one = site.patients[name][who]
            found.add(who)
            image, label = data.volume(part, volume.id)
            raw, inside = back(volume, image.shape, one)
            assert len({tuple(index) for index in raw[inside]}) == inside.sum() == np.prod(SHAPE)
            at = tuple(raw[inside].T)
            whole = one.images["b" if volume.id.endswith("sag") else kind].astype(np.float32)
            expected = (whole - whole.min()) / (whole.max() - whole.min())
            if name in MASKED:
                expected = expected * one.mask
            np.testing.assert_array_equal(image.reshape(-1)[inside], expected[at].astype(np.float16))
            assert not image.reshape(-1)[~inside].any() and not label.reshape(-1)[~inside].any()
            np.testing.assert_array_equal(
                label.reshape(-1)[inside], np.vectorize(lambda value: classes.get(value, 0))(one.label[at])
            )
            spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
            assert spacing == pytest.approx(volume.spacing, rel=1e-4)
    assert found == set(names)
    assert expanded.config.datasets[dataset].patients == pool


class Bright(torch.nn.Module):
    """Class 1 where a pixel is brighter than a half."""

    crop = 1

    def forward(self, images):
        return [torch.cat([0.5 - images, images - 0.5], 1)]

    def predict(self, outputs):
        return outputs[-1]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_prediction_comes_back_to_the_voxels_of_its_file(site, name, tmp_path, monkeypatch):
    folder, _, names, kind, _, _ = LAYOUTS[name]
    expanded = grid.read(site.config)
    cell = f"{name}_public/unet/full/own/42"
    run = site.results.run(cell)
    run.mkdir(parents=True, exist_ok=True)
    (run / "settings.yaml").write_text(grid.render(expanded.settings(grid.Model.parse(cell))))
    monkeypatch.setattr(inference, "load", lambda *words: [SimpleNamespace(model=Bright(), digest="bright")])
    for who in names:
        one = site.patients[name][who]
        values = {"id": who, "patient": who, "grade": "*", "release": "*", "study": "*", "series": "*"}
        reader = expanded.dataset_settings(f"{name}_public")["reader"]
        pattern = reader["image_files"]
        for key in values:
            pattern = pattern.replace(
                f"{{{key}}}", values[key] if key != "id" or name != "verse" else f"{who}*"
            )
        (scan, *_) = sorted((site.raw / folder).glob(pattern))
        mask = reader.get("mask_files")
        mask = site.raw / folder / mask.replace("{id}", who) if mask else None
        predict.run(cell, scan, tmp_path / "mask.nii.gz", str(site.results.root), "cpu", None, mask)
        written = nibabel.load(tmp_path / "mask.nii.gz")
        np.testing.assert_allclose(written.affine, one.affine, atol=1e-4)
        whole = one.images[kind].astype(np.float32)
        expected = ((whole - whole.min()) / (whole.max() - whole.min())).astype(np.float16) > 0.5
        if mask:
            expected &= one.mask > 0
        np.testing.assert_array_equal(np.asarray(written.dataobj), expected)
    if name == "hcp1":
        with pytest.raises(SegShiftError, match="mask"):
            predict.run(cell, scan, tmp_path / "mask.nii.gz", str(site.results.root), "cpu")


def test_domains_of_the_same_people_have_the_same_splits(site):
    for first, second in (("hcp1", "hcp2"), ("brats_t1", "brats_flair")):
        expanded = grid.read(site.config)
        lists = [expanded.dataset_settings(f"{name}_public")["splits"] for name in (first, second)]
        assert lists[0] == lists[1] and {split: len(who) for split, who in lists[0].items()} == NUMBERS


def test_patients_without_a_lumbar_spine_are_left_out(site, tmp_path, capsys):
    """`split --labelled` reads the labels; a volume of background alone leaves its patient out."""
    config = Path(shutil.copytree(site.config, tmp_path / "config"))
    raw = tmp_path / "data"
    for number, (name, affine) in enumerate(zip(("5", "6", "7", "8", "9"), 2 * [*affines()], strict=False)):
        values = [0, 1, 12] if name == "8" else [0, 6]  # of one the sacrum and a disk are seen, no vertebra
        mrspineseg(raw / "public/mrspineseg", Patient(name, number, values, affine))
    (config / "splits/mrsegv.yaml").write_text("draw: {seed: 1, train: 2, validation: 1, test: 1}\n")
    split.run(["mrsegv_public"], config, raw, labelled=True)
    assert "without a label, so unused: 8" in capsys.readouterr().out
    lists = yaml.safe_load((config / "splits/mrsegv.yaml").read_text())
    assert lists["unused"] == ["8"]
    assert sorted(who for part in NUMBERS for who in lists[part]) == ["5", "6", "7", "9"]
