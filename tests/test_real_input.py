"""The whole way on real scans that nobody here made: a head that was scanned well, and one that was not.

Source: the MNI152 template with its tissue maps (1 mm, from nilearn's wheel), slabs of slices as patients.
Target: nibabel's ``anatomical.nii`` (2 mm, stored from right to left), pseudo-labels by its intensities.
"""

from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from segshift import scores
from segshift.cli import main
from segshift.prepared import Prepared

CELL = "mni/unet/full/own/0"
CLASSES = ["background", "gray matter", "white matter"]
SLABS = {  # of the template, mm above its lowest slice; every one another "patient"
    "train": [(46, 52), (58, 64), (70, 76), (82, 88), (94, 100), (106, 112)],
    "validation": [(64, 70), (100, 106)],
    "test": [(76, 82), (88, 94)],
}
THIRDS = {"train": (0, 8), "validation": (8, 16), "test": (16, 25)}  # slices of the target
CONFIG = {
    "project": {"seeds": [0], "raw": "raw", "evaluation": {"spaces": ["native"]}},
    "anatomies": {"tissue": {"classes": CLASSES}},
    "datasets": {
        "mni": {
            "module": "nifti",
            "anatomy": "tissue",
            "modality": "T1w",
            "plane": "axial",
            "image_files": "{split}/{id}_T1.nii.gz",
            "label_files": "{split}/{id}_tissue.nii.gz",
            "labels": {0: "background", 10: "gray matter", 20: "white matter"},
            "preprocess": ["percentile", {"resample": {"pixel": 3.5}}, {"crop_pad": {"size": 64}}],
            "lost_labels": 0.05,  # pixels this coarse are for speed
        },
        "scan": {"like": "mni", "patients": "scan", "folder": "scan"},
    },
    "backbones": {"unet": {"module": "unet", "image_size": 64, "width": 8, "depth": 3}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {},
    "weights": {},
    "training": [
        {"use": {"learning_rate": 0.01, "epochs": 3, "batch_size": 4, "loss": "dice_cross_entropy"}}
    ],
    "experiments": {
        "real": {
            "title": "A template and a scan",
            "grid": {"source": ["mni"], "backbone": ["unet"], "tuning": ["full"], "head": ["own"]},
        }
    },
    "labels": {},
}


def inside(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported."""
    return Path(find_spec(package).submodule_search_locations[0]) / file


SCAN = inside("nibabel", "tests/data/anatomical.nii")


def template(kind: str) -> nibabel.Nifti1Image:
    return nibabel.load(
        inside("nilearn", f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
    )


def tissue_labels() -> nibabel.Nifti1Image:
    """The likelier of gray and white matter where their shares reach a half, as raw values 10 and 20."""
    gray, white = (np.asarray(template(kind).dataobj).astype(int) for kind in ("gm", "wm"))
    label = np.where(gray >= white, 10, 20) * (np.maximum(gray, white) > 127)
    return nibabel.Nifti1Image(label.astype(np.uint8), template("t1").affine)


def cluster_labels(scan: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """Three clusters of the scan's intensities (Lloyd's algorithm in one dimension), from dark to bright."""
    values = np.asarray(scan.dataobj, np.float64)
    centres = np.quantile(values, [0.1, 0.5, 0.9])
    for _ in range(50):
        nearest = np.abs(values[..., None] - centres).argmin(-1)
        centres = np.array([values[nearest == cluster].mean() for cluster in range(3)])
    return nibabel.Nifti1Image((10 * nearest).astype(np.uint8), scan.affine)


def write_raw(folder: Path) -> None:
    image, label = template("t1"), tissue_labels()
    scan = nibabel.load(SCAN)
    pairs = {"mni": (image, label), "scan": (scan, cluster_labels(scan))}
    for dataset, (image, label) in pairs.items():
        for split in SLABS:
            (folder / dataset / split).mkdir(parents=True)
            slabs = SLABS[split] if dataset == "mni" else [THIRDS[split]]
            for first, end in slabs:
                for kind, whole in (("T1", image), ("tissue", label)):
                    file = folder / dataset / split / f"{dataset}{first:03d}_{kind}.nii.gz"
                    nibabel.save(whole.slicer[:, :, first:end], file)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A project folder in which everything up to the scores was made by the commands that users type."""
    root = tmp_path_factory.mktemp("real")
    config, results = root / "config", root / "results"
    config.mkdir()
    for name, content in CONFIG.items():
        (config / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    write_raw(root / "raw")
    both = ["--config", str(config), "--results", str(results)]
    assert main(["settings", "--write", *both]) == 0
    assert main(["prepare", "mni", "scan", *both]) == 0
    assert main(["train", CELL, "--results", str(results), "--device", "cpu"]) == 0
    assert main(["evaluate", CELL, *both, "--device", "cpu"]) == 0
    return root


def predict(site: Path, image: Path, output: Path, *more: str) -> int:
    words = ["predict", CELL, str(image), "-o", str(output), "--results", str(site / "results")]
    return main([*words, "--device", "cpu", *more])


def voxels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


def test_prepared_geometry_is_that_of_the_scanner(site):
    data = Prepared(site / "results/data/scan")
    (info,) = data.volumes("test")
    assert info.raw_shape == (9, 41, 33)
    assert info.shape == (64, 64)
    assert info.spacing == (2, 3.5, 3.5)
    scan = nibabel.load(SCAN)
    centre = [(n - 1) / 2 for n in scan.shape[:2]]
    lowest = scan.affine @ [*centre, 16, 1]
    np.testing.assert_allclose(info.affine @ [0, 31.5, 31.5, 1], lowest, atol=3.5)
    image, label = data.volume("test", info.id)
    assert set(np.unique(label)) == {0, 1, 2}
    # brighter is a higher cluster: image and label went the same way
    means = [image[label == cluster].mean() for cluster in range(3)]
    assert means == sorted(means)
    assert means[2] - means[0] > 0.2


def best_constant(data: Prepared) -> float:
    """Mean Dice over classes and volumes of the best mask of a single class, in percent."""
    found = []
    for one in (1, 2):
        shares = [(data.volume("test", volume.id)[1] == one).mean() for volume in data.volumes("test")]
        found.append(np.mean([100 * 2 * share / (1 + share) / 2 for share in shares]))
    return max(found)


def test_scores(site):
    rows = scores.read(site / "results/runs" / CELL / "scores.csv")
    assert {(row.target, row.split) for row in rows} == {
        (target, split) for target in ("mni", "scan") for split in ("validation", "test")
    }
    in_domain, shifted = (scores.dice(rows, target, "test") for target in ("mni", "scan"))
    assert in_domain > 2 * best_constant(Prepared(site / "results/data/mni"))
    assert in_domain > 50
    assert 0 < shifted < in_domain


def test_a_mask_has_the_scans_shape_and_affine(site, tmp_path):
    assert predict(site, SCAN, tmp_path / "mask.nii.gz") == 0
    scan, mask = nibabel.load(SCAN), nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == scan.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, scan.affine)
    values = voxels(tmp_path / "mask.nii.gz")
    assert set(np.unique(values)) <= {0, 1, 2}
    assert 0.2 < (values > 0).mean() < 1


def test_a_whole_head_of_the_template(site, tmp_path):
    """MNI152 at 2 mm in plane, every fourth slice: the mask lies on it, and on its brain."""
    head, tissue = (image.slicer[::2, ::2, 46:118:4] for image in (template("t1"), tissue_labels()))
    nibabel.save(head, tmp_path / "head.nii.gz")
    assert predict(site, tmp_path / "head.nii.gz", tmp_path / "mask.nii.gz") == 0
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == head.shape
    np.testing.assert_array_equal(mask.affine, nibabel.load(tmp_path / "head.nii.gz").affine)
    found, truth = np.asarray(mask.dataobj) > 0, np.asarray(tissue.dataobj) > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7


def test_the_masks_counts_are_those_of_the_evaluation(site, tmp_path):
    """On the file's own voxels to the last one; on the prepared pixels a test case is about as good."""
    folder = site / "raw/mni/test"
    rows = scores.read(site / "results/runs" / CELL / "scores.csv")
    native, prepared = (
        {(r.volume, r.class_): r for r in scores.select(rows, "mni", "test", space=space) if r.tp is not None}
        for space in ("native", "prepared")
    )
    assert len(native) == len(prepared) == 4
    for (case, name), row in native.items():
        assert predict(site, folder / f"{case}_T1.nii.gz", tmp_path / f"{case}.nii.gz") == 0
        mask = voxels(tmp_path / f"{case}.nii.gz") == CLASSES.index(name)
        truth = voxels(folder / f"{case}_tissue.nii.gz") == 10 * CLASSES.index(name)
        counts = (mask & truth).sum(), (mask & ~truth).sum(), (~mask & truth).sum()
        assert (row.tp, row.fp, row.fn) == counts
        assert row.dice == pytest.approx(prepared[case, name].dice, abs=6)


def reoriented(scan: nibabel.Nifti1Image, axes: str) -> nibabel.Nifti1Image:
    """The same head in the same place, its array flipped or turned."""
    start = nibabel.io_orientation(scan.affine)
    turn = nibabel.orientations.ornt_transform(start, nibabel.orientations.axcodes2ornt(axes))
    return scan.as_reoriented(turn)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "RPI", "PSR", "SLA"])
