"""nnU-Net's raw format, both versions: channels, labels, folds, test cases, and what is said of bad ones."""

import json

import nibabel
import numpy as np
import pytest

from segshift.datasets import nnunet
from segshift.errors import SegShiftError

AFFINE = np.array([[-0.9, 0.1, 0, 30], [0.1, 0.9, 0, -40], [0, 0, 3, 5], [0, 0, 0, 1.0]])
VERSION_1 = {
    "name": "Prostate",
    "modality": {"0": "T2", "1": "ADC"},
    "labels": {"0": "background", "1": "PZ", "2": "TZ"},
    "numTraining": 4,
    "training": [{"image": "./imagesTr/p_1.nii.gz", "label": "./labelsTr/p_1.nii.gz"}],
}
VERSION_2 = {
    "channel_names": {"0": "T2", "1": "ADC"},
    "labels": {"background": 0, "PZ": 1, "TZ": 2},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}
FOLDS = [{"train": ["p_2", "p_3", "p_10"], "val": ["p_1"]}, {"train": ["p_1", "p_2"], "val": ["p_3", "p_10"]}]


def image_of(name, channel):
    return np.random.default_rng([len(name), channel]).random((4, 5, 3)).astype(np.float32)


def label_of(name):
    return np.random.default_rng(len(name)).integers(0, 3, (4, 5, 3)).astype(np.uint8)


def write(folder, description, test=("q_1",)):
    for names, end in ((("p_1", "p_2", "p_3", "p_10"), "Tr"), (test, "Ts")):
        for name in names:
            for kind in (f"images{end}", f"labels{end}"):
                (folder / kind).mkdir(parents=True, exist_ok=True)
            for channel in (0, 1):
                image = nibabel.Nifti1Image(image_of(name, channel), AFFINE)
                image.to_filename(folder / f"images{end}" / f"{name}_{channel:04d}.nii.gz")
            nibabel.Nifti1Image(label_of(name), AFFINE).to_filename(
                folder / f"labels{end}" / f"{name}.nii.gz"
            )
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize("description", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_both_versions(tmp_path, description):
    folder = write(tmp_path, description)
    assert nnunet.names(folder) == {0: "background", 1: "PZ", 2: "TZ"}
    assert nnunet.guess(folder) == {"channel": 0}
    cases = nnunet.cases(folder, channel="ADC")
    assert [(case.id, case.split) for case in cases] == [
        ("p_1", None),
        ("p_2", None),
        ("p_3", None),
        ("p_10", None),
        ("q_1", "test"),
    ]
    volume = nnunet.read(cases[0])
    for z, y, x in [(0, 0, 0), (2, 1, 3), (1, 4, 2)]:
        place = np.linalg.inv(AFFINE) @ volume.affine @ [z, y, x, 1]
        i, j, k = np.rint(place[:3]).astype(int)
        assert place[:3] == pytest.approx([i, j, k], abs=1e-6)
        assert volume.image[z, y, x] == image_of("p_1", 1)[i, j, k]
        assert volume.label[z, y, x] == label_of("p_1")[i, j, k]
    assert nnunet.describe(cases[0])["orientation"] == "LAS"


def test_a_fold_tells_training_from_validation(tmp_path):
    folder = write(tmp_path, VERSION_2)
    (folder / "splits_final.json").write_text(json.dumps(FOLDS))
    for fold, validation in ((0, {"p_1"}), (1, {"p_3", "p_10"})):
        cases = nnunet.cases(folder, channel=0, fold=fold)
        assert {case.id for case in cases if case.split == "validation"} == validation
        assert {case.id for case in cases if case.split == "test"} == {"q_1"}


def test_patients_and_hidden_test_images(tmp_path):
    folder = write(tmp_path, VERSION_2)
    for file in (folder / "labelsTs").iterdir():
        file.unlink()
    (folder / "labelsTs").rmdir()
    cases = nnunet.cases(folder, channel=0, patient=r"_(\d)")
    assert [case.patient for case in cases] == ["1", "2", "3", "1"]


def damage_json(folder, **changes):
    content = json.loads((folder / "dataset.json").read_text()) | changes
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def folds(folder, content):
    (folder / "splits_final.json").write_text(content if isinstance(content, str) else json.dumps(content))


BAD = {
    "channel": (lambda f: None, {}, "has channels 0 T2, 1 ADC; say which with `channel`"),
    "no channel": (lambda f: None, {"channel": 2}, "has channels 0 T2, 1 ADC, not 2"),
    "plane": (lambda f: None, {"channel": 0, "plane": "axail"}, "unknown plane 'axail'"),
    "no json": (lambda f: (f / "dataset.json").unlink(), {"channel": 0}, "no such file: .*dataset.json"),
    "bad json": (lambda f: (f / "dataset.json").write_text("{"), {"channel": 0}, "dataset.json is no JSON: "),
    "keys": (lambda f: damage_json(f, channel_names=None), {"channel": 0}, "has no channel_names"),
    "region": (
        lambda f: damage_json(f, labels={"background": 0, "whole": [1, 2]}),
        {"channel": 0},
        "label 'whole' is the region \\[1, 2\\]; a label must be one value",
    ),
    "ignore": (
        lambda f: damage_json(f, labels={"ignore": 3}),
        {"channel": 0},
        "label `ignore` is not supported",
    ),
    "ending": (
        lambda f: damage_json(f, file_ending=".png"),
        {"channel": 0},
        "file_ending .png is read by none .*for pictures use `module: png`",
    ),
    "image": (
        lambda f: (f / "imagesTr/p_3_0000.nii.gz").unlink(),
        {"channel": 0},
        "no such file: .*p_3_0000.nii.gz, the image of p_3.nii.gz",
    ),
    "fold": (lambda f: folds(f, FOLDS), {"channel": 0, "fold": 2}, "has folds 0 to 1, not 2"),
    "no folds": (lambda f: None, {"channel": 0, "fold": 1}, "no such file: .*splits_final.json"),
    "twice": (
        lambda f: folds(f, [{"train": ["p_1", "p_2", "p_3", "p_10"], "val": ["p_2"]}]),
        {"channel": 0},
        "fold 0 has p_2 in train and in val",
    ),
    "not listed": (
        lambda f: folds(f, [{"train": ["p_1", "p_2"], "val": ["p_3"]}]),
        {"channel": 0},
        "fold 0 does not list p_10",
    ),
    "nobody": (
        lambda f: folds(f, [{"train": ["p_1", "p_2", "p_3", "p_10", "p_4"], "val": []}]),
        {"channel": 0},
        "fold 0 lists p_4, of which there is no label",
    ),
    "folds": (lambda f: folds(f, "{}"), {"channel": 0}, "splits_final.json is no list of folds"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_folder(tmp_path, name):
    folder = write(tmp_path, VERSION_2)
    damage, parameters, sentence = BAD[name]
    damage(folder)
    with pytest.raises(SegShiftError, match=sentence):
        nnunet.cases(folder, **parameters)


def test_a_truncated_channel(tmp_path):
    folder = write(tmp_path, VERSION_2)
    file = folder / "imagesTr/p_1_0000.nii.gz"
    file.write_bytes(file.read_bytes()[:50])
    case, *_ = nnunet.cases(folder, channel=0)
    with pytest.raises(SegShiftError, match="p_1_0000.nii.gz cannot be read as NIfTI, it is truncated"):
        nnunet.read(case)
