"""Every bad input through the command line: exit code 1, one line on stderr that names the culprit, and not
a byte of the project changed."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.damaged_project import ADAPTED, CELL, OTHER, SIZE, Project


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("built") / "project")
    project.build()
    return project


@pytest.fixture
def project(built, tmp_path):
    shutil.copytree(built.root, tmp_path / "project")
    return Project(tmp_path / "project")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def nothing(project: Project) -> None:
    """What is wrong stands in the command itself."""


def editing(file: str, *keys: str, value: object):
    return lambda project: project.edit(file, *keys, value=value)


def at(path: str, damage):
    return lambda project: damage(project.root / path)


def as_nifti(text: bytes):
    return lambda file: file.write_bytes(text)


# What was damaged, the command, and what its one line must say.
CASES = {
    # ---- names and keys of the configuration
    "unknown name in an experiment": (
        editing("experiments", "shift", "grid", "backbone", value=["unnet"]),
        "cells",
        r"experiments\.yaml: shift: unknown backbone 'unnet'; did you mean 'unet'\? known: unet",
    ),
    "unknown source in an experiment": (
        editing("experiments", "shift", "grid", "source", value=["ome"]),
        "settings --write",
        r"shift: unknown source 'ome'; did you mean 'one'\? known: one, two, scan",
    ),
    "unknown target in an experiment": (
        editing("experiments", "shift", "targets", value={"organ": ["one", "tow"]}),
        "cells",
        r"shift: targets: unknown dataset 'tow'; did you mean 'two'\?",
    ),
    "unknown axis": (
        editing("experiments", "shift", "grid", "back_bone", value=["unet"]),
        "cells",
        r"shift: unknown axis 'back_bone'; did you mean 'backbone'\?",
    ),
    "unknown module": (
        editing("heads", "own", "module", value="owl"),
        "cells",
        r"heads\.yaml: own: unknown module 'owl'; did you mean 'own'\?",
    ),
    "unknown weights": (
        editing("backbones", "unet", "weights", value="foundations"),
        "cells",
        r"backbones\.yaml: unet: unknown weights 'foundations'; did you mean 'foundation'\?",
    ),
    "two siblings with other classes": (
        editing("datasets", "two", "labels", value={0: "background"}),
        "settings --write",
        r"datasets\.yaml: two: its classes differ from those of its sibling one \(organ\)",
    ),
    "no YAML": (
        at("config/heads.yaml", lambda file: file.write_text("own: {module: own")),
        "cells",
        r"heads\.yaml is not valid YAML: .*line 1",
    ),
    "config file missing": (at("config/heads.yaml", Path.unlink), "cells", r"heads\.yaml is missing"),
    "config folder missing": (at("config", shutil.rmtree), "cells", r"no configuration folder .*config"),
    "a value of another kind": (
        editing("training", 0, "use", "epochs", value="many"),
        "settings --write",
        r"training\.yaml: entry 1: epochs: .*integer",
    ),
    # ---- names on the command line
    "unknown experiment": (nothing, "cells shft", r"unknown experiment 'shft'; did you mean 'shift'\?"),
    "unknown experiment to track": (
        nothing,
        "track shft",
        r"unknown experiment 'shft'; did you mean 'shift'",
    ),
    "unknown experiment to tabulate": (nothing, "tabulate shft", r"unknown experiment 'shft'; did you mean"),
    "unknown dataset to prepare": (nothing, "prepare ome", r"unknown dataset 'ome'; did you mean 'one'\?"),
    "unknown weights to fetch": (nothing, "fetch foo", r"unknown weights 'foo'.*known: foundation"),
    "unknown cell to show": (
        nothing,
        "settings one/unnet/full/own/0",
        r"one/unnet/full/own/0: unknown backbone 'unnet'; did you mean 'unet'\?",
    ),
    "no cell at all": (nothing, "train one/unet", r"one/unet is no cell; write source/backbone/tuning/head"),
    "a cell that no experiment asks for": (
        nothing,
        "train one/unet/full/own/7",
        r"one/unet/full/own/7/settings\.yaml is not there.*segshift settings --write",
    ),
    "a cell that was not trained": (
        at(f"results/runs/{CELL}/model.ckpt", Path.unlink),
        f"evaluate {CELL}",
        rf"{CELL}/model\.ckpt is not there; train the cell first",
    ),
    "adapt without an adaptation": (
        nothing,
        f"adapt {CELL}",
        rf"{CELL} names no adaptation; say segshift train",
    ),
    "a target that is not prepared": (
        nothing,
        f"evaluate {CELL} scan",
        r"scan: no .*run: segshift prepare scan",
    ),
    "a table without scores": (nothing, "tabulate shift", r"shift: \d+ scores are missing|not tracked"),
    "no tables": (nothing, "show", r"no tables in .*results/tables"),
    # ---- raw data
    "raw folder missing": (at("raw/one", shutil.rmtree), "prepare one", r"no such folder: .*raw/one"),
    "raw file missing": (
        at("raw/one/test.hdf5", Path.unlink),
        "prepare one",
        r"no such file: .*raw/one/test\.hdf5",
    ),
    "truncated HDF5": (
        at("raw/one/test.hdf5", truncate),
        "prepare one",
        r"raw/one/test\.hdf5 cannot be read as HDF5, it is truncated",
    ),
    "label outside the classes": (
        lambda project: project.raw("test", "labels", (0, 0, 0), 7),
        "prepare one",
        r"test_000 \(.*test\.hdf5\): the label holds the value 7, which is no class; known values: 0, 1",
    ),
    "NaN voxels": (
        lambda project: project.raw("train", "images", (2, 1, 1), np.nan),
        "prepare one",
        r"volume train_001 \(patient train_001, train\.hdf5\): 1 voxels of the image are NaN or infinite",
    ),
    "constant volume": (
        lambda project: project.raw("train", "images", slice(2, 4), 0.5),
        "prepare one",
        r"volume train_001 \(.*train\.hdf5\): every voxel of the image has the same value, 0\.5",
    ),
    "image and label of different shape": (
        lambda project: project.write_scan("b", SIZE - 1),
        "prepare scan",
        r"volume b \(.*\): .*b\.nii\.gz and its label b_label\.nii\.gz differ in shape",
    ),
    "label file missing": (
        at("raw/scan/b_label.nii.gz", Path.unlink),
        "prepare scan",
        r"no such file: .*b_label\.nii\.gz",
    ),
    "a NIfTI that is not one": (
        at("raw/scan/b.nii.gz", as_nifti(b"DICOM, perhaps")),
        "prepare scan",
        r"b\.nii\.gz cannot be read as NIfTI",
    ),
    "a truncated NIfTI": (
        at("raw/scan/b.nii.gz", truncate),
        "prepare scan",
        r"b\.nii\.gz cannot be read as NIfTI",
    ),
    "one patient in two splits": (
        lambda project: (
            project.edit("splits/scan", "test", value=["c", "a"]),
            project.run("settings", "--write"),
        ),
        "prepare scan",
        r"patient a is in two splits, (train and test|test and train)",
    ),
    # ---- weights and checkpoints
    "weights with a wrong sha256": (
        nothing,
        "fetch foundation",
        rf"weights foundation: .*foundation\.pth has sha256 [0-9a-f]{{64}}, expected {'0' * 64}",
    ),
    "weights that are nowhere": (
        at("weights/foundation.pth", Path.unlink),
        "fetch foundation",
        r"weights foundation: not found; tried the file .*foundation\.pth",
    ),
    "a checkpoint of another cell, evaluated": (
        lambda project: shutil.copy(
            project.results / f"runs/{OTHER}/model.ckpt", project.results / f"runs/{CELL}/model.ckpt"
        ),
        f"evaluate {CELL}",
        rf"{CELL}/model\.ckpt belongs to the cell {OTHER}, not to {CELL}",
    ),
    "a checkpoint of another cell, predicting": (
        lambda project: shutil.copy(
            project.results / f"runs/{OTHER}/model.ckpt", project.results / f"runs/{CELL}/model.ckpt"
        ),
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.nii.gz",
        rf"belongs to the cell {OTHER}, not to {CELL}",
    ),
    "a truncated checkpoint": (
        at(f"results/runs/{CELL}/model.ckpt", truncate),
        f"evaluate {CELL}",
        rf"{CELL}/model\.ckpt is no readable checkpoint",
    ),
    # ---- prepared data
    "a truncated manifest": (
        at("results/data/one/manifest.json", truncate),
        f"evaluate {CELL}",
        r"data/one: manifest\.json is damaged .*run: segshift prepare one",
    ),
    "a truncated prepared file": (
        at("results/data/one/test.h5", truncate),
        f"evaluate {OTHER} one",
        r"data/one: test\.h5 cannot be read: .*run: segshift prepare one",
    ),
    "other data than the model learned from": (
        lambda project: (project.raw("test", "images", (0, 0, 0), 0.25), project.run("prepare", "one")),
        f"evaluate {CELL}",
        rf"{CELL} was trained on other data of one .*segshift rerun {CELL}",
    ),
    # ---- scans to segment
    "no such scan": (
        nothing,
        f"predict {CELL} ROOT/nowhere.nii -o ROOT/mask.nii",
        r"no such file: .*nowhere\.nii",
    ),
    "a scan that is no NIfTI": (
        at("raw/scan/a.nii.gz", as_nifti(b"DICOM, perhaps")),
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.nii",
        r"a\.nii\.gz cannot be read as NIfTI",
    ),
    "a mask that is no NIfTI": (
        nothing,
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.png",
        r"the mask .*mask\.png of a scan must be named \.nii\.gz, \.nii",
    ),
    "a scan with NaN": (
        lambda project: project.write_scan("a", fill=np.nan),
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.nii",
        r"a\.nii\.gz has 1 voxels that are NaN or infinite",
    ),
    "a scan of other channels": (
        lambda project: project.write_scan("a", channels=3),
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.nii",
        r"a\.nii\.gz has 3 channels; say which",
    ),
    "a scan of zero bytes": (
        at("raw/scan/a.nii.gz", lambda file: file.write_bytes(b"")),
        f"predict {CELL} ROOT/raw/scan/a.nii.gz -o ROOT/mask.nii",
        r"a\.nii\.gz cannot be read as NIfTI",
    ),
    "a folder without scans": (
        lambda project: (project.root / "nothing").mkdir(),
        f"predict {CELL} ROOT/nothing -o ROOT/masks",
        r"nothing holds no scan \(known: ",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_one_sentence_and_nothing_changed(project, name, capfd):
    damage, command, sentence = CASES[name]
    damage(project)
    refuses(project, command, sentence, capfd)


def refuses(project: Project, command: str, sentence: str, capfd) -> None:
    before = project.content()
    capfd.readouterr()
    code = project.run(*command.split())
    lines = capfd.readouterr().err.splitlines()
    assert code == 1
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"segshift {command.split()[0]}: ")
    assert re.search(sentence, lines[0]), lines[0]
    assert project.content() == before


KEYS = {
    "project": (("seedz",), r"seedz'; did you mean 'seeds'"),
    "anatomies": (("organ", "colors"), r"organ: unknown key 'colors'; did you mean 'colours'"),
    "datasets": (("one", "pixels"), r"one: unknown key 'pixels'; did you mean 'pixel'"),
    "backbones": (("unet", "widht"), r"unet: unknown key 'widht'; did you mean 'width'"),
    "tunings": (("full", "rank"), r"full: unknown key 'rank'"),
    "heads": (("own", "width"), r"own: unknown key 'width'"),
    "adaptations": (("finetune", "patient"), r"finetune: unknown key 'patient'; did you mean 'patients'"),
    "weights": (("foundation", "sha"), r"foundation: unknown key 'sha'; did you mean 'sha256'"),
    "training": ((0, "use", "epoch"), r"entry 1: unknown setting 'epoch'; did you mean 'epochs'"),
    "experiments": (("shift", "target"), r"shift: unknown key 'target'; did you mean 'targets'"),
    "labels": (("backbones",), r"unknown kind of name 'backbones'; did you mean 'backbone'"),
}


@pytest.mark.parametrize("file", KEYS)
def test_an_unknown_key_in_each_file(project, file, capfd):
    keys, sentence = KEYS[file]
    project.edit(file, *keys, value={"unet": "U"} if file == "labels" else 1)
    refuses(project, "settings --write", rf"{file}\.yaml: .*{sentence}", capfd)


def test_a_checkpoint_of_another_cell_is_not_adapted(project, capfd):
    """A failed attempt leaves a journal, which says why; no model, and no saved state."""
    models = [project.results / f"runs/{cell}/model.ckpt" for cell in (OTHER, CELL)]
    shutil.copy(*models)
    before = set(project.content())
    assert project.run("adapt", ADAPTED) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert f"belongs to the cell {OTHER}, not to {CELL}" in line
    assert set(project.content()) == before


@pytest.fixture
def silent():
    """A port of this machine that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """A port that nobody listens on: bound, so that nobody else takes it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_an_mlflow_server_that_does_not_answer(project, kind, request, monkeypatch, capfd):
    uri = f"http://127.0.0.1:{request.getfixturevalue(kind)}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = project.content()
    capfd.readouterr()
    assert project.run("track", "shift") == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"segshift track: the tracking server {uri} does not answer; not tracked yet, and kept on disk: "
        "2 of 2 models (one/unet/full/own/0, two/unet/full/own/0)"
    )
    assert {name: data for name, data in project.content().items() if "/tracking/" not in name} == before
    assert not [name for name in project.content() if name.endswith(".part")]


def test_training_does_not_notice_a_server_that_is_away_and_track_completes_it_later(
    project, closed, monkeypatch, capfd
):
    uri = f"http://127.0.0.1:{closed}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert project.run("adapt", ADAPTED) == 0
    assert project.run("evaluate", ADAPTED) == 0
    assert project.run("track") == 1
    said = capfd.readouterr().err
    assert f"the tracking server {uri} does not answer; not tracked yet" in said and ADAPTED in said
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # there again
    assert project.run("track") == 0
    assert "tracked 3 models" in capfd.readouterr().out


@pytest.mark.workflow
def test_snakemake_says_the_same_sentence(project):
    project.edit("experiments", "shift", "grid", "backbone", value=["unnet"])
    before = project.content()
    snakefile = Path(__file__).parents[1] / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", project.root, "-n"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "unknown backbone 'unnet'; did you mean 'unet'? known: unet" in done.stdout
    after = {name: data for name, data in project.content().items() if not name.startswith(".snakemake")}
    assert after == before
