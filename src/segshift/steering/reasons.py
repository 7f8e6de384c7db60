"""Why a cell would be made again, or why it would not: what it was made with beside what is there now.

Three effects: ``again`` (the next workflow makes it), ``refused`` (nothing makes it again by itself, but what
reads the model refuses until `segshift rerun`), ``kept`` (numbers may differ; nothing happens by itself).
"""

import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from segshift import grid as grids
from segshift import modules, records, scores, tracking
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.settings import code_digest, code_files
from segshift.steering.differences import UNSET, differences

SHORT = 16  # digits of a digest that are shown


class Reason(NamedTuple):
    """One thing that is not as it was; ``then`` and ``now`` side by side."""

    effect: str
    what: str
    then: str
    now: str


def of_training(grid: Grid, results: Results, model: Model) -> list[Reason]:
    """What speaks for training (or adapting) a model again.

    Raises:
        SegShiftError: a file of the model that decides this cannot be read.
    """
    folder = results.run(model.path)
    found = [Reason("again", name, "made", "missing") for name in _outputs(model, folder)]
    try:
        record = tracking.read_record(folder)
    except SegShiftError as error:
        return [*found, Reason("again", "run.json", "a record", str(error))]
    if record is None:
        return [*found, *_source(grid, results, model, {})]
    found += _settings(grid, results, model, record)
    found += _data(grid, results, model, record)
    found += _weights(grid, results, model, record)
    found += _source(grid, results, model, record)
    found += _code(grid, model, record)
    return [*found, *_versions(record)]


def of_scores(grid: Grid, results: Results, model: Model) -> list[Reason]:
    """What speaks for scoring a model again, target by target.

    Raises:
        SegShiftError: a score file is damaged.
    """
    folder, mine = results.run(model.path), _read(results.run(model.path) / "run.json").get("model")
    targets = grid.targets.get(model.path, [])
    changed = grids.changed_data(grid, results)
    found = [] if (folder / "scores.csv").exists() else [Reason("again", "scores.csv", "made", "missing")]
    asked = grid.config.project.evaluation.asked(grid.config.datasets[model.source].anatomy)
    for target in targets:
        file = folder / "scores" / f"{target}.csv"
        what = f"scores on {target}"
        if not file.exists():
            found.append(Reason("again", what, "none", "asked for"))
            continue
        rows = scores.read(file)
        models = {row.model for row in rows if row.checkpoint == "model"}
        if mine and models != {mine}:
            found.append(Reason("again", f"{what}: model", _some(models), mine))
        data = {row.data for row in rows if row.space == "prepared"}
        now = _manifest(results, target).get("sha256", "not prepared")[:SHORT]
        if data != {now}:
            found.append(Reason("again", f"{what}: data", _some(data), now))
        if str(results.data(target) / "manifest.json") in changed:
            found.append(Reason("again", f"{what}: entry of {target}", "as prepared", "changed"))
        classes = [row for row in rows if row.class_ != scores.WHOLE]
        for metric in asked.metrics:
            if not all(scores.has([row], metric) for row in classes):
                found.append(Reason("again", f"{what}: {metric}", "not computed", "asked for"))
        for space in sorted(set(asked.spaces) - {row.space for row in rows}):
            found.append(Reason("again", f"{what}: space {space}", "not computed", "asked for"))
    return found


# ---- what a training depends on ----------------------------------------------------------------------------


def _outputs(model: Model, folder: Path) -> list[str]:
    """Files of a finished model that are not there."""
    names = ("model.ckpt", "run.json") if model.adapt else ("model.ckpt", "lowest_loss.ckpt", "run.json")
    return [name for name in names if not (folder / name).exists()]


def _settings(grid: Grid, results: Results, model: Model, record: Mapping[str, Any]) -> Iterator[Reason]:
    if "configuration" not in record:
        return
    now = grid.settings(model)
    now["weights"] = records.held(results, model.path, now["weights"])
    explained = grid.explained(model)
    for key, old, new in differences(record["configuration"], now):
        section, _, name = key.partition(".")
        entry = explained.get(name.partition(".")[0]) if section == "training" else None
        line = f" (entry {entry[1]} of training.yaml)" if entry else ""
        yield Reason("again", f"{key}{line}", old, new)


def _data(grid: Grid, results: Results, model: Model, record: Mapping[str, Any]) -> Iterator[Reason]:
    changed = grids.changed_data(grid, results)
    for name, old in record.get("data", {}).items():
        if str(results.data(name) / "manifest.json") in changed:
            yield Reason("again", f"entry of {name} in datasets.yaml", "as prepared", "changed")
            continue
        new = _manifest(results, name).get("sha256")
        if new is None:
            yield Reason("refused", f"data of {name}", old[:SHORT], f"not there: segshift prepare {name}")
        elif new != old:
            yield Reason("refused", f"data of {name}", old[:SHORT], new[:SHORT])


def _weights(grid: Grid, results: Results, model: Model, record: Mapping[str, Any]) -> Iterator[Reason]:
    now = records.files(results, grid.settings(model)["weights"])
    for name, old in record.get("files", {}).items():
        new = now.get(name)
        if name in now and old and new and old != new:
            yield Reason("refused", f"weights {name}", old[:SHORT], new[:SHORT])


def _source(grid: Grid, results: Results, model: Model, record: Mapping[str, Any]) -> Iterator[Reason]:
    """What an adapted model starts from."""
    if not model.adapt:
        return
    source = _read(results.run(model.cell.path) / "run.json").get("model")
    if record.get("start") and source and record["start"] != source:
        yield Reason("again", f"the model that it starts from, {model.cell.path}", record["start"], source)
    elif any(one.effect == "again" for one in of_training(grid, results, model.cell)):
        what = f"the model that it starts from: segshift why {model.cell.path}"
        yield Reason("again", what, "finished" if record else "not there", "will be made again")


def _code(grid: Grid, model: Model, record: Mapping[str, Any]) -> Iterator[Reason]:
    settings = grid.settings(model)
    old, new = record.get("code"), code_digest(settings)
    if old in (None, new):
        return
    yield Reason("kept", "code", old, new)
    ended = record.get("ended", 0) / 1000
    files = sorted(set(code_files(settings)))
    younger = [file for file in files if file.stat().st_mtime > ended]
    if 0 < len(younger) < len(files):
        names = ", ".join(str(file.relative_to(modules.PACKAGE)) for file in younger)
        yield Reason("kept", f"code: of {len(files)} files {len(younger)} are younger", "", names)


def _versions(record: Mapping[str, Any]) -> Iterator[Reason]:
    for name, old in record.get("versions", {}).items():
        if name == "cuda":
            continue  # torch says it, and to ask it takes seconds
        new = platform.python_version() if name == "python" else _installed(name)
        if new != old:
            yield Reason("kept", f"version of {name}", old, new)


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _manifest(results: Results, dataset: str) -> dict[str, Any]:
    return _read(results.data(dataset) / "manifest.json")


def _read(file: Path) -> dict[str, Any]:
    """A file of JSON; nothing where it is not there or damaged: what needs it says so by itself."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def _some(digests: set[str]) -> str:
    return ", ".join(sorted(digests)) or UNSET
