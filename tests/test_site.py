"""What each rule needs of the machine: ``site.yaml`` over the documented defaults, and mistakes in it."""

from pathlib import Path

import pytest

from segshift import site
from segshift.errors import SegShiftError

CONFIG = Path(__file__).parents[1] / "config"


def test_a_site_is_laid_over_key_by_key(tmp_path):
    own = tmp_path / "site.yaml"
    defaults = site.read(CONFIG / "site.example.yaml", own)
    assert set(defaults) == {"prepare", "train", "row", "adapt", "evaluate"}
    own.write_text("train: {mem_mb: 50001, slurm_partition: long}\n")
    merged = site.read(CONFIG / "site.example.yaml", own)
    assert merged["train"] == defaults["train"] | {"mem_mb": 50001, "slurm_partition": "long"}
    followed = ("train", "row")  # a row needs what a training needs
    assert {rule: merged[rule] for rule in merged if rule not in followed} == {
        rule: defaults[rule] for rule in defaults if rule not in followed
    }


def test_needs_grow_by_half_with_each_attempt(tmp_path):
    own = tmp_path / "site.yaml"
    own.write_text("train: {mem_mb: 1000, runtime: 60, gpu: 1, slurm_partition: long}\n")
    merged = site.read(CONFIG / "site.example.yaml", own)
    needs = site.needs(merged, "train")
    assert [needs["mem_mb"](None, attempt) for attempt in (1, 2, 3)] == [1000, 1500, 2000]
    assert [needs["runtime"](wildcards=None, attempt=attempt) for attempt in (1, 2, 3)] == [60, 90, 120]
    fixed = {key: value for key, value in needs.items() if not callable(value)}
    own_words = {
        k: v for k, v in merged["train"].items() if k not in ("threads", "mem_mb", "runtime", "grace")
    }
    assert fixed == own_words | {"slurm_extra": "--signal=TERM@180"}
    assert (fixed["gpu"], fixed["slurm_partition"]) == (1, "long")
    assert "gpu" not in site.needs(merged, "train", gpu=False)


def test_a_site_says_once_what_is_right_for_every_rule(tmp_path):
    own = tmp_path / "site.yaml"
    own.write_text(
        "all: {slurm_partition: gpu, slurm_extra: --nice=5}\n"
        "prepare: {slurm_partition: cpu}\nevaluate: {grace: 0}\nadapt: {grace: 0, runtime: 2}\n"
    )
    merged = site.read(CONFIG / "site.example.yaml", own)
    partitions = {rule: values["slurm_partition"] for rule, values in merged.items()}
    assert partitions == {"prepare": "cpu"} | dict.fromkeys(("train", "row", "adapt", "evaluate"), "gpu")
    extra = {rule: site.needs(merged, rule)["slurm_extra"] for rule in merged}
    assert extra["train"] == "--signal=TERM@180 --nice=5"
    assert {extra[rule] for rule in ("prepare", "adapt", "evaluate")} == {"--nice=5"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trian: {threads: 1}", "unknown rule 'trian'; did you mean 'train'"),
        ("train: {mem: 1}", "train: unknown key 'mem'; did you mean 'mem_mb'"),
        ("train: 3", "train must be {key: value}, not 3"),
        ("train: {mem_mb: 4GB}", "train: mem_mb must be a whole number of at least 1, not '4GB'"),
        ("train: {threads: 0}", "train: threads must be a whole number of at least 1, not 0"),
        ("train: {slurm_partition: 7}", "train: slurm_partition must be text, not 7"),
        ("[train]", "must hold a line"),
        ("train: {runtime: 4}", "train: a grace of 180 s, .* leaves nothing of a runtime of 4 min"),
    ],
)
def test_mistakes_in_a_site(tmp_path, text, sentence):
    own = tmp_path / "site.yaml"
    own.write_text(text)
    with pytest.raises(SegShiftError, match=f"site.yaml.*{sentence}"):
        site.read(CONFIG / "site.example.yaml", own)
    with pytest.raises(SegShiftError, match="unknown rule 'trian'; did you mean 'train'"):
        site.needs({"train": {}}, "trian")
