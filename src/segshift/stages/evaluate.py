"""`segshift evaluate CELL [TARGET…]`: score a finished model on all its targets, in one process.

Dice and IoU on the prepared grid are always computed, more where ``evaluation`` in ``project.yaml`` or an
option asks for it. A target that was scored with the same weights and data, and with all that is asked for,
is not computed again. When one target fails the others go on.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segshift import config as configuration
from segshift import examples, finished_files, grid, inference, raw_labels, rows, scores, scoring, tracking
from segshift import model as models
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.evaluation import DEFAULT, Asked, Evaluation
from segshift.measures import METRICS
from segshift.paths import Results, locate
from segshift.prepared import Prepared
from segshift.settings import read_settings


class Loaded(NamedTuple):
    """A model that is to be scored."""

    folder: Path
    settings: dict[str, Any]
    checkpoints: list[inference.Checkpoint]

    def tell(self, text: str) -> None:
        """Say something of it, where it is scored with others."""
        with (self.folder / rows.LOG).open("a") as log:
            print(text, file=log)


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
    model = Loaded(folder, settings, inference.load(folder, settings, results, find_device(device)))
    _check_data(model, results)
    failed = {}
    for target in targets:
        try:
            if _score(target, [model], results, device, asked, lambda _, text: print(text, flush=True)):
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


def together(
    todo: Sequence[tuple[Path, dict[str, Any]]], results: Results, config: str, device: str = "auto"
) -> None:
    """Score models that can be trained in a row, from one pass of their backbone, each as ``run`` does.

    Only what the experiments name, is prepared and was not scored yet; each says so in its ``row.log``.

    Args:
        todo: the models' folders and settings. Finished files may lie in ``resume/ready`` still.
        results: where data and weights are.
        config: the configuration that says what is computed.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        SegShiftError: what is wrong with any of them; targets before are scored.
    """
    started = time.monotonic()
    known, asked = grid.read(config).targets, asked_for(config, todo[0][1], {})
    places = [(finished_files.folder(folder), settings) for folder, settings in todo]
    found = inference.load_row(places, results, find_device(device))
    loaded = [Loaded(*one, checkpoints) for one, checkpoints in zip(todo, found, strict=True)]
    for model in loaded:
        _check_data(model, results)
    targets = {name: None for model in loaded for name in known.get(model.settings["cell"], ())}
    for target in targets:
        named = [model for model in loaded if target in known.get(model.settings["cell"], ())]
        if Prepared(results.data(target)).exists():
            scored = _score(target, named, results, device, asked, Loaded.tell)
            for model in scored:  # its share, as of the training
                scores.write_seconds(model.folder, target, (time.monotonic() - started) / len(scored))
            started = time.monotonic()


def _check_data(model: Loaded, results: Results) -> None:
    for one in model.checkpoints:
        for name in one.content["data"]:
            models.check_data(one.content, name, Prepared(results.data(name)).sha256)


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
    loaded: list[Loaded],
    results: Results,
    device: str,
    asked: Asked,
    say: Callable[[Loaded, str], None],
) -> list[Loaded]:
    """Score one target; returns the models that were not scored with these weights and this data before, or
    not with all that is asked for."""
    prepared, todo = Prepared(results.data(target)), []
    for model in loaded:
        if _scored(_file(model, target), model.checkpoints, prepared, asked):
            say(model, f"{target}: was scored before")
            continue
        if prepared.classes != model.settings["classes"]:
            raise SegShiftError(
                f"{target} has the classes {prepared.classes}, the model {model.settings['classes']}"
            )
        check_patients(model.settings, results, target, prepared)
        todo.append(model)
    checkpoints = [one for model in todo for one in model.checkpoints]
    gathered: list[list[scores.Row]] = [[] for _ in todo]
    for split in scores.SPLITS if todo else ():
        found = iter(scoring.score(checkpoints, prepared, target, split, find_device(device), asked))
        for own, model in zip(gathered, todo, strict=True):
            own += [row for _ in model.checkpoints for row in next(found)]
    for own, model in zip(gathered, todo, strict=True):
        file = _file(model, target)
        scores.write(file, own)
        examples.write(file.with_suffix(".png"), own, model.checkpoints[0], prepared, find_device(device))
        for line in lines(own, target, asked):
            say(model, line)
    return todo


def _file(model: Loaded, target: str) -> Path:
    return model.folder / "scores" / f"{target}.csv"


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
