"""Lost and changed files, a second workflow, and a server that does not answer."""

import shlex

import pytest

pytestmark = pytest.mark.workflow

UNET_T2 = "t2/unet/full/own/0"


def test_lost_manifest_is_guarded(micro):
    """Making a lost dataset as a by-product would train finished models again; alone it does not."""
    (micro.results / "data/t2/manifest.json").unlink()
    (micro.results / f"runs/{UNET_T2}/scores.csv").unlink()
    output = micro.snakemake(rc=1)
    assert "Finished models would be trained again. First: snakemake " in output
    (line,) = [line for line in output.splitlines() if "First: " in line]
    words = shlex.split(line.partition("First: snakemake ")[2])
    assert words == ["results/data/t2/manifest.json"]
    assert micro.models() == micro.before_models
    assert "1 of 1 steps" in micro.snakemake(*words)
    assert micro.planned() == sorted([f"evaluate {UNET_T2}", "report", "tabulate shift", "track shift"])
    micro.snakemake()
    assert micro.models() == micro.before_models
    assert micro.numbers() == micro.before_numbers


def test_tampered_score(micro):
    micro.settle()
    file = micro.results / f"runs/{UNET_T2}/scores.csv"
    lines = file.read_text().splitlines(keepends=True)
    header = lines[0].strip().split(",")
    dice, split, checkpoint = (header.index(name) for name in ("dice", "split", "checkpoint"))
    rows = [line.split(",") for line in lines]
    row = next(r for r in rows if r[split] == "test" and r[checkpoint] == "model" and r[dice])
    row[dice] = "99.0"
    before = file.read_bytes()
    file.write_text("".join(",".join(row) for row in rows))
    output = micro.segshift("tabulate", "shift", "--config", "config", rc=1)
    assert f"segshift tabulate: {UNET_T2}: MLflow says test/" in output
    file.write_bytes(before)
    micro.segshift("tabulate", "shift", "--config", "config", "--folder", "again")
    assert (micro.folder / "again/shift.csv").read_bytes() == micro.before_numbers["tables/shift.csv"]
