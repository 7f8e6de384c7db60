"""`segshift check` after preparation: patients and scans over all datasets of a configuration."""

import json

import pytest

from segshift import cli
from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.stages import check


@pytest.fixture
def prepared(project):
    """Datasets `one` and `two`, prepared with a patient of one pool each; `three` is not prepared."""
    grid = grids.read(project.config)
    grids.write_settings(grid, project.results)

    def write(name, **patients):
        splits = {}
        for split in ("train", "validation", "test"):
            ids = patients.get(split, [f"{name}_{split}"])
            splits[split] = {"volumes": [{"id": id, "patient": f"pool:{id}"} for id in ids]}
        folder = project.results.data(name)
        manifest = {"plane": "axial", "classes": ["background", "gray", "white"], "splits": splits}
        manifest["settings"] = (folder / "settings.yaml").read_text()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    write("one")
    write("two")
    return write


def test_nothing_is_in_two_places(project, prepared, capsys):
    check.data(grids.read(project.config), project.results)
    assert "2 prepared datasets, 6 volumes: no patient and no scan in two places" in capsys.readouterr().out


def test_nothing_is_prepared(project, capsys):
    check.data(grids.read(project.config), Results(project.results.root / "elsewhere"))
    assert capsys.readouterr().out == ""


def test_a_patient_in_a_siblings_test(project, prepared):
    prepared("two", test=["one_validation", "other"])
    with pytest.raises(
        SegShiftError, match="patient pool:one_validation is in validation of one and in test of"
    ):
        check.data(grids.read(project.config), project.results)


def test_a_patient_in_two_splits(project, prepared):
    prepared("one", test=["one_train"])
    with pytest.raises(SegShiftError, match="one: patient pool:one_train is in two splits, train and test"):
        check.data(grids.read(project.config), project.results)


def test_the_command_says_it_in_one_sentence(project, prepared, capsys):
    prepared("two", test=["one_train"])
    assert cli.main(["check", "--config", str(project.config), "--results", str(project.results.root)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert said.err.startswith("segshift check: patient pool:one_train is in train of one and in test of its")
