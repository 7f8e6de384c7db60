"""Models that other tools made, in a configuration: no job makes them, tables wait, mistakes are told."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.grid import Model
from segshift.paths import Results
from segshift.steering.states import States
from segshift.tables import plan

ROOT = Path(__file__).parents[1]
OUTSIDE = """
outside:
  title: Outside
  {policy}
  grid:
    - {{source: [t1_a, t1_b], backbone: [nnunet_2d], tuning: [external], head: [external], seed: [0]}}
    - {{source: [t1_a], backbone: [unet], tuning: [full], head: [own], seed: [0]}}
"""
ENTRY = "nnunet_2d: {pretrained_on: {}}\n"
THEIRS = Model("t1_a", "nnunet_2d", "external", "external", 0)


@pytest.fixture
def made(tmp_path):
    """A function to the demo's grid with an experiment and entries of its own."""

    def make(external=ENTRY, experiment=OUTSIDE, policy="contaminated: keep", **files):
        folder = tmp_path / "config"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "config/demo", folder)
        (folder / "external.yaml").write_text(external)
        for name, text in {"experiments": experiment.format(policy=policy), **files}.items():
            file = folder / f"{name}.yaml"
            file.write_text((file.read_text() if file.exists() else "") + text)
        return grids.read(folder)

    return make


def test_no_job_makes_them_and_tables_are_made_of_them(made):
    grid = made()
    assert THEIRS in grid.models(["outside"]) and not any(model.external for model in grid.jobs.values())
    assert THEIRS.path not in grid.targets
    assert grid.scored("outside") == [
        THEIRS.path,
        THEIRS._replace(source="t1_b").path,
        "t1_a/unet/full/own/0",
    ]
    assert [target for model, target in grid.experiments["outside"].scores if model == THEIRS] == [
        "t1_a",
        "t1_b",
        "t2",
        "flair",
    ]


def test_without_their_file_nothing_is_another(made):
    grid = grids.read(ROOT / "config/demo")
    assert "external" not in grid.config.tunings
    assert made().jobs.keys() == grid.jobs.keys()


def test_a_table_names_them(made):
    table = "{title: X, experiment: outside, columns: [backbone, ov], where: "
    grid = made(tables=f"mine: {table}{{backbone: [nnunet_2d], tuning: [external]}}}}\n")
    assert [plan.shows(grid, "mine", model, "t2") for model in grid.models(["outside"])] == [
        True,
        True,
        False,
    ]
    with pytest.raises(
        SegShiftError, match="mine: where: unknown backbone 'nnunet'; .*lite_medsam_declared, nnunet_2d"
    ):
        made(tables=f"mine: {table}{{backbone: [nnunet]}}}}\n")


def test_a_planned_one_is_waited_for(made, tmp_path):
    grid = made("nnunet_2d: {pretrained_on: {}, planned: true}\n")
    assert grid.planned(THEIRS) == ["backbone nnunet_2d"]
    assert grid.scored("outside") == ["t1_a/unet/full/own/0"]
    states = States(made(), Results(tmp_path))
    assert states.of(THEIRS).state == "planned"
    assert "segshift score" in states.of(THEIRS).note


def test_what_they_had_seen_is_left_out_and_said(made):
    seen = "nnunet_2d: {pretrained_on: {t2: same_dataset}}\n"
    grid = made(seen, policy="contaminated: drop_target")
    assert [(one.target, one.reason) for one in grid.experiments["outside"].left_out] == [
        ("t2", "nnunet_2d was pretrained on t2")
    ] * 2
    assert grid.pretrained_on(THEIRS) == {"t2": "nnunet_2d"}
    assert made("nnunet_2d: {pretrained_on: unknown}\n").pretrained_on(THEIRS) == "unknown"
    assert made().pretrained_on(THEIRS) == {}


MIXED = "[nnunet_2d], tuning: [external], head: [external]"


@pytest.mark.parametrize(
    ("external", "experiment", "files", "sentence"),
    [
        ("unet: {pretrained_on: {}}\n", "", {}, "backbones.yaml: unet names models that other tools made"),
        (
            ENTRY,
            "",
            {"tunings": "external: {module: full}\n"},
            "tunings.yaml: external names models that other",
        ),
        ("nnunet_2d: {}\n", "", {}, "external.yaml: nnunet_2d: pretrained_on: field required"),
        (
            "nnunet_2d: {pretrained_on: {t3: x}}\n",
            "",
            {},
            "pretrained_on: unknown dataset 't3'; known: t1_a",
        ),
        ("nnU-Net: {pretrained_on: {}}\n", "", {}, "the name 'nnU-Net' is a folder's too"),
        ("nnunet_2d: {pretrained_on: {}, parameters: 3}\n", "", {}, "nnunet_2d: unknown key 'parameters'"),
        (
            ENTRY,
            OUTSIDE.replace(MIXED, MIXED.replace("[nnunet_2d]", "[nnunet_2d, unet]")),
            {},
            "a grid of their own",
        ),
        (
            ENTRY,
            OUTSIDE.replace(MIXED, MIXED.replace("tuning: [external]", "tuning: [full]")),
            {},
            "a grid of their",
        ),
        (ENTRY, OUTSIDE.replace(MIXED, f"{MIXED}, adapt: [finetune]"), {}, "no adapt"),
        ("{}\n", OUTSIDE, {}, "experiments.yaml: outside: "),
    ],
)
def test_a_mistake_is_one_sentence(made, external, experiment, files, sentence):
    with pytest.raises(SegShiftError, match=re.escape(sentence)) as found:
        made(external, experiment, **files)
    assert "\n" not in str(found.value)


@pytest.mark.workflow
def test_no_rule_makes_or_removes_their_scores(made, tmp_path):
    """Snakemake takes the file as it is, and names it where it is missing."""
    made()
    words = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "-n", "--quiet", "rules"]
    words += ["--directory", tmp_path / "here", "--config", "folder=../config"]
    tracked = tmp_path / "here" / "results" / "runs"
    for source in ("t1_a", "t1_b"):
        file = tracked / THEIRS._replace(source=source).path / "scores.csv"
        file.parent.mkdir(parents=True)
        if source == "t1_a":
            file.write_text("")
    told = subprocess.run(
        [*map(str, words), "--", "results/tracking/outside.synced"], capture_output=True, text=True, cwd=ROOT
    )
    said = told.stdout + told.stderr
    assert told.returncode and "MissingInputException" in said
    assert "t1_b/nnunet_2d/external/external/0/scores.csv" in said
    assert "t1_a/nnunet_2d/external/external/0/scores.csv" not in said
