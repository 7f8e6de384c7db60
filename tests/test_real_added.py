"""Real scans that nobody here made, from `add-dataset` to scores: as NIfTI and as an nnU-Net folder.

The MNI152 template with its tissue maps (nilearn's wheel), slabs of slices as patients: some as NIfTI, others
in nnU-Net's raw format, flipped. And nibabel's ``anatomical.nii``, stored from right to left, in three parts.
"""

import json
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from segshift import scores
from segshift.cli import main
from segshift.prepared import Prepared

CELLS = ("mni/unet/full/own/0", "head/unet/full/own/0")
CONFIG = {
    "project": {"seeds": [0], "raw": "raw"},
    "anatomies": {},
    "datasets": {},
    "backbones": {"unet": {"module": "unet", "image_size": 64, "width": 8, "depth": 3}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {},
    "weights": {},
    "training": [
        {"use": {"learning_rate": 0.01, "epochs": 14, "batch_size": 4, "loss": "dice_cross_entropy"}}
    ],
    "experiments": {},
    "labels": {},
}
GRID = """real:
  title: A template and a scan
  grid: {source: [mni, head], backbone: [unet], tuning: [full], head: [own]}
"""


def inside(package: str, file: str) -> Path:
    """A file of an installed package, which is not imported."""
    return Path(find_spec(package).submodule_search_locations[0]) / file


def template(kind: str) -> nibabel.Nifti1Image:
    """A map of the template, every second voxel in each slice."""
    file = inside("nilearn", f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz")
    return nibabel.load(file).slicer[::2, ::2]


def tissue() -> np.ndarray:
    """The likelier of gray and white matter, 1 and 2, where their shares reach a half."""
    gray, white = (np.asarray(template(kind).dataobj).astype(int) for kind in ("gm", "wm"))
    return (np.where(gray >= white, 1, 2) * (np.maximum(gray, white) > 127)).astype(np.uint8)


def clusters(values: np.ndarray) -> np.ndarray:
    """Three clusters of intensities (Lloyd's algorithm in one dimension), from dark to bright."""
    centres = np.quantile(values, [0.1, 0.5, 0.9])
    for _ in range(50):
        nearest = np.abs(values[..., None] - centres).argmin(-1)
        centres = np.array([values[nearest == cluster].mean() for cluster in range(3)])
    return nearest.astype(np.uint8)


def write_raw(raw: Path) -> None:
    image, label = template("t1"), tissue()
    nifti, nnunet, scan = raw / "mni", raw / "Dataset007_Head", raw / "scan"
    for folder in (nifti, nnunet / "imagesTr", nnunet / "labelsTr", scan):
        folder.mkdir(parents=True)
    for number, first in enumerate(range(46, 116, 5)):
        part = image.slicer[:, :, first : first + 3]
        truth = nibabel.Nifti1Image(label[:, :, first : first + 3], part.affine)
        if number % 2 == 0:
            part.to_filename(nifti / f"slab{first:03d}_T1.nii.gz")
            nibabel.Nifti1Image(10 * np.asarray(truth.dataobj), part.affine).to_filename(
                nifti / f"slab{first:03d}_tissue.nii.gz"
            )
            continue
        flip = nibabel.orientations.axcodes2ornt("LPI")
        turned = nibabel.orientations.ornt_transform(nibabel.io_orientation(part.affine), flip)
        part.as_reoriented(turned).to_filename(nnunet / f"imagesTr/slab_{first}_0000.nii.gz")
        truth.as_reoriented(turned).to_filename(nnunet / f"labelsTr/slab_{first}.nii.gz")
    labels = {"background": 0, "gray matter": 1, "white matter": 2}
    description = {
        "channel_names": {"0": "T1w"},
        "labels": labels,
        "numTraining": 7,
        "file_ending": ".nii.gz",
    }
    (nnunet / "dataset.json").write_text(json.dumps(description))
    whole = nibabel.load(inside("nibabel", "tests/data/anatomical.nii"))
    found = nibabel.Nifti1Image(clusters(np.asarray(whole.dataobj, np.float64)), whole.affine)
    for first, end in ((0, 8), (8, 16), (16, 25)):
        for kind, one in (("T1", whole), ("tissue", found)):
            one.slicer[:, :, first:end].to_filename(scan / f"part{first:02d}_{kind}.nii.gz")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A project folder in which everything up to the scores was made by the commands that users type."""
    root = tmp_path_factory.mktemp("added")
    config, results, raw = root / "config", root / "results", root / "raw"
    config.mkdir()
    for name, content in CONFIG.items():
        (config / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False) if content else "")
    write_raw(raw)
    both = ["--config", str(config), "--results", str(results)]
    add = ["add-dataset", "--anatomy", "tissue", *both, "--modality", "T1w"]
    names = ["--classes", "10=gray matter", "20=white matter"]
    assert main([*add, str(raw / "mni"), *names]) == 0
    assert main([*add, str(raw / "Dataset007_Head")]) == 0
    assert main([*add, str(raw / "scan"), "--classes", "1=gray matter", "2=white matter"]) == 0
    (config / "experiments.yaml").write_text(GRID)
    assert main(["settings", "--write", *both]) == 0
    assert main(["prepare", "mni", "head", "scan", *both]) == 0
    for cell in CELLS:
        assert main(["train", cell, "--results", str(results), "--device", "cpu"]) == 0
        assert main(["evaluate", cell, *both, "--device", "cpu"]) == 0
    return root


def test_both_formats_hold_the_same_head(site):
    """Slabs of one template, some NIfTI, some nnU-Net's and flipped, are prepared the same way up."""
    data = {name: Prepared(site / "results" / "data" / name) for name in ("mni", "head", "scan")}
    assert [d.classes for d in data.values()] == [["background", "gray matter", "white matter"]] * 3
    assert [
        sum(len(d.volumes(split)) for split in ("train", "validation", "test")) for d in data.values()
    ] == [7, 7, 3]
    t1, truth = np.asarray(template("t1").dataobj), tissue()
    for name in ("mni", "head"):
        volume = data[name].volumes("test")[0]
        first = int(volume.id.removeprefix("slab").lstrip("_"))
        image, label = data[name].volume("test", volume.id)
        # axial slices from below, rows from the front, columns from the patient's right
        expected = t1[:, :, first : first + 3].transpose(2, 1, 0)[:, ::-1, ::-1]
        order = np.corrcoef(image.ravel(), expected.ravel())[0, 1]
        assert order > 0.99  # percentiles only scale and clip
        np.testing.assert_array_equal(label, truth[:, :, first : first + 3].transpose(2, 1, 0)[:, ::-1, ::-1])


def test_scores(site):
    """Every model is scored on all three; on heads it knows what it learned, in either format."""
    dice = {}
    for cell in CELLS:
        rows = scores.read(site / "results" / "runs" / cell / "scores.csv")
        assert {row.target for row in rows} == {"mni", "head", "scan"}
        source = cell.split("/")[0]
        dice |= {(source, target): scores.dice(rows, target, "test") for target in ("mni", "head", "scan")}
    for pair in (("mni", "mni"), ("mni", "head"), ("head", "head"), ("head", "mni")):
        assert dice[pair] > 45, dice  # a mask of one class everywhere gets about 30
    assert all(0 < dice[source, "scan"] < dice[source, source] for source in ("mni", "head"))
