"""`segshift predict` on files of every kind: what comes out lies where the input lies, and one bad file costs
no other."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
import yaml
from PIL import Image
from scipy.spatial.transform import Rotation

from segshift import inference
from segshift import model as models
from segshift.cli import main
from segshift.paths import Results
from segshift.settings import digest, read_settings

AXIAL, SAGITTAL, DRAWN = "head/unet/full/own/0", "side/unet/full/own/0", "drawn/unet/full/own/0"
SEEDS = [0, 1]
SIZE = 16
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() * [1.0, 1.5, 2.0]
OBLIQUE[:3, 3] = [-11.5, 7.25, 3.0]
DATA = {"anatomy": "organ", "modality": "MR", "preprocess": ["percentile", {"crop_pad": {"size": SIZE}}]}
NIFTI = {
    **DATA,
    "module": "nifti",
    "image_files": "{split}/{id}.nii.gz",
    "label_files": "labels/{split}/{id}.nii.gz",
}
CONFIG = {
    "project": {"seeds": SEEDS, "raw": "raw"},
    "anatomies": {name: {"classes": ["background", "core", "rim"]} for name in ("organ", "other")},
    "datasets": {
        "head": {**NIFTI, "plane": "axial", "folder": "scans", "patients": "all"},
        "side": {**NIFTI, "plane": "sagittal", "folder": "scans", "patients": "all", "anatomy": "other"},
        "drawn": {
            **DATA,
            "preprocess": [{"crop_pad": {"size": SIZE}}],
            "module": "png",
            "plane": "axial",
            "image_files": "{split}/{id}.png",
            "label_files": "labels/{split}/{id}.png",
        },
    },
    "backbones": {"unet": {"module": "unet", "image_size": SIZE, "width": 4, "depth": 2}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {},
    "weights": {},
    "training": [{"use": {"learning_rate": 0.02, "epochs": 1, "batch_size": 4}}],
    "experiments": {
        "all": {
            "title": "Three readers",
            "grid": {
                "source": ["head", "side", "drawn"],
                "backbone": ["unet"],
                "tuning": ["full"],
                "head": ["own"],
            },
        }
    },
    "labels": {},
}


def body(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy ball, brighter inside, and its label."""
    places = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(place**2 for place in places))
    label = (radius < 0.9).astype(np.uint8) + (radius < 0.5)
    noise = np.random.default_rng(seed).normal(0, 0.1, shape)
    return (label + noise).astype(np.float32), np.array([0, 2, 1], np.uint8)[label]


