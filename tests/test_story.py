"""Sentences follow made-up numbers, whichever way these go."""

import itertools

import pytest

from segshift import grid as grids
from segshift import scores as score_files
from segshift import story as stories
from segshift.errors import SegShiftError
from segshift.identity import Model, Score
from segshift.stages import tabulate
from segshift.story import Found, Story
from segshift.story_numbers import Value, alike, differs

LABELS = {
    "backbone": {"net": "Net", "big": "Big", "twin": "Twin"},
    "tuning": {"frozen": "frozen", "full": "full"},
    "head": {"linear": "linear", "own": "own"},
    "dataset": {"a": "A", "b": "B", "t": "T2"},
    "adapt": {"tune": "tune", "pseudo": "pseudo"},
}
NET, BIG, TWIN = ("net", "full", "own"), ("big", "frozen", "linear"), ("twin", "frozen", "linear")
ENTRY = {
    "winner": "shift",
    "shift": {"rows": [NET], "source": "a", "costs": {"another site": ["b"], "another contrast": ["t"]}},
    "pretraining": {"experiment": "shift", "row": BIG, "twin": TWIN},
    "adaptation": {
        "row": BIG,
        "source": "a",
        "targets": ["b", "t"],
        "labelled": "Three labelled volumes",
        "with": "pseudo",
        "without": "tune",
    },
    "ties": "shift",
    "selection": "shift",
    "caveat": "Nothing follows.",
}
# by row: on a, b and t, and validation on a
NUMBERS = {NET: (80, 50, 10, 81), BIG: (90, 60, 20, 79), TWIN: (70, 40, 5, 70)}
ADAPTED = {"tune": (75, 85), "pseudo": (65, 45)}


def told(numbers=NUMBERS, adapted=ADAPTED, apart=1.0, seeds=(0, 1), **changes):
    """The sentences for numbers that differ by ``apart`` from seed to seed, around the given means."""
    scores, shift, adaptation = {}, [], []

    def put(found, model, target, test, validation=50.0):
        offset = apart * (model.seed - sum(seeds) / len(seeds))
        scores[Score(model, target)] = Found(test + offset, validation + offset)
        found.append(Score(model, target))

    for (row, values), seed in itertools.product(numbers.items(), seeds):
        model = Model("a", *row, seed)
        for target, test in zip("abt", values, strict=False):
            put(shift, model, target, test, values[3])
    for (name, values), seed in itertools.product(adapted.items(), seeds):
        for target, test in zip("bt", values, strict=True):
            put(adaptation, Model("a", *BIG, seed, name, target), target, test)
    story = Story(**ENTRY | changes)
    return stories.tell(story, {"shift": shift, "adaptation": adaptation}, scores, LABELS)


def test_seven_sentences_end_with_the_caveat():
    sentences = told()
    assert len(sentences) == 7 and sentences[-1] == "Nothing follows."


def test_the_winner_leads_or_ties():
    # spread of two seeds that differ by 1: 1/sqrt(2)
    assert told()[0] == (
        "In-domain (DS), Big (frozen, linear) comes first with 90.0 ± 0.7 Dice, "
        "10.0 points before Net (80.0 ± 0.7)."
    )
    close = told(NUMBERS | {NET: (89, 50, 10, 81)})[0]
    assert close.endswith("but cannot be told apart from Net.")
    assert "but cannot be told apart from Net" in told(least=11)[0]
    assert told(NUMBERS | {NET: (95, 50, 10, 81)})[0].startswith("In-domain (DS), Net comes first with 95.0")


def test_a_shift_costs_gains_or_changes_nothing():
    assert told()[1] == (
        "Trained on A: for Net (80.0 ± 0.7 at home) another site costs 30.0 points (B 50.0 ± 0.7) and "
        "another contrast costs 70.0 points (T2 10.0 ± 0.7)."
    )
    other = told(NUMBERS | {NET: (80, 79, 85, 81)}, least=3)[1]
    assert "another site changes nothing that exceeds 3.0, the least that is claimed (B 79.0" in other
    assert "another contrast gains 5.0 points (T2 85.0" in other


def test_pretraining_helps_harms_or_neither():
    sentence = told()[2]
    assert "in-domain it is 20.0 points better (90.0 ± 0.7 against 70.0 ± 0.7)" in sentence
    assert "on other domains it is 17.5 points better (40.0 ± 0.7 against 22.5 ± 0.7)" in sentence
    sentence = told(NUMBERS | {TWIN: (90.5, 70, 50, 70)})[2]
    assert (
        "in-domain it cannot be told apart, at a difference of 0.5 points (the seeds' spread, 1.4)"
        in sentence
    )
    assert "on other domains it is 20.0 points worse" in sentence


