"""A project of a few models whose folders were written by hand, for stages that read them."""

import json
import shutil
import sqlite3

import pytest
import yaml

from segshift import scores
from segshift.paths import Results
from segshift.tracking import Journal

BRAIN = {
    "module": "hdf5_stack",
    "files": {"train": "a.h5", "validation": "b.h5", "test": "c.h5"},
    "anatomy": "brain",
    "modality": "T1",
    "plane": "axial",
}
CONFIG = {
    "project": {"seeds": [0]},
    "anatomies": {"brain": {"classes": ["background", "gray", "white"]}},
    "datasets": {"one": BRAIN, "two": BRAIN, "three": BRAIN},
    "backbones": {"unet": {"module": "unet", "image_size": 32}},
    "tunings": {"full": {"module": "full"}},
    "heads": {"own": {"module": "own"}},
    "adaptations": {"finetune": {"module": "finetune"}},
    "weights": {},
    "training": [{"use": {"learning_rate": 0.01, "epochs": 1, "batch_size": 2}}],
    "experiments": {
        "shift": {
            "title": "Shift",
            "grid": {"source": ["one", "two"], "backbone": ["unet"], "tuning": ["full"], "head": ["own"]},
            "targets": {"brain": ["one", "two"]},
        },
        "adapted": {
            "title": "Adapted",
            "grid": {
                "source": ["one"],
                "backbone": ["unet"],
                "tuning": ["full"],
                "head": ["own"],
                "adapt": ["none", "finetune"],
            },
            "targets": {"brain": ["one", "two"]},
        },
    },
    "labels": {"backbone": {"unet": "U-Net"}, "dataset": {"one": "Site one"}, "adapt": {"none": "none"}},
}
ONE, TWO = "one/unet/full/own/0", "two/unet/full/own/0"
ADAPTED = f"{ONE}/finetune/two"


class Project:
    """Writes what training and evaluation would write, and counts what MLflow has."""

    def __init__(self, folder):
        self.config, self.results = folder / "config", Results(folder / "results")
        self.config.mkdir(parents=True)
        for name, content in CONFIG.items():
            (self.config / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def folder(self, cell):
        return self.results.run(cell)

    def journal(self, cell, run="first", steps=range(0, 50, 10), status="FINISHED", error=None):
        """One attempt; without a status the process was killed, or lives."""
        journal = Journal(self.folder(cell))
        journal.start(run, {"learning_rate": 0.01}, {"host": "here"})
        for step in steps:
            journal.log(step, {"train/loss": 1 / (step + 1), "validation/dice/gray (left)": step / 3})
        if status:
            journal.end(status, error)
        return journal

    def record(self, cell, run="first", **more):
        record = {
            "run": run,
            "cell": cell,
            "parameters": {"trainable": 1234, "frozen": 5},
            "device_seconds": 7.5,
        }
        record |= {"manifest": {"one": "ab" * 32}, "settings": "cd" * 8, **more}
        (self.folder(cell) / "run.json").write_text(json.dumps(record))

    def scores(self, cell, **targets):
        """``two=[(60.0, None), (70.0, 80.0)]``: volumes of Dice per class; None where a class is absent."""
        rows = []
        for target, volumes in targets.items():
            for split in scores.SPLITS:
                for checkpoint, shift in (("model", 0.0), ("lowest_loss", -1.0)):
                    for number, classes in enumerate(volumes):
                        one = (target, split, checkpoint, f"v{number}", f"p{number}")
                        for name, dice in zip(("gray", "white"), classes, strict=True):
                            value = None if dice is None else dice + shift
                            rows.append(
                                scores.Row(*one, name, 1, 2, 3, value, value, None, "m" * 16, "d" * 16)
                            )
                        rows.append(
                            scores.Row(*one, "all", None, None, None, None, None, 0.5, "m" * 16, "d" * 16)
                        )
        scores.write(self.folder(cell) / "scores.csv", rows)

    def model(self, cell, **targets):
        """A finished and scored model."""
        self.journal(cell)
        self.record(cell)
        (self.folder(cell) / "settings.yaml").write_text("seed: 0\n")
        self.scores(cell, **targets)

    def complete(self):
        """Every model of both experiments. DS (50 + 70) / 2, DG (30 + 1/3) / 2; after adaptation DG 41.5."""
        self.model(ONE, one=[(40.0, None), (50.0, 70.0)], two=[(30.0, 30.0)])
        self.model(TWO, two=[(70.0, 70.0)], one=[(1 / 3, 1 / 3)])
        self.model(ADAPTED, two=[(41.0, 42.0)])

    def sql(self, query):
        with sqlite3.connect(self.results.tracking / "mlflow.db") as database:
            return database.execute(query).fetchall()

    def points(self):
        """How many points of metrics MLflow has."""
        return self.sql("select count(*) from metrics")[0][0]

    def latest(self, cell):
        """The newest value of every metric of a cell's runs that are not superseded."""
        return dict(
            self.sql(
                "select m.key, m.value from latest_metrics m join tags c on c.run_uuid = m.run_uuid "
                "join tags s on s.run_uuid = m.run_uuid where c.key = 'segshift.cell' and "
                f"c.value = '{cell}' and s.key = 'segshift.superseded' and s.value = 'false'"
            )
        )


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty MLflow database; making one takes seconds."""
    from segshift.mlflow_store import Store

    file = tmp_path_factory.mktemp("database") / "mlflow.db"
    Store(f"sqlite:///{file}", "segshift")
    return file


@pytest.fixture(scope="session")
def project_class():
    """What `project` is made by, for projects that several tests share."""
    return Project


@pytest.fixture
def project(tmp_path, database, monkeypatch):
    """A project with a database and without models."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    made = Project(tmp_path)
    made.results.tracking.mkdir(parents=True)
    shutil.copyfile(database, made.results.tracking / "mlflow.db")
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory, project_class, database):
    """A project for masks that other tools made: see ``masks_of_others.py``."""
    from tests.stages.masks_of_others import prepared_and_exported

    return prepared_and_exported(tmp_path_factory.mktemp("external"), project_class, database)


@pytest.fixture
def site(tmp_path):
    """A small raw dataset to be prepared: see ``raw_site.py``."""
    from tests.stages.raw_site import Site

    return Site(tmp_path)
