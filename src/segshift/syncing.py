"""Send one model's journal, record and scores to MLflow, so that sending twice changes nothing.

What was sent is remembered in a plain dict (``cursors.json``) to save requests only: where it is lost, MLflow
is asked. One training (a run key of the journal) is one MLflow run; an interrupted and resumed one too.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segshift import scores, tracking
from segshift.entries import AXES
from segshift.grid import Grid, Model
from segshift.mlflow_store import Run, Store
from segshift.paths import Results
from segshift.scores import mean
from segshift.table_entries import ScoreTable
from segshift.tables.table import rounded

CELL, RUN, SUPERSEDED = "segshift.cell", "segshift.run", "segshift.superseded"
ERROR = "segshift.error"  # why the last attempt of a training failed
LABELLED = "segshift.labelled"  # of an adapted model: whose labels of the target it looked at
FORBIDDEN = re.compile(r"[^\w .:/-]")  # in the name of an MLflow metric; class names may have anything
SENT_FILES = ("scores.csv", "settings.yaml")
NAME_AXES = ("head", "backbone", "tuning", "adapt", "source", "target", "seed")
# Told apart in charts by people who see colours differently as well (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442", "#000000")


@dataclass
class Syncer:
    """Sends models to one store. ``models`` and ``runs`` are the memory of what was sent."""

    grid: Grid
    results: Results
    store: Store
    models: dict[str, dict[str, Any]]
    runs: dict[str, dict[str, Any]]

    def __post_init__(self) -> None:
        everything = self.grid.models()
        distinct = {axis: len({getattr(model, axis) for model in everything}) for axis in NAME_AXES}
        # A run list shows some 15 letters of a name: what varies most comes first, what never does is absent.
        varying = [axis for axis in NAME_AXES if distinct[axis] > 1] or ["backbone"]
        self.name_axes = sorted(varying, key=lambda axis: -distinct[axis])
        tables = self.grid.config.tables.values()
        #: How absent classes count in what is sent: as they do by default, and as a table asks for.
        self.rules = sorted({"skip"} | {entry.absent for entry in tables if isinstance(entry, ScoreTable)})

    def verify(self) -> None:
        """Forget runs that are no longer in MLflow, and the models that they belonged to."""
        there = self.store.runs(list(self.runs))
        for path in [p for p, known in self.models.items() if set(known["runs"].values()) - set(there)]:
            del self.models[path]
        for run in set(self.runs) - set(there):
            del self.runs[run]

    def sync(self, model: Model) -> bool:
        """Bring MLflow up to date with a model's folder; False if there was nothing to do.

        Raises:
            SegShiftError: a file of the model cannot be read, or MLflow refuses.
        """
        folder = self.results.run(model.path)
        # taken before reading, so that what grows meanwhile is seen next time
        stamps = _stamps(folder) | {"rules": self.rules}
        known = self.models.get(model.path)
        if known and known["stamps"] == stamps and not (known["running"] and not tracking.lives(folder)):
            return False
        trainings = _trainings(folder)
        if not trainings:
            return False
        last = list(trainings)[-1]
        runs = {}
        for key, attempts in trainings.items():
            runs[key] = self._training(model, folder, key, attempts, key == last)
        record = tracking.read_record(folder)
        if record and record["run"] in runs:
            self._finished(model, folder, runs[record["run"]], record, stamps)
        self.models[model.path] = {
            "stamps": stamps,
            "runs": runs,
            "running": self.runs[runs[last]]["status"][0] == "RUNNING",
            "run": runs[record["run"] if record and record["run"] in runs else last],
        }
        return True

    # ---- one training ----------------------------------------------------------------------------------

    def _training(
        self, model: Model, folder: Path, key: str, attempts: list[tracking.Attempt], newest: bool
    ) -> str:
        run = self._run(model, key, attempts)
        sent = self.runs[run]
        points, steps = _after(sent["steps"], attempts)
        self.store.log(run, points)
        sent["steps"] = steps
        status = _status(folder, attempts[-1], newest)
        if sent["status"] != status:
            self.store.status(run, *status)
            sent["status"] = status
        self._tag(run, {SUPERSEDED: str(not newest).lower()} | attempts[-1].tags)
        if (error := attempts[-1].error) or ERROR in sent["tags"]:  # a resumed one may have come to its end
            self._tag(run, {ERROR: (error or "")[:500]})
        if newest:  # pictures of older trainings were overwritten by its own
            self._pictures(run, folder, attempts)
        return run

    def _pictures(self, run: str, folder: Path, attempts: list[tracking.Attempt]) -> None:
        """Send the pictures that the journal names; of one that a resumed attempt made again, one."""
        events = [event for attempt in attempts for event in attempt.events if event["event"] == "picture"]
        named: dict[tuple[str, int], dict[str, Any]] = {}
        for event in events:
            named.setdefault((event["key"], event["step"]), event)
        for (key, step), event in named.items():
            self._picture(run, folder / event["file"], key, step, event["time"])

    def _picture(self, run: str, file: Path, key: str, step: int, time: int) -> None:
        """Send a picture where it is new or another than before."""
        sent = self.runs[run].setdefault("pictures", {})
        stamp = _stamp(file)
        if stamp and sent.get(f"{key} {step}") != stamp:
            self.store.image(run, file, key, step, time)
            sent[f"{key} {step}"] = stamp

    def _tag(self, run: str, tags: dict[str, str]) -> None:
        sent = self.runs[run]["tags"]
        if new := {key: value for key, value in tags.items() if sent.get(key) != value}:
            self.store.log(run, tags=new)
            sent |= new

    def _run(self, model: Model, key: str, attempts: list[tracking.Attempt]) -> str:
        """The id of a training's MLflow run, which is made if it is not there."""
        known = self.models.get(model.path, {}).get("runs", {})
        if known.get(key) in self.runs:
            return known[key]
        identity = {CELL: model.path, RUN: key}
        axes = self._axes(model)
        parameters = axes | attempts[0].parameters
        if found := self.store.find(identity):
            run = found.info.run_id
            self.store.log(
                run, parameters={k: v for k, v in parameters.items() if k not in found.data.params}
            )
            self.runs[run] = self._recalled(found, attempts)
        else:
            tags = identity | axes
            run = self.store.create(self._name(model), attempts[0].started, tags | self._looks(model))
            self.runs[run] = {"steps": {}, "status": ["RUNNING", None], "metrics": {}, "tags": tags}
            self.store.log(run, parameters=parameters)
        return run

    def _recalled(self, run: Run, attempts: list[tracking.Attempt]) -> dict[str, Any]:
        """The memory of a run, from MLflow."""
        curves = set(_after({}, attempts)[1])
        metrics, ended = run.data.metrics, run.info.end_time
        return {
            "steps": {name: self.store.last_step(run.info.run_id, name) for name in curves & set(metrics)},
            "status": [run.info.status, None if run.info.status == "RUNNING" else ended],
            "metrics": {name: value for name, value in metrics.items() if name not in curves},
            "tags": {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")},
        }

    # ---- a finished model ------------------------------------------------------------------------------

    def _finished(
        self, model: Model, folder: Path, run: str, record: dict[str, Any], stamps: dict[str, list[int]]
    ) -> None:
        sent = self.runs[run]
        if sent.get("record") != stamps.get("run.json"):
            self._record(run, record, (folder / "run.json").stat().st_mtime_ns // 1_000_000)
            sent["record"] = stamps.get("run.json")
        if "scores.csv" in stamps and sent.get("scored") != [*stamps["scores.csv"], *self.rules]:
            rows = scores.read(file := folder / "scores.csv")
            if not tracking.outdated(record, rows):
                self._scores(rows, file.stat().st_mtime_ns // 1_000_000, run, model.source, bool(model.adapt))
            sent["scored"] = [*stamps["scores.csv"], *self.rules]
        files = sent.setdefault("files", {})
        for name in SENT_FILES:
            if name in stamps and files.get(name) != stamps[name]:
                self.store.put(run, folder / name)
                files[name] = stamps[name]
        for file in sorted((folder / "scores").glob("*.png")):
            self._picture(run, file, f"test/{file.stem}", 0, record.get("started") or 1)

    def _record(self, run: str, record: dict[str, Any], ended: int) -> None:
        known = {name: value for name, value in record["parameters"].items() if value is not None}
        self.store.log(run, parameters=known)
        self._tag(
            run, {f"segshift.{k}": str(record[k]) for k in ("settings", "code", "device") if k in record}
        )
        if "budget" in record:
            collapsed = str(bool(record.get("collapsed"))).lower()
            self._tag(run, {LABELLED: record["budget"], "segshift.collapsed": collapsed})
        if record.get("guard"):
            self._tag(run, {"segshift.guard": record["guard"]})
        if "device_seconds" in record:
            self._metrics(run, {"cost/device_seconds": float(record["device_seconds"])}, ended)
        if record.get("data"):
            self.store.inputs(run, record["data"], "training")

    def _scores(self, rows: list[scores.Row], time: int, run: str, source: str, adapted: bool) -> None:
        metrics, test = {}, {}
        for target in scores.targets(rows):
            for split in scores.SPLITS:
                found = scores.means(rows, target, split, self.rules)
                metrics |= {f"{split}/{target}/{name}": value for name, value in found.items()}
            if f"test/{target}/dice" in metrics:
                test[target] = metrics[f"test/{target}/dice"]
        means = overall(test, source, adapted)
        self._metrics(run, metrics | means, time)
        self._tag(run, headline(means))

    def _metrics(self, run: str, metrics: dict[str, float], time: int) -> None:
        """Send what differs from what MLflow has; the latest time wins there, so a correction is newer."""
        sent = self.runs[run]["metrics"]
        points = []
        for name, value in metrics.items():
            if sent.get(name) != value:
                if name in sent:
                    time = max(time, self.store.last_time(run, name) + 1)
                points.append((name, value, time, 0))
        self.store.log(run, points)
        sent |= {name: value for name, value, *_ in points}

    # ---- how a run looks -------------------------------------------------------------------------------

    def _axes(self, model: Model) -> dict[str, str]:
        axes = {"anatomy": self.grid.config.datasets[model.source].anatomy} | model._asdict()
        axes |= {"adapt": model.adapt or "none"}
        return {axis: str(value) for axis, value in axes.items() if value is not None}

    def _name(self, model: Model) -> str:
        return " ".join(str(value) for axis in self.name_axes if (value := getattr(model, axis)) is not None)

    def _looks(self, model: Model) -> dict[str, str]:
        config = self.grid.config
        colour = COLOURS[list(config.tunings).index(model.tuning) % len(COLOURS)]
        return {"mlflow.runColor": colour, "mlflow.note.content": describe(self.grid, model)}


def overall(test: dict[str, float], source: str, adapted: bool) -> dict[str, float]:
    """DS, DG and OV of one model, as far as it has scores, from its Dice by target."""
    parts = {
        "ds": [value for target, value in test.items() if target == source],
        "dg": [value for target, value in test.items() if target != source],
        # An adapted model is tested on its own target alone: an overall score would only look like one.
        "ov": [] if adapted else list(test.values()),
    }
    return {name: mean(values) for name, values in parts.items() if values}


def headline(means: dict[str, float]) -> dict[str, str]:
    """The tag by which a list of runs shows a model: its OV, of an adapted one its DG."""
    shown = means.get("ov", means.get("dg"))
    return {} if shown is None else {"dice": rounded(shown)}


def describe(grid: Grid, model: Model) -> str:
    """A model in a sentence of Markdown, with the display names of labels.yaml."""

    def label(axis: str) -> str:
        kind = "dataset" if AXES[axis] == "datasets" else axis
        return grid.config.labels.get(kind, {}).get(name := getattr(model, axis), name)

    text = f"**{label('head')}** on **{label('backbone')}** ({label('tuning')})"
    text += f", trained on **{label('source')}**"
    if model.adapt:
        text += f", adapted to **{label('target')}** by {label('adapt')}"
    return f"{text}, seed {model.seed}.\n\n`runs/{model.path}`"


def sent(folder: Path, known: dict[str, Any] | None) -> bool:
    """Whether MLflow was sent a model's files as they are now, by what is remembered of it."""
    return known is not None and _stamps(folder).items() <= known["stamps"].items()


def _stamps(folder: Path) -> dict[str, list[int]]:
    """Size and modification time of every file that is sent; cheap, and enough to see a change."""
    files = [*(folder / "journal").glob("*.jsonl"), *(folder / name for name in ("run.json", *SENT_FILES))]
    stamps = {}
    for file in sorted(files):
        if stamp := _stamp(file):
            stamps[file.name] = stamp
    return stamps


def _stamp(file: Path) -> list[int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _trainings(folder: Path) -> dict[str, list[tracking.Attempt]]:
    """Attempts by run key, oldest first; an attempt that died before its first line has nothing to say."""
    trainings: dict[str, list[tracking.Attempt]] = {}
    for attempt in tracking.read(folder):
        if attempt.run is not None:
            trainings.setdefault(attempt.run, []).append(attempt)
    return trainings


def _after(
    sent: dict[str, int], attempts: list[tracking.Attempt]
) -> tuple[list[tuple[str, float, int, int]], dict[str, int]]:
    """Points (name, value, ms, step) beyond the highest step sent of each curve, and the new highest steps.

    Steps that a resumed attempt repeats are left out: they are the same bits again.
    """
    steps, points = dict(sent), []
    for attempt in attempts:
        for point in attempt.points:
            for name, value in point.values.items():
                name = FORBIDDEN.sub("_", name)
                if point.step > steps.get(name, -1):
                    steps[name] = point.step
                    points.append((name, value, point.time, point.step))
    return points, steps


def _status(folder: Path, attempt: tracking.Attempt, newest: bool) -> list[Any]:
    """[status, end in ms] of a training, from its last attempt."""
    if attempt.status:
        return [attempt.status, attempt.last]
    return ["RUNNING", None] if newest and tracking.lives(folder) else ["KILLED", attempt.last]
