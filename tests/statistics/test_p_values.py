import csv
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from segshift.statistics import noise
from segshift.statistics.friedman import critical_difference, friedman
from segshift.statistics.permutation import holm, sign_flip, signed_ranks, wilcoxon
from segshift.statistics.sample import Cell

ROOT = Path(__file__).parents[2]


def test_six_patients_against_all_swaps_one_by_one():
    one, other = np.array([[80.0, 71, 64, 90, 55, 70], [76.0, 72, 60, 83, 50, 71]])
    reached = []
    for swapped in itertools.product((False, True), repeat=6):
        a, b = np.where(swapped, other, one), np.where(swapped, one, other)
        reached.append(abs(a.mean() - b.mean()) >= abs(one.mean() - other.mean()) - 1e-9)
    found = sign_flip((one - other) / 6)
    assert (found.p, found.swaps, found.exact) == (np.mean(reached), 64, True)


def test_drawn_swaps_come_near_to_all_and_never_say_zero():
    parts = np.random.default_rng(0).normal(0.4, 1, 14)
    drawn = sign_flip(np.append(parts, [0.0, 0.0]))  # two more that change nothing
    assert not drawn.exact
    assert sign_flip(np.append([0.0, 0.0], parts[::-1])) == drawn  # in any order, so under any names
    assert drawn.p == pytest.approx(sign_flip(parts).p, abs=0.01)
    assert sign_flip(np.full(40, 1.0)).p == 1 / 20_001
    assert sign_flip(np.zeros(0)).p == sign_flip(np.zeros(3)).p == 1


def test_holm_by_hand_and_wilcoxon_a_dataset():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    values = {"one": [1.0, 2, 3, -0.5, 4, 5], "two": [0.0, 0.0]}
    found = wilcoxon(values)
    raw = stats.wilcoxon(values["one"]).pvalue
    assert found == {"one": pytest.approx((raw, 2 * raw)), "two": (1.0, 1.0)}


def runs(head=None):
    with (ROOT / "config" / "published" / "runs.csv").open(newline="") as stream:
        return [
            line for line in csv.DictReader(stream) if line["table"] == "A.1" and head in (None, line["head"])
        ]


def test_rounding_is_no_difference():
    """The mean of seven equal seeds is not to the bit that of one."""
    dice = np.random.default_rng(3).uniform(50, 90, 20)
    apart = np.array([sum(one / 7 for _ in range(7)) - one for one in dice])
    assert np.any(apart) and np.abs(apart).max() < 1e-12
    assert signed_ranks(apart) == 1.0


def test_the_thesis_s_heads_with_cells_as_blocks():
    cells = {}
    for line in runs():
        block = line["backbone"], line["source"], line["target"]
        cells.setdefault(line["head"], {})[block] = float(line["dice"])
    found = friedman(cells, trainings=12)
    assert (found.blocks, found.trainings, found.left_out) == (31, 12, 0)
    assert round(found.critical_difference, 2) == 2.99
    assert (found.names[0], round(found.mean_ranks[0], 2)) == ("hqhsam", 3.77)
    assert len(found.within) == 9
    assert "31 blocks of 12 independent trainings" in found.said
    p = stats.friedmanchisquare(*(list(own.values()) for own in cells.values())).pvalue
    assert found.p == pytest.approx(p)


def test_the_thesis_s_heads_with_trained_models_as_blocks():
    models = {}
    for line in runs():
        models.setdefault(line["head"], {}).setdefault((line["backbone"], line["source"]), []).append(
            float(line["dice"])
        )
    found = friedman({head: {m: np.mean(v) for m, v in own.items()} for head, own in models.items()})
    assert (found.blocks, found.trainings) == (12, 12)
    assert round(found.critical_difference, 2) == 4.81
    assert (found.names[0], round(found.mean_ranks[0], 2)) == ("hqhsam", 3.25)
    assert len(found.within) == 10