def test_adaptation_with_and_without_pseudo_labels():
    sentence = told()[3]
    assert "Big (frozen, linear) from 40.0 ± 0.7 to 80.0 ± 0.7 without pseudo-labels" in sentence
    assert "(tune: wins 40.0 points) and to 55.0 ± 0.7 with them (pseudo: wins 15.0 points)" in sentence
    assert "the latter is 25.0 points worse" in sentence
    assert "B 60.0 → 75.0 → 65.0; T2 20.0 → 85.0 → 45.0" in sentence
    sentence = told(adapted={"tune": (30, 30), "pseudo": (75, 85)})[3]
    assert "tune: loses 10.0 points" in sentence and "the latter is 50.0 points better" in sentence
    assert "cannot be told apart" in told(adapted={"tune": (60, 61), "pseudo": (60, 60)})[3]


def test_ties_name_the_longest_groups():
    assert told()[4] == "With these 2 seeds all rows can be told apart by their overall score (OV)."
    sentence = told(NUMBERS | {NET: (90, 60, 19, 81)})[4]
    assert sentence == (
        "With these 2 seeds these cannot be told apart by their overall score (OV): "
        "Big (frozen, linear) (56.7 ± 0.7) and Net (56.3 ± 0.7)."
    )


def test_a_chain_is_no_group():
    """1 and 2 are alike, 2 and 3 are, 1 and 3 are not."""
    one, two, three = (Value({0: centre - 1, 1: centre + 1}) for centre in (54, 52, 50))
    assert not differs(one, two) and not differs(two, three) and differs(one, three)
    assert alike([one, two, three]) == [range(2), range(1, 3)]
    assert alike([one, two, three], least=5) == [range(3)]


def test_selection_costs_or_not():
    sentence = told()[5]
    assert sentence == (
        "Validation on the source would have taken Net (81.0 ± 0.7 there), which costs 10.0 points of OV "
        "(46.7 ± 0.7 instead of 56.7 ± 0.7) against Big (frozen, linear)."
    )
    assert "so it costs nothing" in told(NUMBERS | {BIG: (90, 60, 20, 99)})[5]
    sentence = told(NUMBERS | {NET: (89, 60, 20, 81)})[5]
    assert "is no difference to claim (the seeds' spread, 1.4)" in sentence


def test_one_seed_claims_nothing():
    sentences = told(seeds=(0,))
    assert "cannot be told apart from Net and Twin (frozen, linear)" in sentences[0]
    assert "costs 30.0 points in one seed" in sentences[1]
    assert "cannot be compared, for with one seed no difference can be claimed" in sentences[2]
    assert sentences[4].startswith("With this one seed these cannot be told apart")
    assert "with one seed no difference can be claimed" in sentences[5]


def test_what_is_missing_is_named():
    sentences = told(adapted={})
    assert sentences[3] == "About adaptation nothing can be said: a/big/frozen/linear on b, t is missing."
    assert sentences[0].startswith("In-domain")


@pytest.fixture
def config(tmp_path, request):
    folder = tmp_path / "config"
    folder.mkdir()
    for file in (request.config.rootpath / "config" / "demo").iterdir():
        (folder / file.name).write_text(file.read_text())
    return folder


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ("winner: shift", "winner: shfit", "story.yaml: unknown experiment 'shfit'.*shift"),
        ("source: t1_a", "source: t1_z", "story.yaml: unknown dataset 't1_z'"),
        ("with: self_training", "with: magic", "story.yaml: unknown adapt 'magic'"),
        ("unet, full, own", "unet, fully, own", "story.yaml: unknown tuning 'fully'"),
        ("least: 3", "leest: 3", "story.yaml: leest"),
    ],
)
def test_a_mistake_in_the_story_is_named(config, before, after, sentence):
    file = config / "story.yaml"
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(SegShiftError, match=sentence):
        stories.read(config, grids.read(config))


def test_a_configuration_without_a_story_says_nothing(config, tmp_path):
    (config / "story.yaml").unlink()
    assert stories.sentences(config, stories.Results(tmp_path)) == []


def test_scores_come_from_the_score_files_and_end_what_is_shown(config, tmp_path, capsys):
    results = stories.Results(tmp_path / "results")
    grid = grids.read(config)

    def row(target, split, checkpoint, dice):
        digits = {"tp": 1, "fp": 0, "fn": 0, "iou": dice, "loss": None, "model": "m", "data": "d"}
        return score_files.Row(
            target, split, checkpoint, f"v_{split}", "p", "white matter", dice=dice, **digits
        )

    for path, targets in grid.targets.items():
        seed = Model.parse(path).seed
        base = 60.0 if "lite" in path else 40.0
        rows = [
            row(target, split, checkpoint, base + seed + (20 if checkpoint == "last" else 0))
            for target in targets
            for split in ("validation", "test")
            for checkpoint in ("model", "last")
        ]
        score_files.write(results.run(path) / "scores.csv", rows)
    sentences = stories.sentences(config, results)
    assert len(sentences) == 7
    assert "61.0 ± 1.0 Dice, but cannot be told apart from LiteMedSAM (frozen, linear)" in sentences[0]
    assert "warps of one averaged brain" in sentences[-1]
    (results.root / "tables").mkdir()
    (results.root / "tables" / "shift.md").write_text("# A table\n")
    tabulate.show(config, results)
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"{number}. {sentence}" in said for number, sentence in enumerate(sentences, 1))
    assert said.index("# A table") < said.index("1. In-domain") < said.index("Tables: ")
