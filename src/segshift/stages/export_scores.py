"""`segshift export-scores FOLDER`: scores of each patient and class for other sites, without names and paths.

See ``exported_scores.py`` for what leaves. No voxel does.
"""

import json
from pathlib import Path

from segshift import exported_scores, scores, tracking
from segshift import grid as grids
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model
from segshift.paths import Results, appearing
from segshift.settings import read_settings
from segshift.tables.samples import groups


def run(
    config_folder: str | Path,
    results: Results,
    folder: Path,
    experiments: list[str] | None = None,
    salt: Path | None = None,
) -> None:
    """Write the scores of all finished models of some experiments.

    Args:
        config_folder: the configuration.
        results: where the models are.
        folder: where to; it appears when it is complete.
        experiments: default: all.
        salt: a file with a secret; sites that have patients in common use the same. Default: one is made for
            this results folder, and used again.

    Raises:
        SegShiftError: an unknown experiment, a folder that is there already, a salt that is missing or short,
            or nothing to write.
    """
    grid = grids.read(config_folder)
    for name in experiments or ():
        if name not in grid.experiments:
            raise unknown("unknown experiment", name, grid.experiments)
    models = grid.models(experiments or None)
    with appearing(folder) as part:
        secret = exported_scores.secret(results, salt)
        written = {model: targets for model in models if (targets := _model(part, results, model, secret))}
        if not written:
            raise SegShiftError(f"none of {len(models)} models has scores in {results.root}")
        content = {
            "format": exported_scores.FORMAT,
            "salt": exported_scores.fingerprint(secret),
            "pools": _pools(grid, written),
        }
        (part / "export.json").write_text(json.dumps(content, indent=1) + "\n")
    count = sum(map(len, written.values()))
    print(f"{len(written)} of {len(models)} models with {count} scores in {folder}")
    if salt is None:
        print(
            "hashed with this folder's own salt: sites with patients in common need --salt with the same file"
        )


def _model(part: Path, results: Results, model: Model, secret: bytes) -> list[str]:
    """Write one model; its targets, none if it is not finished."""
    folder = results.run(model.path)
    record = tracking.read_record(folder)
    if record is None or not (folder / "scores.csv").exists():
        return []
    found = scores.read(folder / "scores.csv")
    if tracking.outdated(record, found):
        print(f"{model.path}: its scores are of an older model, not exported")
        return []
    to = part / "cells" / model.path
    scores.write(to / "scores.csv", exported_scores.rows(found, secret))
    (to / "settings.yaml").write_text(grids.render(exported_scores.settings(read_settings(folder))))
    (to / "record.json").write_text(json.dumps(exported_scores.record(record), indent=1) + "\n")
    return scores.targets(found)


def _pools(grid: Grid, written: dict[Model, list[str]]) -> dict[str, str]:
    """Which datasets share patients: by dataset the name of their pool."""
    group = groups(grid)
    datasets = {name for model, targets in written.items() for name in (model.source, *targets)}
    for name in datasets:
        if name not in grid.config.datasets:
            raise unknown("scores of an unknown dataset", name, grid.config.datasets)
    return {name: group(name) for name in sorted(datasets)}
