from dataclasses import replace
from pathlib import Path

import pytest

from segshift import grid as grids
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model, Score
from segshift.tables import selection
from segshift.tables.asked import Asked, Tracked
from segshift.tables.table import Evidence, Number

ROOT = Path(__file__).parents[2]
ANATOMY = {"hcp1": "brain", "hcp2": "brain", "abide_c": "brain", "nci": "prostate", "usz": "prostate"}
PAIRS = [(s, t) for s in ANATOMY for t in ANATOMY if ANATOMY[s] == ANATOMY[t]]


@pytest.fixture(scope="module")
def build():
    """A function from a rule and, by tuning, (source, target) -> (test, validation) to table 4.4."""
    config = grids.read(ROOT / "config").config

    def build(rule, scores, average="anatomy_first"):
        entry = config.tables["4.4"].model_copy(update={"rule": rule, "average": average})
        grid = Grid(config.model_copy(update={"tables": {"4.4": entry}}))
        asked, found = [], {}
        for tuning, of in scores.items():
            for source, target in PAIRS:
                model = Model(source, "sam_b", tuning, "hqhsam", 42)
                asked.append(Asked(model, target, anatomy=ANATOMY[source]))
                if dice := of(source, target):
                    test, validation = dice
                    found[Score(model, target)] = Evidence(model.path, target, test, validation=validation)
        return selection.build(grid, "4.4", asked, Tracked(found, {}, {}))

    return build


def named(table):
    return dict(zip([column.key for column in table.columns], table.rows[0].cells, strict=True))


def flat(test, validation):
    return lambda source, target: (test, validation)


def test_the_source_decides_by_validation_and_the_oracle_by_test(build):
    scores = {"frozen": flat(50.0, 70.0), "rein": flat(53.0, 60.0)}
    row = named(build("source_validation", scores))
    assert (row["tuning"], row["oracle"], row["source_validation"]) == ("frozen", "rein", "frozen")
    assert (row["oracle_cost"].value, row["source_validation_cost"].value) == (0.0, 3.0)
    assert named(build("oracle", scores))["tuning"] == "rein"


def test_only_the_source_itself_counts_for_source_validation(build):
    scores = {
        "frozen": lambda s, t: (50.0, 70.0 if s == t else 0.0),
        "rein": lambda s, t: (50.0, 60.0 if s == t else 99.0),
    }
    assert named(build("source_validation", scores))["tuning"] == "frozen"


def test_a_target_has_no_say_in_its_own_choice(build):
    """For hcp1 only hcp2 and abide_c speak. Prostate has no third dataset, so brain speaks for it."""

    def rein(source, target):
        if ANATOMY[source] == "prostate":
            return 60.0, 0.0  # its own validation scores would forbid rein
        return (60.0, 90.0) if "hcp1" in (source, target) else (60.0, 40.0)

    table = build("leave_one_target_out", {"frozen": flat(50.0, 50.0), "rein": rein})
    assert named(table)["tuning"] == "frozen: hcp1; rein: abide_c, hcp2, nci, usz"
    # brain: a third of the scores at 50 in place of 60, prostate: none
    assert named(table)["leave_one_target_out_cost"].value == pytest.approx(10 / 3 / 2)


def test_pooled_weighs_every_score_alike(build):
    def rein(source, target):
        return (56.0, 0.0) if ANATOMY[source] == "brain" else (40.0, 0.0)

    scores = {"frozen": flat(50.0, 1.0), "rein": rein}
    assert named(build("oracle", scores, "pooled"))["oracle"] == "rein"  # 9 of 13 scores are the brain's
    assert named(build("oracle", scores))["oracle"] == "frozen"
    cost = named(build("oracle", scores, "pooled"))["source_validation_cost"]
    assert isinstance(cost, Number)
    assert cost.value == pytest.approx((9 * 56 + 4 * 40) / 13 - 50)


@pytest.mark.parametrize("rule", ["source_validation", "leave_one_target_out"])
def test_test_scores_allow_the_oracle_alone(build, rule):
    scores = {"frozen": flat(50.0, None), "rein": flat(53.0, None)}
    with pytest.raises(
        SegShiftError, match=f"the rule {rule} chooses by validation scores, but these are test"
    ):
        build(rule, scores)
    table = build("oracle", scores)
    assert [column.key for column in table.columns] == ["backbone", "tuning", "tuning_printed"]
    assert named(table)["tuning"] == "rein"


def test_a_missing_score_makes_no_choice(build):
    def frozen(source, target):
        return None if (source, target) == ("hcp1", "hcp1") else (50.0, 1.0)

    table = build("oracle", {"frozen": frozen, "rein": flat(53.0, 2.0)})
    assert named(table)["tuning"] is None
    assert table.footnotes == ["Missing: hcp1/sam_b/frozen/hqhsam/42 on hcp1."]
    assert table.partial


def test_seeds_are_averaged_before_the_choice(build):
    """A tuning whose second seed fails is not chosen for its first."""
    config = grids.read(ROOT / "config").config
    grid = Grid(config)
    asked, found = [], {}
    for tuning, seed, dice in (
        ("frozen", 1, 70.0),
        ("frozen", 2, 20.0),
        ("rein", 1, 50.0),
        ("rein", 2, 52.0),
    ):
        model = Model("hcp1", "sam_b", tuning, "hqhsam", seed)
        one = Asked(model, "hcp1", anatomy="brain")
        asked += [one, replace(one, target="hcp2")]
        found |= {Score(model, t): Evidence(model.path, t, dice) for t in ("hcp1", "hcp2")}
    assert named(selection.build(grid, "4.4", asked, Tracked(found, {}, {})))["tuning"] == "rein"
