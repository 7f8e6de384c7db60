"""`segshift score FOLDER --dataset NAME --name MODEL`: score masks that another tool made.

The model's place is ``results/runs/<source>/<name>/external/external/<seed>``; its folder looks as if it had
been trained and evaluated here, so that tracking, tables and statistics take it like any other. One that has
no ``model.ckpt`` is made by no workflow.
"""

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from segshift import config as configuration
from segshift import external_masks, lock, mask_files, scores, tracking
from segshift import grid as grids
from segshift.entries import NAME, Config
from segshift.errors import SegShiftError, unknown
from segshift.grid import Model
from segshift.identity import EXTERNAL
from segshift.paths import Results, write
from segshift.prepared import Prepared
from segshift.settings import digest
from segshift.stages import evaluate
from segshift.tracking import Journal

WAIT = 0.2  # seconds between two looks at another's lock


def run(
    config_folder: str,
    results: Results,
    folder: Path,
    dataset: str,
    name: str,
    source: str | None = None,
    seed: int | None = None,
    validation: Path | None = None,
    raw: bool = False,
    options: Mapping[str, Any] | None = None,
    unchecked: bool = False,
) -> Path:
    """Score masks of a dataset's test volumes; returns the model's folder.

    Args:
        config_folder: the configuration.
        results: where the prepared dataset lies, and the scores will.
        folder: of the masks.
        dataset: whose test volumes they are of.
        name: of the model.
        source: the dataset that it was trained on; default: ``dataset``.
        seed: of its training; default: the first of ``project.yaml``.
        validation: a folder of masks of the validation volumes.
        raw: the masks' numbers are those of the raw label files.
        options: ``metrics``, ``spaces`` and ``tolerance``, instead of what the configuration says.
        unchecked: score them even where the source is not prepared, so that leakage cannot be looked for;
            tables then say so.

    Raises:
        SegShiftError: an unknown or unprepared dataset, a name that is one of our models', masks that are
            missing, do not fit or hold what is no class, a test patient that the source trained on, or a
            source that is not prepared (unless ``unchecked``).
    """
    config = configuration.read(config_folder)
    model = _model(config, dataset, name, source, seed)
    prepared = Prepared(results.data(dataset))
    settings = _settings(config, model)
    if prepared.classes != settings["classes"]:
        raise SegShiftError(f"{dataset} has the classes {prepared.classes}, the model {settings['classes']}")
    checked = _check_patients(settings, results, dataset, prepared, unchecked)
    asked = evaluate.asked_for(config_folder, settings, dict(options or {}))
    pictures = mask_files.of_pictures(prepared)
    raw_folder = config.raw(results.home, dataset)
    rows = []
    for split, where in (("validation", validation), ("test", folder)):
        if where is not None:
            images = partial(mask_files.images, prepared, split, raw_folder) if pictures else None
            found, extra = mask_files.find(where, mask_files.file_names(prepared)[split], images)
            if extra:
                print(f"{dataset}: not of its {split} volumes, not scored: {', '.join(extra)}", flush=True)
            rows += external_masks.score(found, prepared, dataset, split, asked, raw)
    _write(results.run(model.path), settings, dataset, prepared.sha256, checked, rows)
    for line in evaluate.lines(rows, dataset, asked):
        print(line, flush=True)
    told = "" if source else f" (taken as trained on {dataset}; --source says otherwise)"
    print(f"scored as {model.path}{told}", flush=True)
    _hint(config_folder, model, dataset)
    return results.run(model.path)


def _model(config: Config, dataset: str, name: str, source: str | None, seed: int | None) -> Model:
    for one in (dataset, *([source] if source else [])):
        if one not in config.datasets:
            raise unknown("unknown dataset", one, config.datasets)
    if not NAME.fullmatch(name):
        raise SegShiftError(f"the name {name!r} is a folder's too and may hold a-z, 0-9 and _ only")
    if name in config.backbones and name not in config.external:
        raise SegShiftError(f"{name} is one of {config.folder}/backbones.yaml; give the masks another name")
    source = source or dataset
    anatomy = config.datasets[source].anatomy
    if (other := config.datasets[dataset].anatomy) != anatomy:
        raise SegShiftError(f"{source} shows the {anatomy}, {dataset} the {other}")
    seed = config.project.seeds[0] if seed is None else seed
    if seed < 0:
        raise SegShiftError(f"--seed {seed} is below 0")
    return Model(source, name, EXTERNAL, EXTERNAL, seed)


def _settings(config: Config, model: Model) -> dict[str, Any]:
    """What a model's folder says of one that was made elsewhere."""
    anatomy = config.datasets[model.source].anatomy
    return {
        "cell": model.path,
        "classes": config.anatomies[anatomy].classes,
        "source": {"dataset": model.source, "anatomy": anatomy},
        "external": model.backbone,
        "seed": model.seed,
    }


def _check_patients(
    settings: dict[str, Any], results: Results, dataset: str, prepared: Prepared, unchecked: bool
) -> bool:
    """No test patient is one that the source trains on or selects by; False if that cannot be known and need
    not be."""
    source = settings["source"]["dataset"]
    if not Prepared(results.data(source)).exists():
        if not unchecked:
            raise SegShiftError(
                f"{source} is not prepared here, so that nobody can tell whether test patients of {dataset} "
                f"are among those that the model was trained on: segshift prepare {source}, or --unchecked, "
                "and tables will say so"
            )
        print(f"{source} is not prepared here: {dataset} was not checked for leakage, and tables say so")
        return False
    evaluate.check_patients(settings, results, dataset, prepared)
    return True


def _write(
    folder: Path,
    settings: dict[str, Any],
    dataset: str,
    sha256: str,
    checked: bool,
    rows: list[scores.Row],
) -> None:
    """The files of a model's folder; what was scored before of other datasets stays."""
    while (held := lock.take(folder / "score.lock")) is None:
        time.sleep(WAIT)
    with held:
        scores.write(folder / "scores" / f"{dataset}.csv", rows)
        write(folder / "settings.yaml", grids.render(settings))
        record = {"run": f"{EXTERNAL}-{digest(settings)}", "cell": settings["cell"]}
        record |= {"parameters": {"trainable": None}, "origin": EXTERNAL}
        # no job scores the masks again where a dataset is prepared anew: it must be seen
        known = tracking.read_record(folder) or {}
        record["scored"] = {**known.get("scored", {}), dataset: sha256}
        kept = set(known.get("leakage_checked", [])) - {dataset}
        record["leakage_checked"] = sorted(kept | ({dataset} if checked else set()))
        if not (folder / "journal").is_dir():
            journal = Journal(folder)
            journal.start(record["run"], {}, {"origin": EXTERNAL})
            journal.end("FINISHED")
        write(folder / "run.json", json.dumps(record, indent=1) + "\n")
        files = sorted((folder / "scores").glob("*.csv"))
        scores.write(folder / "scores.csv", [row for file in files for row in scores.read(file)])


def _hint(config_folder: str, model: Model, dataset: str) -> None:
    """How the scores come into a table, where nothing asks for them yet."""
    grid = grids.read(config_folder)
    if model.backbone in grid.config.external and any(
        (one, target) == (model, dataset) for each in grid.experiments.values() for one, target in each.scores
    ):
        return
    entry = f"{model.backbone}: {{pretrained_on: {{}}}}"
    line = (
        f"- {{source: [{model.source}], backbone: [{model.backbone}], tuning: [external], head: [external]}}"
    )
    print(
        f"no experiment shows it yet; in {config_folder}/external.yaml: {entry}\n"
        f"and in the grid of an experiment: {line}"
    )