@torch.no_grad()
def untrained(results: Results, cell: str, seed: int) -> None:
    """A checkpoint of random weights whose classes compete: logits of noise have mean 0 and spread 1."""
    settings = read_settings(results.run(cell))
    (model,) = models.build([settings], results)
    images = torch.rand(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    (logits,) = model.eval()(images)
    (convolution,) = (part for part in model.head.modules() if isinstance(part, torch.nn.Conv2d))
    mean, spread = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
    convolution.weight /= spread[:, None, None, None]
    convolution.bias[:] = (convolution.bias - mean) / spread
    weights = models.kept(model, settings)
    content = {"cell": cell, "settings": digest(settings), "weights": weights}
    models.save(content, results.run(cell) / "model.ckpt")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("site")
    (root / "config").mkdir()
    for name, content in CONFIG.items():
        (root / f"config/{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    image, _ = body((12, 14, 10), 2)
    nibabel.save(nibabel.Nifti1Image(image, OBLIQUE), root / "scan.nii.gz")
    flat, _ = body((14, 12), 2)
    Image.fromarray(np.clip(100 * flat + 20, 0, 255).astype(np.uint8)).save(root / "drawn.png")
    both = ["--config", str(root / "config"), "--results", str(root / "results")]
    assert main(["settings", "--write", *both]) == 0
    for number, cell in enumerate((AXIAL, SAGITTAL, DRAWN, AXIAL.replace("/0", "/1"))):
        untrained(Results(root / "results"), cell, number)
    return root


@pytest.fixture
def scan(site):
    return site / "scan.nii.gz"


def predict(site: Path, cell: str, image: Path, output: Path, *more: str) -> int:
    words = ["predict", cell, str(image), "-o", str(output), "--results", str(site / "results"), *more]
    return main([*words, "--device", "cpu"])


def voxels(file: Path) -> np.ndarray:
    return np.asarray(nibabel.load(file).dataobj)


def model(site: Path, cell: str):
    folder = site / "results/runs" / cell
    where = Results(site / "results")
    return inference.load(folder, read_settings(folder), where, torch.device("cpu"), ["model"])[0].model


# ---- formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mgz", ".nii"])
def test_each_format_holds_the_same_mask_in_the_same_place(site, scan, tmp_path, ending):
    assert predict(site, AXIAL, scan, tmp_path / "mask.nii.gz") == 0
    assert predict(site, AXIAL, scan, tmp_path / f"mask{ending}") == 0
    expected = voxels(tmp_path / "mask.nii.gz")
    assert len(np.unique(expected)) > 1
    if ending in (".nrrd", ".mha"):
        image = SimpleITK.ReadImage(str(tmp_path / f"mask{ending}"))
        found = SimpleITK.GetArrayFromImage(image).T
        corner = [n - 1 for n in expected.shape]
        place = np.array(image.TransformIndexToPhysicalPoint(corner)) * [-1, -1, 1]  # LPS to RAS
        np.testing.assert_allclose(place, (OBLIQUE @ [*corner, 1])[:3], atol=1e-4)
    else:
        found = voxels(tmp_path / f"mask{ending}")
        np.testing.assert_allclose(nibabel.load(tmp_path / f"mask{ending}").affine, OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8


def test_an_nrrd_in_is_an_nrrd_out_and_the_mask_that_nifti_gives(site, scan, tmp_path):
    image = SimpleITK.ReadImage(str(scan))
    SimpleITK.WriteImage(image, str(tmp_path / "scan.nrrd"))
    assert predict(site, AXIAL, tmp_path / "scan.nrrd", tmp_path / "mask.nrrd") == 0
    assert predict(site, AXIAL, scan, tmp_path / "mask.nii.gz") == 0
    mask = SimpleITK.ReadImage(str(tmp_path / "mask.nrrd"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(mask).T, voxels(tmp_path / "mask.nii.gz"))
    for get in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(mask, get)(), getattr(image, get)(), atol=1e-5)


def test_the_header_keeps_both_places_that_a_nifti_may_name(site, scan, tmp_path):
    image = nibabel.load(scan)
    image.set_qform(np.diag([1.0, 1.5, 2.0, 1.0]), 1)
    image.set_sform(OBLIQUE, 4)
    nibabel.save(image, tmp_path / "scan.nii")
    assert predict(site, AXIAL, tmp_path / "scan.nii", tmp_path / "mask.nii") == 0
    image, mask = (nibabel.load(tmp_path / f"{name}.nii") for name in ("scan", "mask"))
    for name in ("qform_code", "sform_code"):
        assert mask.header[name] == image.header[name]
    np.testing.assert_array_equal(mask.get_qform(), image.get_qform())
    np.testing.assert_array_equal(mask.get_sform(), image.get_sform())


@pytest.mark.parametrize("shape", [(12, 14, 1), (12, 14), (12, 14, 3, 1), (40, 5, 2)])
def test_any_number_of_slices_and_any_size(site, tmp_path, shape):
    image, _ = body(shape[:3], 7)
    nibabel.save(nibabel.Nifti1Image(image.reshape(shape), OBLIQUE), tmp_path / "scan.nii.gz")
    assert predict(site, AXIAL, tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz") == 0
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    assert mask.shape == shape[:3]
    np.testing.assert_array_equal(mask.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)


def test_a_picture_becomes_a_picture(site, tmp_path):
    gray = np.asarray(Image.open(site / "drawn.png"))
    padded = np.zeros((SIZE, SIZE), np.float32)
    padded[1:15, 2:14] = gray / np.float32(255)
    logits = model(site, DRAWN)(torch.from_numpy(padded.astype(np.float16).astype(np.float32))[None, None])[
        -1
    ]
    expected = logits[0].argmax(0).numpy()[1:15, 2:14]
    Image.fromarray(np.stack([gray] * 3, -1)).save(tmp_path / "colours.png")  # gray, saved as colours
    Image.fromarray(gray).save(tmp_path / "pages.tif", save_all=True, append_images=[Image.fromarray(gray)])
    for name, ending, pages in (
        ("colours.png", ".png", 1),
        ("colours.png", ".tif", 1),
        ("pages.tif", ".tif", 2),
    ):
        assert predict(site, DRAWN, tmp_path / name, tmp_path / f"mask{ending}") == 0
        with Image.open(tmp_path / f"mask{ending}") as mask:
            assert mask.mode == "L"
            assert getattr(mask, "n_frames", 1) == pages
            for page in range(pages):
                mask.seek(page)
                np.testing.assert_array_equal(np.asarray(mask), expected)


# ---- several models ----------------------------------------------------------------------------------------


def test_an_ensemble_of_seeds_is_the_mean_of_their_probabilities(site, scan, tmp_path):
    shares = []
    for seed in SEEDS:
        cell = f"head/unet/full/own/{seed}"
        assert predict(site, cell, scan, tmp_path / f"{seed}.nii.gz", "--probabilities") == 0
        shares.append(voxels(tmp_path / f"{seed}_probabilities.nii.gz"))
        np.testing.assert_allclose(shares[-1].sum(-1), 1, atol=1e-4)
        np.testing.assert_array_equal(shares[-1].argmax(-1), voxels(tmp_path / f"{seed}.nii.gz"))
    assert np.abs(shares[0] - shares[1]).max() > 0.02
    assert predict(site, AXIAL, scan, tmp_path / "both.nii.gz", "--ensemble", "1", "--probabilities") == 0
    found = nibabel.load(tmp_path / "both_probabilities.nii.gz")
    assert found.shape == (*nibabel.load(scan).shape, 3)
    np.testing.assert_array_equal(found.affine, nibabel.load(scan).affine)
    np.testing.assert_allclose(np.asarray(found.dataobj), np.mean(shares, 0), atol=1e-4)


def test_models_of_two_planes_meet_on_the_scans_voxels(site, scan, tmp_path):
    shares = []
    for cell in (AXIAL, SAGITTAL):
        assert predict(site, cell, scan, tmp_path / "one.nii", "--probabilities") == 0
        shares.append(voxels(tmp_path / "one_probabilities.nii.gz"))
    assert predict(site, AXIAL, scan, tmp_path / "both.nii", "--ensemble", SAGITTAL, "--probabilities") == 0
    mean = np.mean(shares, 0)
    np.testing.assert_allclose(voxels(tmp_path / "both_probabilities.nii.gz"), mean, atol=1e-4)
    ordered = np.sort(mean, -1)
    clear = ordered[..., -1] - ordered[..., -2] > 1e-3
    np.testing.assert_array_equal(voxels(tmp_path / "both.nii")[clear], mean.argmax(-1)[clear])


# ---- folders -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(site, scan, tmp_path):
    (folder := tmp_path / "in").mkdir()
    for name in ("b10", "b9"):
        (folder / f"{name}.nii.gz").write_bytes(scan.read_bytes())
    (folder / "notes.txt").write_text("no scan")
    return folder


def test_a_folder_becomes_a_folder_and_goes_on_where_it_was(site, folder, tmp_path, capsys, monkeypatch):
    assert predict(site, AXIAL, folder, tmp_path / "out") == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "b10.nii.gz", "b9.nii.gz", "predictions.json",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] b9.nii.gz: b9.nii.gz in ")
    assert "the others in about" in lines[0]
    (tmp_path / "out/b9.nii.gz").unlink()
    kept = (tmp_path / "out/b10.nii.gz").stat().st_mtime_ns
    assert predict(site, AXIAL, folder, tmp_path / "out") == 0
    assert "[2/2] b10.nii.gz: b10.nii.gz is there already, skipped" in capsys.readouterr().out
    assert (tmp_path / "out/b10.nii.gz").stat().st_mtime_ns == kept
    assert (tmp_path / "out/b9.nii.gz").exists()
    # what another model made is not continued
    before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert predict(site, SAGITTAL, folder, tmp_path / "out") == 1
    assert "holds masks that other models" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in (tmp_path / "out").iterdir()} == before
    assert predict(site, SAGITTAL, folder, tmp_path / "out", "--overwrite") == 0
    assert list(json.loads((tmp_path / "out/predictions.json").read_text())["models"]) == [SAGITTAL]


def test_bad_files_cost_no_other_and_the_exit_code_says_so(site, folder, tmp_path, capsys):
    image = nibabel.load(folder / "b9.nii.gz")
    holes = np.asarray(image.dataobj).copy()
    holes[2, 3, 4] = np.nan
    for name, array in (
        ("a_nan", holes),
        ("b_channels", np.stack([holes] * 2, -1)),
        ("c_constant", np.ones_like(holes)),
    ):
        nibabel.save(nibabel.Nifti1Image(array, OBLIQUE), folder / f"{name}.nii.gz")
    (folder / "d_zero.nii.gz").write_bytes(b"")
    colours = np.zeros((4, 5, 3, 3), np.uint8).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(colours, OBLIQUE), folder / "e_colours.nii.gz")
    painted = np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)
    Image.fromarray(painted).save(folder / "f_painted.png")
    assert predict(site, AXIAL, folder, tmp_path / "out") == 1
    made = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert made == ["b10.nii.gz", "b9.nii.gz", "predictions.json"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("segshift predict: 6 of 8 scans could not be segmented: ")
    for sentence in (
        "a_nan.nii.gz has 1 voxels that are NaN or infinite",
        "b_channels.nii.gz has 2 channels; say which with",
        "c_constant.nii.gz is empty: every voxel has the same value, 1",
        "d_zero.nii.gz cannot be read as NIfTI",
        "e_colours.nii.gz holds colours (R, G, B)",
        "f_painted.png has 3 channels",
    ):
        assert sentence in line


def test_names_of_nnunet(site, scan, tmp_path, capsys):
    (folder := tmp_path / "imagesTs").mkdir()
    image = nibabel.load(scan)
    for case, channels in (("a_01", 2), ("b_02", 2), ("c_03", 1)):
        for channel in range(channels):
            array = np.asarray(image.dataobj) if channel == 1 else np.asarray(image.dataobj)[::-1]
            nibabel.save(nibabel.Nifti1Image(array, image.affine), folder / f"{case}_{channel:04d}.nii.gz")
    assert predict(site, AXIAL, folder, tmp_path / "out") == 1
    assert "channels 0 to 1 of 3 cases by its names; say which with --channel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert predict(site, AXIAL, folder, tmp_path / "out", "--channel", "1") == 1
    assert "1 of 3 scans could not be segmented: c_03 has no channel 1" in capsys.readouterr().err
    masks = sorted(file.name for file in (tmp_path / "out").glob("*.nii.gz"))
    assert masks == ["a_01.nii.gz", "b_02.nii.gz"]
    assert predict(site, AXIAL, scan, tmp_path / "one.nii.gz") == 0
    np.testing.assert_array_equal(voxels(tmp_path / "out/a_01.nii.gz"), voxels(tmp_path / "one.nii.gz"))


def test_a_failed_write_leaves_the_old_mask(site, scan, tmp_path, monkeypatch):
    mask = tmp_path / "mask.nii.gz"
    mask.write_bytes(b"the old one")

    def half(image, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(nibabel, "save", half)
    with pytest.raises(OSError, match="no space left"):
        predict(site, AXIAL, scan, mask)
    assert [file.name for file in tmp_path.iterdir()] == ["mask.nii.gz"]
    assert mask.read_bytes() == b"the old one"


@pytest.mark.parametrize(
    ("output", "more", "sentence"),
    [
        ("mask.png", [], "of a scan must be named .nii.gz, .nii, .mgz, .nrrd, .mha"),
        ("mask", [], "must be named"),
        ("mask.nii", ["--ensemble", "0"], f"the cell {AXIAL} is named twice"),
        ("mask.nii", ["--ensemble", "7"], "head/unet/full/own/7/settings.yaml is not there"),
        ("mask.nii", ["--scale", "min_max"], f"from which {AXIAL} learned, has percentile of its own"),
    ],
)
def test_what_is_asked_for_and_cannot_be(site, scan, tmp_path, capsys, output, more, sentence):
    assert predict(site, AXIAL, scan, tmp_path / output, *more) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert not list(tmp_path.iterdir())


def test_raw_values_are_scaled_where_that_is_asked_for_and_only_there(site, scan, tmp_path, capsys):
    raw = nibabel.load(scan)
    image = 1000 * np.asarray(raw.dataobj) + 50
    nibabel.save(nibabel.Nifti1Image(image, raw.affine), tmp_path / "raw.nii")
    low, high = np.percentile(image, [1, 99])
    by_hand = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(by_hand, raw.affine), tmp_path / "scaled.nii")
    assert predict(site, DRAWN, tmp_path / "raw.nii", tmp_path / "mask.nii") == 1
    assert "no step that brings them there" in (said := capsys.readouterr().err)
    assert "--scale min_max or percentile" in said and not (tmp_path / "mask.nii").exists()
    assert predict(site, DRAWN, tmp_path / "raw.nii", tmp_path / "mask.nii", "--scale", "percentile") == 0
    assert predict(site, DRAWN, tmp_path / "scaled.nii", tmp_path / "same.nii") == 0
    assert (voxels(tmp_path / "mask.nii") == voxels(tmp_path / "same.nii")).all()
    assert len(np.unique(voxels(tmp_path / "mask.nii"))) > 1


def test_an_empty_folder_and_one_that_would_be_overwritten(site, folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for image, output, sentence in (
        (tmp_path / "empty", tmp_path / "out", "holds no scan"),
        (folder, folder, "where the scans are"),
    ):
        assert predict(site, AXIAL, image, output) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert sentence in line
    assert not (tmp_path / "out").exists()