def test_the_thesis_s_two_best_heads_differ_by_little():
    first, second = (
        {(x["backbone"], x["source"], x["target"]): float(x["dice"]) for x in runs(h)}
        for h in ("hqhsam", "hqsam")
    )
    assert len(first) == 31
    assert round(np.mean([first[key] - second[key] for key in first]), 2) == 0.35
    assert signed_ranks([first[key] - second[key] for key in first]) == pytest.approx(0.20, abs=0.01)


def test_blocks_that_a_row_lacks_are_left_out_and_said():
    values = {name: {block: float(i * block % 7) for block in range(1, 9)} for i, name in enumerate("abc", 2)}
    del values["a"][3]
    found = friedman(values)
    assert (found.blocks, found.left_out) == (7, 1)
    assert "1 blocks that some row lacks" in found.said
    with pytest.raises(ValueError, match="three rows and two blocks"):
        friedman({"a": {1: 1.0}, "b": {1: 2.0}})
    assert friedman({name: dict.fromkeys(range(4), 1.0) for name in "abc"}).p == 1


def test_nemenyi_by_the_critical_difference():
    generator = np.random.default_rng(1)
    values = {name: dict(enumerate(generator.normal(i, 1, 15))) for i, name in enumerate("abcd")}
    found = friedman(values)
    apart = np.subtract.outer(found.mean_ranks, found.mean_ranks)
    assert ((found.nemenyi < 0.05) == (abs(apart) > critical_difference(4, 15))).all()


def test_noise_by_hand():
    cells = [
        ("place", Cell(name, seed, 1.0, value, "a", (("p", value - 1), ("q", value + 1))))
        for name, seed, value in (("x", 0, 50.0), ("x", 1, 52.0), ("y", 0, 70.0), ("y", 1, 70.0))
    ]
    found = noise.noise(cells)["place"]
    assert found.seed == pytest.approx(1.0)  # variances 2 and 0, one degree of freedom each
    assert found.patient == pytest.approx(2**0.5)
    assert found.cells == 2
    lone = noise.noise([("place", Cell("x", 0, 1.0, 50.0))])["place"]
    assert (lone.seed, lone.patient) == (None, None)


def test_a_failed_run_is_suspect_and_a_small_group_has_none():
    group = {"a": 80.0, "b": 81.0, "c": 79.0, "d": 82.0, "e": 20.0}
    (found,) = noise.suspects({"pair": group})
    assert (found.name, found.median) == ("e", 80.0)
    assert found.distance == pytest.approx(60 / 1.4826)
    assert not noise.suspects({"pair": {"a": 80.0, "b": 81.0, "c": 79.0, "e": 20.0}})
    assert not noise.suspects({"pair": dict.fromkeys("abcdef", 80.0)})
    assert not noise.suspects({"pair": {**group, "e": 140.0}})  # far above is no accident


def test_the_noise_floor_of_the_document(capsys):
    """Its example, run as it stands; independently: two runs differ with twice the variance of one."""
    text = (ROOT / "docs" / "statistics.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(code.replace("config/published", str(ROOT / "config" / "published")), {})
    printed = [round(float(line), 2) for line in capsys.readouterr().out.split()]
    assert printed == [float(line.rpartition("# ")[2]) for line in code.splitlines() if "# " in line]
    runs_of = {}
    with (ROOT / "config" / "published" / "runs.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            if line["experiment"] == "tunings" and line["backbone"] != "dinov2_b":
                place = line["backbone"], line["source"], line["target"]
                runs_of.setdefault(place, {})[line["tuning"]] = float(line["dice"])
    for number, diagonal in zip(printed, (True, False), strict=True):
        apart = [o["rein"] - o["rein_lora"] for (_, s, t), o in runs_of.items() if (s == t) == diagonal]
        assert number == pytest.approx(np.sqrt(np.mean(np.square(apart)) / 2), abs=0.005)
