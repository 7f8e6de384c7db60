"""`segshift evaluate CELL [TARGET…]`: score a finished model on all its targets, in one process.

Dice and IoU on the prepared grid are always computed, more where ``evaluation`` in ``project.yaml`` or an
option asks for it. A target that was scored with the same weights and data, and with all that is asked for,
is not computed again. When one target fails the others go on.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from segshift import config as configuration
from segshift import examples, grid, inference, raw_labels, scores, scoring, tracking
from segshift import model as models
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.evaluation import DEFAULT, Asked, Evaluation
from segshift.measures import METRICS
from segshift.paths import Results, locate
from segshift.prepared import Prepared
from segshift.settings import read_settings


def run(
    cell: str,
    targets: list[str],
    root: str = "results",
    config: str = "config",
    device: str = "auto",
    metrics: Sequence[str] | None = None,
    spaces: Sequence[str] | None = None,
    tolerance: float | None = None,
) -> None:
    """Write ``scores/<target>.csv`` one by one, then their sum, ``scores.csv``.

    Args:
        cell: a model's folder or path.
        targets: datasets to score on; without any, those that the experiments in ``config`` name for it.
        root: the results folder, where ``cell`` is a path.
        config: the configuration that says what is computed.
        device: ``auto``, ``cpu`` or ``cuda``.
        metrics: instead of what the configuration says; so are ``spaces`` and ``tolerance`` (mm).

    Raises:
        SegShiftError: a target failed; names them all. What could be scored is there.
    """
    started = time.monotonic()
    results, path = locate(cell, root)
    if grid.Model.parse(path).external:
        raise SegShiftError(f"{path} was made by another tool, of which masks are scored: segshift score")
    folder = results.run(path)
    settings = read_settings(folder)
    targets = targets or _named(path, config)
    asked = asked_for(config, settings, {"metrics": metrics, "spaces": spaces, "tolerance": tolerance})
    checkpoints = inference.load(folder, settings, results, find_device(device))
    for one in checkpoints:
        for name in one.content["data"]:
            models.check_data(one.content, name, Prepared(results.data(name)).sha256)
    failed = {}
    for target in targets:
        try:
            if _score(target, folder, settings, results, checkpoints, device, asked):
                scores.write_seconds(folder, target, time.monotonic() - started)
        except Exception as error:  # one target's trouble must not cost the others
            failed[target] = error
            print(f"{target}: {type(error).__name__}: {error}", flush=True)
        started = time.monotonic()
    if failed:
        for target, error in failed.items():
            if not isinstance(error, SegShiftError):
                raise SegShiftError(f"{path}: {target} could not be scored: {error!r}") from error
        raise SegShiftError(f"{path}: not scored: " + "; ".join(f"{name}: {e}" for name, e in failed.items()))
    rows = [row for target in targets for row in scores.read(folder / "scores" / f"{target}.csv")]
    scores.write(folder / "scores.csv", rows)
    if budget := (tracking.read_record(folder) or {}).get("budget"):
        print(f"labelled patients of {settings['target']['dataset']}: {budget}", flush=True)


def _named(path: str, config: str) -> list[str]:
    known = grid.read(config).targets
    if path not in known:
        raise SegShiftError(f"no experiment in {config} has the cell {path}; name its targets")
    return known[path]


def asked_for(config: str, settings: dict[str, Any], options: dict[str, Any]) -> Asked:
    """What is computed: as the configuration says, if there is one, unless options say otherwise."""
    found = configuration.evaluation(config) if Path(config).is_dir() else Evaluation()
    given = {name: value for name, value in options.items() if value is not None}
    if not given.get("tolerance", 1) > 0:
        raise SegShiftError(f"the tolerance {given['tolerance']:g} must be a positive number of mm")
    return Evaluation(**(found.model_dump() | given)).asked(settings["source"].get("anatomy", ""))


def _score(
    target: str,
    folder: Path,
    settings: dict[str, Any],
    results: Results,
    checkpoints: list[inference.Checkpoint],
    device: str,
    asked: Asked,
) -> bool:
    """Score one target; False if that was done with these weights and this data, and nothing is missing."""
    prepared = Prepared(results.data(target))
    file = folder / "scores" / f"{target}.csv"
    if _scored(file, checkpoints, prepared, asked):
        print(f"{target}: was scored before", flush=True)
        return False
    if prepared.classes != settings["classes"]:
        raise SegShiftError(f"{target} has the classes {prepared.classes}, the model {settings['classes']}")
    check_patients(settings, results, target, prepared)
    rows = []
    for split in scores.SPLITS:
        rows += scoring.score(checkpoints, prepared, target, split, find_device(device), asked)
    scores.write(file, rows)
    examples.write(file.with_suffix(".png"), rows, checkpoints[0], prepared, find_device(device))
    for line in lines(rows, target, asked):
        print(line, flush=True)
    return True


def _scored(file: Path, checkpoints: list[inference.Checkpoint], prepared: Prepared, asked: Asked) -> bool:
    """True if a file has all that is asked for, of these weights and this data; more does not hurt."""
    if not file.exists():
        return False
    rows = [row for row in scores.read(file) if row.space in asked.spaces]
    data = {"prepared": prepared.sha256[:16]}
    if "native" in asked.spaces:
        data["native"] = raw_labels.digest(prepared)[:16]
    found = {(row.checkpoint, row.model, row.data, row.space) for row in rows}
    if found != {(one.name, one.digest, data[space], space) for one in checkpoints for space in asked.spaces}:
        return False
    classes = [row for row in rows if row.class_ != scores.WHOLE]
    return all(scores.has([row], metric) for row in classes for metric in asked.metrics) and (
        "nsd" not in asked.metrics or {row.tolerance for row in classes} == {asked.tolerance}
    )


def lines(rows: list[scores.Row], target: str, asked: Asked) -> Iterator[str]:
    """What is printed of a target: its means, and what a missed structure counted."""
    shown = [metric for metric in asked.metrics if metric != "iou" or asked.metrics != DEFAULT.metrics]
    for space in asked.spaces:
        means = []
        for metric in shown:
            mean, measure = scores.score(rows, target, "test", metric=metric, space=space), METRICS[metric]
            means.append(f"{measure.title} {mean:.2f}" + (" mm" if measure.unit == "mm" else ""))
        yield f"{target}: test {', '.join(means)}" + (f" ({space})" if space != "prepared" else "")
    if asked.surfaces:
        worst = [row.missed for row in rows if row.missed is not None]
        span = f"{min(worst):.1f}" + (f" to {max(worst):.1f}" if max(worst) > min(worst) else "")
        yield f"{target}: a missed structure counts {span} mm for HD95 and ASSD, 0 for NSD"


def check_patients(settings: dict[str, Any], results: Results, target: str, prepared: Prepared) -> None:
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
