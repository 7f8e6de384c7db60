"""A further domain: one entry prepares it and tests old models on it; nothing old is trained. It comes last,
since it leaves the shared workflow with more than the others expect."""

import pytest

pytestmark = pytest.mark.workflow

UNET_T1, UNET_T2, NEW = (f"{source}/unet/full/own/0" for source in ("t1_a", "t2", "flair"))
T2 = "t2: {<<: *brain, folder: brain_t2, modality: T2-like}\n"
ENTRY = T2 + "flair: {<<: *brain, folder: brain_flair, modality: FLAIR-like}\n"
SHIFT = ["report", "tabulate shift", "track shift"]


def stamps(micro):
    """Modification times of all models and of the scores on the old targets."""
    runs = micro.results / "runs"
    files = [*runs.rglob("model.ckpt"), *runs.rglob("scores/t1_a.csv"), *runs.rglob("scores/t2.csv")]
    return {file: file.stat().st_mtime_ns for file in files if "flair" not in file.parts}


def test_new_domain_with_a_training_that_fails(micro):
    """The new source's training fails, the configuration breaks meanwhile: everything else finishes."""
    before = stamps(micro)
    datasets = micro.config / "datasets.yaml"
    datasets.write_text(datasets.read_text().replace(T2, ENTRY))
    old = [f"evaluate {UNET_T1}", f"evaluate {UNET_T2}"]
    assert micro.planned() == sorted(["prepare flair", *old, *SHIFT])
    experiments = micro.config / "experiments.yaml"
    experiments.write_text(
        experiments.read_text().replace("[t1_a, t2], backbone", "[t1_a, t2, flair], backbone")
    )
    assert micro.planned() == sorted(["prepare flair", f"train {NEW}", f"evaluate {NEW}", *old, *SHIFT])

    good = datasets.read_text()
    broken = f"echo 'not: [yaml' > {datasets}"
    micro.fault("broken_config", "prepare flair", "segshift.stages.prepare:run", after=True, do=broken)
    micro.fault(
        "memory",
        f"train results/runs/{NEW}",
        "segshift.cell:Cell.step",
        call=3,
        **{"raise": "no more memory"},
    )
    output = micro.snakemake(rc=1)
    datasets.write_text(good)
    assert micro.struck(output) == ["broken_config", "memory"]
    assert_summary(output, micro)
    assert stamps(micro) == before
    for cell in (UNET_T1, UNET_T2):
        assert (micro.results / f"runs/{cell}/scores/flair.csv").exists()


def assert_summary(output, micro):
    """The end of the output, and the partial tables."""
    log = micro.results / f"runs/{NEW}/train.log"
    lines = output.strip().splitlines()
    at = lines.index(f"1 failed. Partial tables: {micro.results}/tables/partial. Try again: the same command")
    assert lines[at + 1 : at + 3] == [
        f"  train results/runs/{NEW}: RuntimeError: no more memory",
        f"    log: {log}",
    ]
    assert "RuntimeError: no more memory" in log.read_text()
    partial = (micro.results / "tables/partial/shift.md").read_text()
    assert f"{NEW} on flair, t1_a, t2 (RuntimeError: no more memory)" in partial
    # The complete table of before is still there, and the experiment with pinned targets is untouched.
    numbers = micro.numbers()
    for name in ("tables/shift.csv", "tables/adaptation.csv", "tables/adaptation.md"):
        assert numbers[name] == micro.before_numbers[name]


def test_same_command_completes_it(micro):
    before = stamps(micro)
    micro.snakemake()
    assert stamps(micro) == before
    models = micro.models()
    new = models.pop(f"runs/{NEW}/model.ckpt")
    assert models == micro.before_models
    assert new not in models.values()
    numbers = micro.numbers()
    assert b"flair" in numbers[f"runs/{UNET_T1}/scores.csv"]
    assert numbers["tables/shift.csv"] != micro.before_numbers["tables/shift.csv"]
    assert not (micro.results / "tables/partial/shift.md").exists()
    assert micro.planned() == []
