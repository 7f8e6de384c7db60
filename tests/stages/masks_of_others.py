"""Two small datasets of scans for tests of masks that other tools made, and helpers to make such masks."""

import nibabel
import numpy as np
import yaml
from scipy.spatial.transform import Rotation

from segshift import cli, scores

NIFTI = {
    "module": "nifti",
    "image_files": "{split}/{id}_image.nii.gz",
    "label_files": "{split}/{id}_label.nii.gz",
    "anatomy": "brain",
    "modality": "T1",
    "plane": "axial",
    "labels": {0: "background", 3: "gray", 8: "white"},
    "preprocess": ["percentile", {"resample": {"pixel": 1.5}}, {"crop_pad": {"size": [9, 11]}}],
    "lost_labels": 1.0,
}
SHIFT = {
    "title": "Shift",
    "grid": {
        "source": ["one"],
        "backbone": ["nnunet_2d", "blurred"],
        "tuning": ["external"],
        "head": ["external"],
    },
    "targets": {"brain": ["one", "two"]},
}
EXTERNAL = {
    "nnunet_2d": {"trainable": 30_600_000, "pretrained_on": {}},
    "blurred": {"pretrained_on": "unknown"},
}
COUNTS = {"train": 2, "validation": 2, "test": 4}
SHAPE = (11, 13, 5)


def blob(random):
    """Labels 0, 3 and 8 in a box that lies off the centre, so that no flip hides."""
    label = np.zeros(SHAPE, np.uint8)
    x, y, z = random.integers(1, [4, 4, 2])
    label[x : x + 5, y : y + 6, z : z + 3] = 3
    label[x + 1 : x + 4, y : y + 3, z : z + 2] = 8
    return label


def write(folder, seed):
    for number, (split, count) in enumerate(COUNTS.items()):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            random = np.random.default_rng([seed, number, index])
            label = blob(random)
            affine = np.eye(4)
            turned = Rotation.from_euler("xyz", random.uniform(-12, 12, 3), degrees=True).as_matrix()
            affine[:3, :3] = turned @ np.diag([-1.2, 1.2, 4.0])
            affine[:3, 3] = random.uniform(-50, 50, 3)
            image = label * 20.0 + random.normal(50, 5, SHAPE)
            for what, array in (("image", image.astype(np.float32)), ("label", label)):
                file = folder / split / f"s{seed}_{split}{index}_{what}.nii.gz"
                nibabel.Nifti1Image(array, affine).to_filename(file)


def prepared_and_exported(root, project_class, database):
    """A project of two prepared datasets, both exported both ways."""
    made = project_class(root)
    (made.config / "datasets.yaml").write_text(yaml.safe_dump({"one": NIFTI, "two": NIFTI}))
    (made.config / "experiments.yaml").write_text(yaml.safe_dump({"shift": SHIFT}))
    (made.config / "external.yaml").write_text(yaml.safe_dump(EXTERNAL))
    for seed, name in enumerate(("one", "two")):
        write(root / "data" / name, seed)
    say(made, "settings", "--write")
    say(made, "prepare", "one", "two")
    for name in ("one", "two"):
        for space in ("prepared", "native"):
            folder = root / "exported" / f"Dataset50{len(space)}_{name}"
            say(made, "export-dataset", name, "--nnunet", folder, "--space", space)
    made.results.tracking.mkdir(parents=True, exist_ok=True)
    (made.results.tracking / "mlflow.db").write_bytes(database.read_bytes())
    return made


def say(made, *words, code=0):
    where = ["--config", str(made.config), "--results", str(made.results.root)]
    assert cli.main([*map(str, words), *where]) == code


def exported(made, name="one", space="prepared"):
    return made.config.parent / "exported" / f"Dataset50{len(space)}_{name}"


def rows_of(made, name="nnunet_2d", source="one"):
    return scores.read(made.results.run(f"{source}/{name}/external/external/0") / "scores.csv")


def changed(folder, out, change, orientation=None):
    """The labels of a folder, each changed, on the same voxels; in another orientation if asked."""
    out.mkdir(parents=True)
    for file in sorted(folder.glob("*.nii.gz")):
        image = nibabel.load(file)
        image = nibabel.Nifti1Image(change(np.asarray(image.dataobj)), image.affine)
        if orientation:
            codes = nibabel.orientations.axcodes2ornt(orientation)
            image = image.as_reoriented(
                nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), codes)
            )
        image.to_filename(out / file.name)
    return out


def dice(one, other):
    return 200 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
