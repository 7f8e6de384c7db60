"""What `evaluation` in project.yaml may say, and that it reaches `segshift evaluate` unchanged."""

import re
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from segshift import cli, config
from segshift.errors import SegShiftError
from segshift.evaluation import Asked, Evaluation
from segshift.measures import ABSENT, METRICS, key

ROOT = Path(__file__).parents[1]


def test_nothing_written_is_dice_and_iou_on_the_prepared_grid():
    assert Evaluation().asked("brain") == Asked(("dice", "iou"), ("prepared",), 1.0)
    assert Evaluation().asked("brain").words == []
    assert Evaluation(tolerance=3).asked("brain").words == []  # NSD's alone


def test_what_is_always_there_need_not_be_named_and_order_means_nothing():
    one = Evaluation(metrics=["nsd", "hd95"], spaces=["native"], tolerance=2)
    other = Evaluation(metrics=["dice", "hd95", "iou", "nsd"], spaces=["native", "prepared"], tolerance=2)
    assert one.asked("x") == other.asked("x")
    words = "--metrics dice iou hd95 nsd --spaces prepared native --tolerance 2"
    assert one.asked("x").words == words.split()


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"metrics": ["slice_dice"]},
        {"spaces": ["native"]},
        {"metrics": ["assd", "nsd"], "spaces": ["native"], "tolerance": 0.7},
    ],
)
def test_words_say_the_same(written):
    asked = Evaluation(**written).asked("x")
    arguments = cli.parser().parse_args(["evaluate", "a/b/c/d/0", "x", "y", *asked.words])
    given = {name: getattr(arguments, name) for name in ("metrics", "spaces", "tolerance")}
    assert Evaluation(**{name: one for name, one in given.items() if one is not None}).asked("x") == asked
    assert arguments.target == ["x", "y"]


def test_a_tolerance_by_anatomy():
    evaluation = Evaluation(metrics=["nsd"], tolerance={"brain": 1, "prostate": 2.5})
    assert evaluation.asked("prostate").tolerance == 2.5
    with pytest.raises(SegShiftError, match="tolerance has no number for the anatomy 'spine'"):
        evaluation.asked("spine")


@pytest.mark.parametrize(
    "written", [{"metrics": ["hd96"]}, {"spaces": ["raw"]}, {"tolerance": 0}, {"tolerance": {"brain": -1}}]
)
def test_mistakes(written):
    with pytest.raises(ValidationError):
        Evaluation(**written)


def test_names_of_means_are_distinct():
    names = [
        key(metric, absent, space)
        for metric in METRICS
        for absent in ABSENT
        for space in ("prepared", "native")
    ]
    assert len(set(names)) == len(names) == 36
    assert key("dice") == "dice"
    assert key("hd95", "truth_only", "native") == "native/hd95_truth_only"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("{metrics: [hd96]}", "project.yaml: evaluation: metrics: 0: input should be 'dice'"),
        ("{metric: [hd95]}", "evaluation: unknown key 'metric'; did you mean 'metrics'"),
        ("[hd95]", "project.yaml: evaluation: input should be"),
        ("{tolerance: {brian: 1}}", "evaluation: tolerance: unknown anatomy 'brian'; did you mean 'brain'"),
        ("{tolerance: {}}", "evaluation: tolerance has no number for the brain"),
    ],
)
def test_mistakes_are_sentences_before_the_first_job(tmp_path, written, sentence):
    folder = shutil.copytree(ROOT / "config/demo", tmp_path / "config")
    file = folder / "project.yaml"
    file.write_text(file.read_text() + f"evaluation: {written}\n")
    with pytest.raises(SegShiftError, match=re.escape(sentence)):
        config.read(folder)
    if "tolerance" not in written:
        with pytest.raises(SegShiftError, match=re.escape(sentence)):
            config.evaluation(folder)
