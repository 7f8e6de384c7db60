"""`segshift evaluate CELL [TARGET…]`: score a finished model on all its targets, in one process.

A target that was scored with the same weights and data is not computed again. When one target fails the
others go on.
"""

from pathlib import Path
from typing import Any

from segshift import grid, inference, scores
from segshift import model as models
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.paths import Results, locate
from segshift.prepared import Prepared
from segshift.settings import read_settings


def run(
    cell: str, targets: list[str], root: str = "results", config: str = "config", device: str = "auto"
) -> None:
    """Write ``scores/<target>.csv`` one by one, then their sum, ``scores.csv``.

    Args:
        cell: a model's folder or path.
        targets: datasets to score on; without any, those that the experiments in ``config`` name for it.

    Raises:
        SegShiftError: a target failed; names them all. What could be scored is there.
    """
    results, path = locate(cell, root)
    folder = results.run(path)
    settings = read_settings(folder)
    targets = targets or _named(path, config)
    checkpoints = inference.load(folder, settings, results, find_device(device))
    for one in checkpoints:
        for name in one.content["data"]:
            models.check_data(one.content, name, Prepared(results.data(name)).sha256)
    failed = {}
    for target in targets:
        try:
            _score(target, folder, settings, results, checkpoints, device)
        except Exception as error:  # one target's trouble must not cost the others
            failed[target] = error
            print(f"{target}: {type(error).__name__}: {error}", flush=True)
    if failed:
        for target, error in failed.items():
            if not isinstance(error, SegShiftError):
                raise SegShiftError(f"{path}: {target} could not be scored: {error!r}") from error
        raise SegShiftError(f"{path}: not scored: " + "; ".join(f"{name}: {e}" for name, e in failed.items()))
    rows = [row for target in targets for row in scores.read(folder / "scores" / f"{target}.csv")]
    scores.write(folder / "scores.csv", rows)


def _named(path: str, config: str) -> list[str]:
    known = grid.read(config).targets
    if path not in known:
        raise SegShiftError(f"no experiment in {config} has the cell {path}; name its targets")
    return known[path]


def _score(
    target: str, folder: Path, settings: dict[str, Any], results: Results, checkpoints: list, device: str
) -> None:
    """Score one target, unless that was done with these weights and this data."""
    prepared = Prepared(results.data(target))
    file = folder / "scores" / f"{target}.csv"
    if _scored(file, checkpoints, prepared):
        print(f"{target}: was scored before", flush=True)
        return
    if prepared.classes != settings["classes"]:
        raise SegShiftError(f"{target} has the classes {prepared.classes}, the model {settings['classes']}")
    _check_patients(settings, results, target, prepared)
    rows = []
    for split in scores.SPLITS:
        rows += inference.score(checkpoints, prepared, target, split, find_device(device))
    scores.write(file, rows)
    print(f"{target}: test Dice {scores.dice(rows, target, 'test'):.2f}", flush=True)


def _scored(file: Path, checkpoints: list[inference.Checkpoint], prepared: Prepared) -> bool:
    if not file.exists():
        return False
    found = {(row.checkpoint, row.model, row.data) for row in scores.read(file)}
    return found == {(one.name, one.digest, prepared.sha256[:16]) for one in checkpoints}


def _check_patients(settings: dict[str, Any], results: Results, target: str, prepared: Prepared) -> None:
    """A patient that a model learned from, or that selected it, is in no test set.

    Raises:
        SegShiftError: one is; names patient, datasets and split.
    """
    tested = {volume.patient for volume in prepared.volumes("test")}
    for part in ("source", "target"):
        if part in settings:
            learned = Prepared(results.data(name := settings[part]["dataset"]))
            for split in ("train", "validation"):
                for volume in learned.volumes(split):
                    if volume.patient in tested:
                        raise SegShiftError(
                            f"patient {volume.patient} is in the {split} split of {name}, which "
                            f"{settings['cell']} learned from, and in the test split of {target}"
                        )
