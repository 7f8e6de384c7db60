import math

import pytest
import yaml

from segshift import grid as grids
from segshift.grid import Model, Score
from segshift.tables import aggregate, asked
from segshift.tables.aggregate import LARGEST, UNKNOWN_PRETRAINING
from segshift.tables.asked import Tracked
from segshift.tables.table import Evidence, Volume

DATA = {
    "module": "hdf5_stack",
    "files": {"train": "a.h5", "validation": "b.h5", "test": "c.h5"},
    "modality": "T1",
    "plane": "axial",
}
AXES = {"tuning": ["full"], "head": ["own"]}


@pytest.fixture
def grid(tmp_path):
    """A function from an experiment to its grid; datasets: brain one, two, three; prostate nci, usz."""

    def make(experiment, **entries):
        brain, prostate = DATA | {"anatomy": "brain"}, DATA | {"anatomy": "prostate"}
        content = {
            "project": {"seeds": [0]},
            "anatomies": {"brain": {"classes": ["0", "1"]}, "prostate": {"classes": ["0", "1"]}},
            "datasets": {"one": brain, "two": brain, "three": brain, "nci": prostate, "usz": prostate},
            "backbones": {name: {"module": "unet", "image_size": 32} for name in ("a", "b", "c", "d")},
            "tunings": {"full": {"module": "full"}},
            "heads": {"own": {"module": "own"}},
            "adaptations": {"finetune": {"module": "finetune"}, "self_training": {"module": "self_training"}},
            "weights": {},
            "training": [{"use": {"learning_rate": 0.01, "epochs": 1, "batch_size": 2}}],
            "experiments": {"x": {"title": "X", **experiment}},
            "labels": {},
        } | entries
        for name, part in content.items():
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(part, sort_keys=False))
        return grids.read(tmp_path)

    return make


def tracked(scores, trainable=None, failures=None):
    """``{("one", "a:0:finetune", "two"): 30.0}``: source, backbone[:seed[:adapt]], target."""
    found = {}
    for (source, backbone, target), dice in scores.items():
        name, seed, adapt = [*backbone.split(":"), *("0", "")[backbone.count(":") :]]
        adapted = (adapt, target) if adapt else (None, None)
        model = Model(source, name, "full", "own", int(seed), *adapted)
        found[Score(model, target)] = Evidence(model.path, target, dice, (Volume("v", "p", dice),), "run")
    return Tracked(found, trainable or {}, failures or {})


def build(made, known):
    return aggregate.build(made, "x", asked.of_grid(made, ["x"]), known)


def values(table, key):
    return [cell.value for cell in table.column(key)]


def numbers(table, row=0):
    return {
        c.key: cell.value
        for c, cell in zip(table.columns, table.rows[row].cells, strict=True)
        if c.kind == "dice"
    }


BRAIN = {
    ("one", "one"): 80.0,
    ("one", "two"): 20.0,
    ("one", "three"): 30.0,
    ("two", "two"): 60.0,
    ("two", "one"): 40.0,
    ("two", "three"): 10.0,
}
PROSTATE = {("usz", "usz"): 90.0, ("usz", "nci"): 50.0}


def of(backbone, pairs, shift=0.0):
    return {(source, backbone, target): dice + shift for (source, target), dice in pairs.items()}


def test_statistics_are_plain_means_over_scores_with_anatomies_pooled(grid):
    made = grid({"grid": {"source": ["one", "two", "usz"], "backbone": ["a"], **AXES}})
    table = build(made, tracked(of("a", BRAIN | PROSTATE)))
    assert numbers(table) == {
        "brain_ds": 70.0,
        "brain_dg": 25.0,
        "brain_ov": 40.0,  # 240 / 6, not (70 + 25) / 2
        "prostate_ds": 90.0,
        "prostate_dg": 50.0,
        "prostate_ov": 70.0,
        "ds": pytest.approx(230 / 3, abs=1e-13),
        "dg": 30.0,
        "ov": 47.5,
    }
    assert {(score.cell, score.target) for score in table.column("dg")[0].scores} == {
        (f"{source}/a/full/own/0", target) for source, target in BRAIN | PROSTATE if source != target
    }
    assert not table.partial
    assert not table.footnotes


