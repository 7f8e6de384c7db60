"""`segshift import-scores FOLDER…`: exported scores of several sites in one results folder.

Its tables are as if all had been made there. The results folder holds nothing else, so that nobody's
workflow takes these models for its own.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segshift import exported_scores, scores
from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.exported_scores import IMPORTED
from segshift.grid import Grid, Model
from segshift.paths import Results, locate, write
from segshift.settings import digest
from segshift.tables.samples import groups
from segshift.tracking import Journal

SAME = ("model", "parameters")  # of two records of one model


@dataclass(frozen=True)
class Exported:
    """A model as an export has it."""

    export: Path
    model: Model
    record: dict[str, Any]
    settings: str
    rows: list[scores.Row]

    @cached_property
    def targets(self) -> dict[str, list[scores.Row]]:
        """Rows by target."""
        return {
            target: [row for row in self.rows if row.target == target] for target in scores.targets(self.rows)
        }

    @property
    def run(self) -> str:
        """What identifies its training."""
        return f"{IMPORTED}-{digest([self.model.path, *(self.record.get(key) for key in SAME)])}"


def run(config_folder: str | Path, results: Results, folders: list[Path]) -> None:
    """Bring exported folders together; importing one again changes nothing.

    Args:
        config_folder: the configuration that says what experiments and tables are made of them.
        results: a results folder of its own.
        folders: what ``export-scores`` wrote.

    Raises:
        SegShiftError: the results folder has models of its own; a folder is no export, or damaged; patients
            of one pool were hashed with different salts; a dataset is unknown, of another pool here, or was
            prepared otherwise in another export; or one model has other weights or scores in another.
    """
    grid = grids.read(config_folder)
    _only_imported(results)
    file = results.root / "imports.json"
    memory = _json(file) if file.exists() else {"salts": {}, "data": {}}
    exported: list[Exported] = []
    for folder in folders:
        content = exported_scores.read(folder)
        _check(folder, content, grid, memory["salts"])
        exported += (found := list(_models(folder, content["pools"])))
        if not found:
            raise SegShiftError(f"{folder} holds no model below {folder / 'cells'}")
    seen: dict[str, Any] = {}
    for one in exported:
        _check_data(one, memory["data"])
        _check_model(results.run(one.model.path), one, seen)
    write(file, json.dumps(memory, indent=1, sort_keys=True) + "\n")  # before the first score is here
    written: dict[Model, set[str]] = defaultdict(set)
    for one in exported:
        written[one.model].update(_add(results.run(one.model.path), one))
    several = Counter(one.model for one in exported)
    for model in (model for model, number in several.items() if model.external and number > 1):
        print(
            f"{model.path}: of {several[model]} exports, taken for one model; its weights have no digest here"
        )
    shown = {(model, target) for each in grid.experiments.values() for model, target in each.scores}
    named = sum((model, target) in shown for model, targets in written.items() for target in targets)
    count = sum(map(len, written.values()))
    print(f"{len(written)} models with {count} scores, {named} of them in experiments of {config_folder}")
    print("next: segshift track, segshift tabulate, with the same --results")


def _only_imported(results: Results) -> None:
    for file in sorted((results.root / "runs").rglob("run.json")):
        if not _json(file).get(IMPORTED):
            cell = file.parent.relative_to(results.root / "runs")
            raise SegShiftError(
                f"{results.root} holds models of its own, such as {cell}; bring scores together in another "
                "folder (--results), these exported and imported too"
            )


def _check(folder: Path, content: dict[str, Any], grid: Grid, pools: dict[str, str]) -> None:
    """Datasets are known and share patients with the same others; each pool has one salt."""
    group = groups(grid)
    for dataset, pool in content["pools"].items():
        if dataset not in grid.config.datasets:
            raise unknown(f"{folder}: unknown dataset", dataset, grid.config.datasets)
        if (own := group(dataset)) != pool:
            raise SegShiftError(
                f"{folder}: patients of {dataset} are of the pool {pool} there, of {own} here "
                f"({grid.config.folder}/datasets.yaml)"
            )
        if pools.setdefault(pool, content["salt"]) != content["salt"]:
            raise SegShiftError(
                f"{folder}: patients of the pool {pool} were hashed with another salt than in another "
                "export, so that one patient would be two; export again with the same --salt"
            )


def _models(folder: Path, pools: dict[str, str]) -> Iterator[Exported]:
    """The models of an export, read whole before anything is written."""
    for file in sorted((folder / "cells").rglob("record.json")):
        path = file.parent.relative_to(folder / "cells").as_posix()
        try:
            model = Model.parse(locate(path)[1])
            settings = (file.parent / "settings.yaml").read_text()
        except OSError as error:
            raise SegShiftError(f"{file.parent}/settings.yaml cannot be read: {error.strerror}") from None
        except SegShiftError as error:
            raise SegShiftError(f"{folder}: {error}") from None
        rows = scores.read(file.parent / "scores.csv")
        for dataset in (model.source, *scores.targets(rows)):
            if dataset not in pools:  # a name there is one of the configuration, and has one salt
                raise SegShiftError(
                    f"{file.parent} has scores of {dataset!r}, which export.json does not name"
                )
        yield Exported(folder, model, _json(file), settings, rows)


def _check_data(one: Exported, known: dict[str, str]) -> None:
    """Scores on a dataset are of one preparation of it: of other ones they do not compare."""
    for row in one.rows:
        name = f"{row.target}, {row.space}"
        if known.setdefault(name, row.data) != row.data:
            raise SegShiftError(
                f"{one.export}: {one.model.path} was scored on other data of {row.target} than in another "
                f"export ({row.data} instead of {known[name]}); scores compare on equal prepared data alone"
            )


def _check_model(folder: Path, one: Exported, seen: dict[str, Any]) -> None:
    """A model, and its scores on a target, are the same in every export and in what was imported before."""
    path, file = one.model.path, folder / "run.json"
    before = seen.setdefault(path, _json(file)["run"] if file.exists() else one.run)
    if before != one.run:
        raise SegShiftError(
            f"{one.export}: {path} is another model there than in another export; two trainings of one cell "
            "need different seeds"
        )
    for target, rows in one.targets.items():
        file = folder / "scores" / f"{target}.csv"
        if seen.setdefault(f"{path} {target}", scores.read(file) if file.exists() else rows) != rows:
            raise SegShiftError(f"{one.export}: {path} has other scores on {target} than in another export")


def _add(folder: Path, one: Exported) -> list[str]:
    """Add one model's scores to what is there; its targets."""
    record = one.record | {"run": one.run, IMPORTED: True, "origin": one.record.get("origin") or IMPORTED}
    known = _json(folder / "run.json") if (folder / "run.json").exists() else {}
    if {"leakage_checked"} & (record.keys() | known.keys()):  # of equal scores, one site's look is enough
        both = {*record.get("leakage_checked", []), *known.get("leakage_checked", [])}
        record["leakage_checked"] = sorted(both)
    for target, own in one.targets.items():
        scores.write(folder / "scores" / f"{target}.csv", own)
    if not (folder / "journal").is_dir():
        journal = Journal(folder)
        journal.start(one.run, {}, {"origin": record["origin"]})
        journal.end("FINISHED")
    write(folder / "settings.yaml", one.settings)
    write(folder / "run.json", json.dumps(record, indent=1) + "\n")
    together = [row for each in sorted((folder / "scores").glob("*.csv")) for row in scores.read(each)]
    scores.write(folder / "scores.csv", together)
    return list(one.targets)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise SegShiftError(f"{file} is damaged ({error})") from None
    return content
