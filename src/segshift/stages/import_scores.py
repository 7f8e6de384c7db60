"""`segshift import-scores FOLDER…`: exported scores of several sites in one results folder.

Its tables are as if all had been made there. The results folder holds nothing else, so that nobody's
workflow takes these models for its own.
"""

import json
from pathlib import Path
from typing import Any

from segshift import exchange, scores
from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.exchange import IMPORTED
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.settings import digest
from segshift.tables.samples import groups
from segshift.tracking import Journal

SAME = ("model", "settings", "parameters")  # of two records of one model


def run(config_folder: str | Path, results: Results, folders: list[Path]) -> None:
    """Bring exported folders together; importing one again changes nothing.

    Args:
        config_folder: the configuration that says what experiments and tables are made of them.
        results: a results folder of its own.
        folders: what ``export-scores`` wrote.

    Raises:
        SegShiftError: the results folder has models of its own; a folder is no export; patients of one pool
            were hashed with different salts; a dataset is unknown or of another pool here; or one model has
            other weights or scores in another folder.
    """
    grid = grids.read(config_folder)
    _only_imported(results)
    memory = results.root / "imports.json"
    pools: dict[str, str] = json.loads(memory.read_text()) if memory.exists() else {}
    for folder in folders:
        _check(folder, exchange.read(folder), grid, pools)
    memory.parent.mkdir(parents=True, exist_ok=True)
    _replace(memory, json.dumps(pools, indent=1, sort_keys=True) + "\n")  # before the first score is here
    written: dict[str, set[str]] = {}
    for folder in folders:
        for file in sorted((folder / "cells").rglob("record.json")):
            path = file.parent.relative_to(folder / "cells").as_posix()
            written.setdefault(path, set()).update(_model(results.run(path), file.parent, path, folder))
    shown = {(model.path, target) for each in grid.experiments.values() for model, target in each.scores}
    named = sum((path, target) in shown for path, targets in written.items() for target in targets)
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


def _model(folder: Path, exported: Path, path: str, export: Path) -> list[str]:
    """Add one model's scores to what is there; its targets."""
    record, model = _json(exported / "record.json"), Model.parse(path)
    record |= {"run": f"{IMPORTED}-{digest([path, *(record.get(key) for key in SAME)])}", IMPORTED: True}
    record["origin"] = record.get("origin") or IMPORTED
    if (file := folder / "run.json").exists():
        before = _json(file)
        if before["run"] != record["run"]:
            raise SegShiftError(
                f"{export}: {model.path} is another model there than in another export; two trainings of one "
                "cell need different seeds"
            )
    found = scores.read(exported / "scores.csv")
    for target in (targets := scores.targets(found)):
        _scores(folder / "scores" / f"{target}.csv", [row for row in found if row.target == target], export)
    if not (folder / "journal").is_dir():
        journal = Journal(folder)
        journal.start(record["run"], {}, {"origin": record["origin"]})
        journal.end("FINISHED")
    _replace(folder / "settings.yaml", (exported / "settings.yaml").read_text())
    _replace(file, json.dumps(record, indent=1) + "\n")
    together = [row for each in sorted((folder / "scores").glob("*.csv")) for row in scores.read(each)]
    scores.write(folder / "scores.csv", together)
    return targets


def _scores(file: Path, rows: list[scores.Row], export: Path) -> None:
    if file.exists() and scores.read(file) != rows:
        raise SegShiftError(
            f"{export}: {file.stem} has other scores there than in another export, see {file}"
        )
    scores.write(file, rows)


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        if not isinstance(content, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise SegShiftError(f"{file} is damaged ({error})") from None
    return content


def _replace(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(text)
    part.replace(file)