def test_one_anatomy_has_no_columns_of_its_own_and_a_lone_dataset_no_dg(grid):
    made = grid({"grid": {"source": ["one"], "backbone": ["a"], **AXES}, "targets": {"brain": ["one"]}})
    table = build(made, tracked({("one", "a", "one"): 5.0}))
    assert [column.key for column in table.columns] == [
        "rank",
        "backbone",
        "tuning",
        "head",
        "trainable",
        "ds",
        "ov",
    ]


def test_ranks_are_by_overall_and_ties_share_theirs(grid):
    made = grid({"grid": {"source": ["one", "two"], "backbone": ["a", "b", "c", "d"], **AXES}})
    scores = of("a", BRAIN, -1) | of("b", BRAIN) | of("c", BRAIN, 1e-12) | of("d", BRAIN, -1 + 1e-6)
    table = build(made, tracked(scores))
    assert list(zip(table.column("rank"), table.column("backbone"), strict=True)) == [
        (1, "b"),
        (1, "c"),
        (3, "d"),
        (4, "a"),
    ]


def test_a_statistic_is_taken_seed_by_seed(grid):
    made = grid({"grid": {"source": ["one", "two"], "backbone": ["a"], "seed": [0, 1, 2], **AXES}})
    scores = of("a:0", BRAIN) | of("a:1", BRAIN, 3.0) | of("a:2", BRAIN, 9.0)
    number = build(made, tracked(scores)).column("ds")[0]
    assert number.value == 74.0  # seeds: 70, 73, 79
    assert number.spread == math.sqrt((16 + 1 + 25) / 2)
    assert len(number.scores) == 6


def test_an_adapted_row_takes_ds_from_before_adaptation(grid):
    axes = {"adapt": ["none", "finetune", "self_training"], **AXES}
    made = grid(
        {"grid": {"source": ["one", "two"], "backbone": ["a"], **axes}, "targets": {"brain": ["one", "two"]}}
    )
    scores = of("a", {pair: dice for pair, dice in BRAIN.items() if "three" not in pair})
    scores |= of("a:0:finetune", {("one", "two"): 55.0, ("two", "one"): 65.0})
    scores |= of("a:0:self_training", {("one", "two"): 25.0, ("two", "one"): 27.0})
    cell = Model("one", "a", "full", "own", 0)
    counts = {cell: 100} | {Model(*cell[:5], "finetune", "two"): 7}
    table = build(made, tracked(scores, counts))
    assert table.column("adapt") == ["finetune", "none", "self_training"]
    assert values(table, "ds") == [70.0, 70.0, 70.0]
    assert values(table, "dg") == [60.0, 30.0, 26.0]
    assert values(table, "ov") == [65.0, 50.0, 48.0]
    assert table.column("trainable") == [7, 100, None]


def test_a_missing_score_is_a_dash_that_names_its_cell(grid):
    made = grid({"grid": {"source": ["one", "two"], "backbone": ["a", "b"], **AXES}})
    scores = of("a", BRAIN) | of("b", BRAIN)
    for target in ("three", "one"):
        del scores["two", "b", target]
    failures = {Model("two", "b", "full", "own", 0): "OSError: no space"}
    table = build(made, tracked(scores, failures=failures))
    assert table.partial
    assert table.column("rank") == [1, None]
    assert (values(table, "ds"), values(table, "dg"), values(table, "ov")) == (
        [70.0, 70.0],
        [25.0, None],
        [40.0, None],
    )
    assert table.footnotes == ["Missing: two/b/full/own/0 on one, three (OSError: no space)."]
    lost = asked.lacks(asked.of_grid(made, ["x"]), tracked(scores).scores)
    assert [(one.model.path, one.target) for one in lost] == [
        ("two/b/full/own/0", t) for t in ("one", "three")
    ]