def test_a_flipped_or_turned_scan_gives_the_same_mask_moved_with_it(site, tmp_path, axes):
    turned = reoriented(nibabel.load(SCAN), axes)
    nibabel.save(turned, tmp_path / "turned.nii")
    assert predict(site, SCAN, tmp_path / "plain.nii") == 0
    assert predict(site, tmp_path / "turned.nii", tmp_path / "mask.nii") == 0
    expected, mask = (
        reoriented(nibabel.load(tmp_path / "plain.nii"), axes),
        nibabel.load(tmp_path / "mask.nii"),
    )
    assert nibabel.aff2axcodes(mask.affine) == tuple(axes)
    assert mask.shape == turned.shape
    np.testing.assert_array_equal(mask.affine, turned.affine)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(expected.dataobj))


def test_an_oblique_scan_gives_the_same_mask_in_its_place(site, tmp_path):
    scan = nibabel.load(SCAN)
    angle = np.deg2rad(20)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = nibabel.Nifti1Image(np.asarray(scan.dataobj), tilt @ scan.affine)
    nibabel.save(tilted, tmp_path / "tilted.nii.gz")
    assert predict(site, SCAN, tmp_path / "plain.nii.gz") == 0
    assert predict(site, tmp_path / "tilted.nii.gz", tmp_path / "mask.nii.gz") == 0
    np.testing.assert_array_equal(
        nibabel.load(tmp_path / "mask.nii.gz").affine, nibabel.load(tmp_path / "tilted.nii.gz").affine
    )
    np.testing.assert_array_equal(voxels(tmp_path / "mask.nii.gz"), voxels(tmp_path / "plain.nii.gz"))


def test_a_4d_scan_needs_its_channel(site, tmp_path, capsys):
    file = inside("nibabel", "tests/data/example4d.nii.gz")
    assert predict(site, file, tmp_path / "mask.nii.gz") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file} has 2 channels" in line
    assert "--channel" in line
    assert not (tmp_path / "mask.nii.gz").exists()
    assert predict(site, file, tmp_path / "mask.nii.gz", "--channel", "1") == 0
    mask, scan = nibabel.load(tmp_path / "mask.nii.gz"), nibabel.load(file)
    assert mask.shape == scan.shape[:3]
    np.testing.assert_array_equal(mask.affine, scan.affine)
