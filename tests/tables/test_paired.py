"""`segshift compare`: two rows or cells on the same patients."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from segshift import cli, scores
from segshift.paths import Results
from segshift.stages import compare
from segshift.tables import paired, paired_text

ROOT = Path(__file__).parents[2]
PATIENTS, CLASSES = 6, ("ventricles", "cortex")
ROW_A, ROW_B = "good/full/own", "plain/full/own"


@pytest.fixture
def made(tmp_path, two_datasets):
    """Config, results, and their Dice (backbone, seed, target, patient), also with classes behind."""
    labels = {"backbone": {"good": "Good net", "plain": "Plain net"}}
    classes = ("background", *CLASSES)
    config = two_datasets(tmp_path / "config", ("good", "plain"), (0, 1, 2), classes, labels=labels)
    generator = np.random.default_rng(0)
    values = (
        70 + generator.normal(0, 8, (1, 1, 2, PATIENTS, 1)) + generator.normal(0, 1, (2, 3, 2, PATIENTS, 2))
    )
    values[0] += 4
    values[0, :, 1, 0] += 12  # one patient of `two` favours it most
    for b, backbone in enumerate(("good", "plain")):
        for seed in range(3):
            rows = [
                scores.Row(
                    t,
                    "test",
                    "model",
                    f"v{p}",
                    f"p{p}",
                    c,
                    1,
                    1,
                    1,
                    float(values[b, seed, i, p, k]),
                    1.0,
                    None,
                    "m",
                    "d",
                )
                for i, t in enumerate(("one", "two"))
                for p in range(PATIENTS)
                for k, c in enumerate(CLASSES)
            ]
            file = Results(tmp_path / "results").run(f"one/{backbone}/full/own/{seed}") / "scores.csv"
            file.parent.mkdir(parents=True)
            scores.write(file, rows)
    return config, Results(tmp_path / "results"), values.mean(axis=-1), values


def test_a_row_by_hand(made, capsys):
    config, results, dice, _ = made
    found = compare.run(config, results, ROW_A, ROW_B)
    apart = dice[0] - dice[1]  # (seed, target, patient)
    main = found.effects["ov"]
    assert main.value == pytest.approx(apart.mean())
    a = apart.mean(axis=(1, 2)).var(ddof=1) / 3
    parts = (apart.mean(axis=0) / 2).var(axis=1, ddof=1) / PATIENTS
    b = parts.sum()
    df = (a + b) ** 2 / (a**2 / 2 + (parts**2 / (PATIENTS - 1)).sum())
    assert main.interval.low == pytest.approx(main.value - stats.t.ppf(0.975, df) * (a + b) ** 0.5)
    assert found.effects["ds"].value == pytest.approx(apart[:, 0].mean())
    assert found.effects["dg"].value == pytest.approx(apart[:, 1].mean())
    assert main.flipped.exact and main.flipped.swaps == 2**12
    for i, target in enumerate(("one", "two")):
        p = stats.wilcoxon(apart.mean(axis=0)[i]).pvalue
        assert found.datasets[target].p == pytest.approx(p)
    assert sum(found.patients.values()) == pytest.approx(main.value)
    assert next(iter(found.patients)) == ("two", "p0")
    text = capsys.readouterr().out
    assert "p0 (two)" in text and "About this method" in text and "brain, cortex" in text


def test_classes_by_hand(made):
    config, results, _, values = made
    found = compare.run(config, results, ROW_A, ROW_B).classes
    for k, name in enumerate(CLASSES):
        assert found["brain", name].first == pytest.approx(values[0, ..., k].mean())
        assert found["brain", name].second == pytest.approx(values[1, ..., k].mean())
        assert found["brain", name].volumes == 3 * 2 * PATIENTS


def test_turned_around_it_says_the_opposite(made):
    config, results, *_ = made
    one, other = (compare.run(config, results, *sides) for sides in ((ROW_A, ROW_B), (ROW_B, ROW_A)))
    assert one.effects["ov"].value == pytest.approx(-other.effects["ov"].value)
    assert one.effects["ov"].interval.low == pytest.approx(-other.effects["ov"].interval.high)
    assert one.effects["ov"].flipped.p == other.effects["ov"].flipped.p


def test_cells_of_one_configuration_are_about_the_models(made, capsys):
    config, results, dice, _ = made
    cells = [f"one/good/full/own/{seed}" for seed in (0, 1)]
    assert (
        cli.main(["compare", *cells, "--config", str(config), "--results", str(results.root), "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["effects"]["ov"]["difference"] == pytest.approx((dice[0, 0] - dice[0, 1]).mean())
    assert found["effects"]["ov"]["about"] == "one seed: about these models, not about the method"
    assert found["seeds"] == [0, 1]
    assert len(found["patients"]["parts"]) == 2 * PATIENTS


def test_the_paragraph_follows_the_numbers(made):
    config, results, dice, _ = made
    found = compare.run(config, results, ROW_A, ROW_B)
    text = paired_text.paragraph(found)
    assert "Good net with Plain net on one and two (12 test patients, 3 seeds)" in text
    assert f"{dice[0].mean():.2f} % against {dice[1].mean():.2f} %" in text
    assert "in favour of Good net over Plain net" in text
    assert "new patients and new training seeds" in text
    same = compare.run(config, results, "one/good/full/own/0", "one/good/full/own/0")
    nothing = paired_text.paragraph(same)
    assert "do not show which of the two is better" in nothing and "a difference of 0.00 points" in nothing
    assert "Each was trained once" in nothing


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        (("good/full", ROW_B), "'good/full' is neither a row"),
        ((ROW_A, "one/plain/full/own/0"), "are a row and a cell: compare two of a kind"),
        ((ROW_A, "none/full/own"), "there are no scores of none/full/own"),
    ],
)
def test_what_cannot_be_compared(made, capsys, sides, error):
    config, results, *_ = made
    assert cli.main(["compare", *sides, "--config", str(config), "--results", str(results.root)]) == 1
    assert error in capsys.readouterr().err


def test_the_thesis_s_two_best_heads_from_its_file(capsys):
    where = ["--config", str(ROOT / "config"), "--runs", str(ROOT / "config" / "published" / "runs.csv")]
    sides = ["*/frozen/hqhsam", "*/frozen/hqsam"]
    assert cli.main(["compare", *sides, *where, "--experiment", "heads"]) == 0
    text = capsys.readouterr().out
    assert "OV: A 65.28, B 64.95" in text  # as Table 4.2 prints them
    assert "Over its 31 cells alike: +0.35, signed ranks p = 0.20" in text
    assert "there is no interval" in text
    assert cli.main(["compare", *sides, *where, "--experiment", "head"]) == 1
    assert "unknown experiment 'head'" in capsys.readouterr().err


def test_a_part_that_one_side_lacks_is_left_out_and_counted(made):
    config, results, *_ = made
    (results.run("one/plain/full/own/2") / "scores.csv").unlink()
    found = compare.run(config, results, ROW_A, ROW_B)
    assert (found.seeds, found.left_out) == ((0, 1), 2)
    assert any("2 scores that have no partner" in line for line in paired_text.lines(found))


def test_how_few_patients_carry_a_lead():
    def of(*parts):
        found = {("g", str(i)): part for i, part in enumerate(parts)}
        return paired.Comparison("a", "b", (0,), {}, {}, found, (0.0, 1.0, 1), 0)

    assert paired_text.turning(of(5.0, 1.0, -2.0)) == 1  # without the 5, it is -1
    assert paired_text.turning(of(1.0, 1.0, 1.0)) == 3
    assert paired_text.turning(of(-3.0, 1.0)) == 1