def test_what_cannot_be_made_yet_is_told_and_is_no_error(grid):
    backbones = {
        "a": {"module": "unet", "image_size": 32},
        "b": {"module": "sam", "image_size": 32, "planned": True},
    }
    made = grid({"grid": {"source": ["one", "two"], "backbone": ["a", "b"], **AXES}}, backbones=backbones)
    table = build(made, tracked(of("a", BRAIN)))
    assert table.column("backbone") == ["a"]
    assert table.remarks == ("1 row is not yet possible and left out; what is awaited: backbone b.",)
    assert not table.partial


def test_a_mean_that_lacks_a_planned_target_is_a_dash(grid):
    brain, prostate = DATA | {"anatomy": "brain"}, DATA | {"anatomy": "prostate"}
    datasets = {
        "one": brain,
        "two": brain,
        "three": brain | {"planned": True},
        "nci": prostate,
        "usz": prostate,
    }
    made = grid({"grid": {"source": ["one", "two"], "backbone": ["a"], **AXES}}, datasets=datasets)
    scores = of("a", {pair: dice for pair, dice in BRAIN.items() if "three" not in pair})
    table = build(made, tracked(scores))
    assert numbers(table) == {"ds": 70.0, "dg": None, "ov": None}
    assert table.footnotes == ["Not yet possible; what is awaited: target three."]


def weights(pretrained_on):
    backbones = {
        "a": {"module": "unet", "image_size": 32, "weights": "w"},
        "b": {"module": "unet", "image_size": 32},
    }
    entry = {"file": "w.pth", "licence": "MIT", "pretrained_on": pretrained_on}
    return {"backbones": backbones, "weights": {"w": entry}}


def test_a_contaminated_score_is_in_no_mean_and_its_reason_stands_below(grid):
    experiment = {
        "grid": {"source": ["one", "two"], "backbone": ["a", "b"], **AXES},
        "contaminated": "drop_target",
    }
    made = grid(experiment, **weights({"three": "same_dataset"}))
    clean = {pair: dice for pair, dice in BRAIN.items() if "three" not in pair}
    table = build(made, tracked(of("a", clean) | of("b", BRAIN)))
    assert table.column("backbone") == ["a", "b"]
    assert values(table, "dg") == [30.0, 25.0]
    assert values(table, "ov") == [50.0, 40.0]
    assert table.footnotes == ["Without three: w was pretrained on three."]
    assert set(table.rows[0].notes) == {"dg", "ov"}


def test_unknown_pretraining_is_marked(grid):
    experiment = {
        "grid": {"source": ["one", "two"], "backbone": ["a", "b"], **AXES},
        "contaminated": "drop_target",
    }
    table = build(grid(experiment, **weights("unknown")), tracked(of("a", BRAIN) | of("b", BRAIN)))
    assert [row.notes.get("backbone") for row in table.rows] == [(UNKNOWN_PRETRAINING,), None]


def test_counts_that_differ_and_rows_of_fewer_sources_say_so(grid):
    rows = [
        {"source": ["one", "two"], "backbone": ["a"], **AXES},
        {"source": ["one"], "backbone": ["b"], **AXES},
    ]
    made = grid({"grid": rows})
    counts = {Model(source, "a", "full", "own", 0): n for source, n in (("one", 10), ("two", 12))}
    one = {pair: dice for pair, dice in BRAIN.items() if pair[0] == "one"}
    table = build(made, tracked(of("a", BRAIN) | of("b", one), counts))
    assert table.column("backbone") == ["b", "a"]
    assert table.column("trainable") == [None, 12]
    assert table.rows[1].notes == {"trainable": (LARGEST,)}
    assert table.rows[0].notes == {"rank": ("Trained on one only; other rows are means over more sources.",)}
