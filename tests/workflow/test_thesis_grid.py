"""A dry run of the thesis's whole grid: nothing is missing in it. `benchmarks/dag.py` times it."""

import shutil
from collections import Counter

import pytest

pytestmark = pytest.mark.workflow

ALL = {"prepare": 10, "train": 349, "adapt": 352, "evaluate": 701, "track": 5, "report": 1}
EXPERIMENTS = ("heads", "tunings", "generalization", "self_training", "entropy_min")
TABLES = [*(f"tables_{name}" for name in EXPERIMENTS), "tables_" + "_".join(EXPERIMENTS), "table_4.1"]
ALL |= dict.fromkeys(TABLES, 1)  # tables of the same experiments are made by one job


def plan(micro, **environment):
    """Number of jobs of each rule, of a dry run."""
    return Counter(job.partition(" ")[0] for job in micro.planned(**environment))


@pytest.fixture
def thesis(new_micro, request):
    made = new_micro()
    shutil.rmtree(made.config)
    shutil.copytree(request.config.rootpath / "config", made.config, ignore=shutil.ignore_patterns("demo"))
    return made


def test_what_can_be_made_today(thesis):
    jobs = plan(thesis)
    assert jobs["train"] > 0
    assert jobs["evaluate"] == jobs["train"] + jobs["adapt"]


def test_with_everything_that_is_planned(thesis):
    """Modules that are not written yet are taken as given: Snakemake looks into none of them."""
    for file in thesis.config.glob("*.yaml"):
        file.write_text(file.read_text().replace("planned: true", "planned: false"))
    blind = thesis.folder / "blind"
    blind.mkdir()
    (blind / "sitecustomize.py").write_text(
        "import segshift.checking\nsegshift.checking._check_module = lambda *_: None\n"
    )
    path = f"{thesis.environment['PYTHONPATH']}:{blind}"
    jobs = plan(thesis, PYTHONPATH=path)
    assert {rule: jobs[rule] for rule in ALL} == ALL
    assert jobs["fetch"] > 0
