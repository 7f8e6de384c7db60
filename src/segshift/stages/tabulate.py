"""``segshift tabulate``: an experiment's table, from what MLflow tracked, checked against the score files."""

import json
import sys
from pathlib import Path

from segshift import grid as grids
from segshift import scores as score_files
from segshift import settings, tracking
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model, Score
from segshift.mlflow_store import Run, Store
from segshift.paths import Results
from segshift.syncing import RUN
from segshift.tables import aggregate, writers
from segshift.tables.asked import Tracked
from segshift.tables.table import Evidence, Table

NAMED = 10  # missing scores that an error names


def run(
    config_folder: str | Path,
    results: Results,
    experiment: str,
    partial: bool = False,
    folder: Path | None = None,
) -> Table:
    """Write ``<experiment>.csv`` and ``<experiment>.md``, and return the table.

    Args:
        config_folder: the configuration whose grid says what the table is made of.
        results: where scores and tracking lie.
        experiment: which one.
        partial: build it though scores are missing; they are dashes, and footnotes name the cells.
        folder: where to write; default: ``results/tables``, or ``results/tables/partial``.

    Raises:
        SegShiftError: a score is missing (unless partial), or is not tracked as its score file says.
    """
    grid = grids.read(config_folder)
    if experiment not in grid.experiments:
        raise unknown("tabulate: unknown experiment", experiment, grid.experiments)
    tracked = read(grid, results, experiment)
    if not partial and (lost := aggregate.missing(grid, experiment, tracked.scores)):
        raise SegShiftError(f"{experiment}: {_sentence(lost, tracked)}")
    table = aggregate.build(grid, experiment, tracked)
    folder = folder or (results.tables / "partial" if partial else results.tables)
    for ending, text in (
        ("csv", writers.to_csv(table)),
        ("md", writers.to_markdown(table, grid.config.labels)),
    ):
        write(folder / f"{experiment}.{ending}", text)
        if folder == results.tables:  # what was missing is there: nobody must read the old partial table
            (folder / "partial" / f"{experiment}.{ending}").unlink(missing_ok=True)
    return table


def _sentence(lost: list[Score], tracked: Tracked) -> str:
    named = [
        f"{model.path} on {target}" + (f" ({why})" if (why := tracked.failures.get(model)) else "")
        for model, target in lost[:NAMED]
    ]
    more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"{len(lost)} scores are missing: {'; '.join(named)}{more}"


def read(grid: Grid, results: Results, experiment: str) -> Tracked:
    """What is tracked of an experiment.

    Raises:
        SegShiftError: a model has scores that MLflow does not have, or has otherwise; the cell is named.
    """
    wanted: dict[Model, list[str]] = {}
    for model, target in grid.experiments[experiment].scores:
        if not grid.planned(model, target):
            wanted.setdefault(model, []).append(target)
    finished = {model: rows for model in wanted if (rows := _scored(results.run(model.path)))}
    runs = _tracked_runs(grid, results, list(finished))
    failures = {model: _failure(results, model) for model in wanted if model not in finished}
    outdated = [m for m in finished if settings.outdated(results.run(m.path), grid.settings(m))]
    tracked = Tracked({}, {}, failures, outdated)
    for model, rows in finished.items():
        tracked.trainable[model] = _trainable(model, runs[model])
        for target in set(wanted[model]) & set(score_files.targets(rows)):
            tracked.scores[Score(model, target)] = _evidence(model, target, rows, runs[model])
    return tracked


def _scored(folder: Path) -> list[score_files.Row] | None:
    """The scores of a finished model, unless they are of an older one."""
    file, record = folder / "scores.csv", tracking.read_record(folder)
    if record is None or not file.exists():
        return None
    rows = score_files.read(file)
    return None if tracking.outdated(record, rows) else rows


def _tracked_runs(grid: Grid, results: Results, models: list[Model]) -> dict[Model, Run]:
    """The MLflow run of each finished model."""
    if not models:
        return {}
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    file = results.tracking / "runs.json"
    ids = json.loads(file.read_text()).get(tracking.key(results, uri), {}) if file.exists() else {}
    if untracked := [model.path for model in models if model.path not in ids]:
        raise SegShiftError(f"{_some(untracked)} not tracked in {tracking.shown(uri)}: run segshift track")
    database = tracking.database(uri)
    if database and not database.exists():
        raise SegShiftError(f"the tracking database {database} is gone: run segshift track")
    runs = Store(uri, grid.config.project.tracking.experiment).runs([ids[model.path] for model in models])
    found = {}
    for model in models:
        record = tracking.read_record(results.run(model.path))
        run = runs.get(ids[model.path])
        if run is None or run.data.tags.get(RUN) != record["run"]:
            raise SegShiftError(f"{model.path} is not tracked as it is now: run segshift track")
        found[model] = run
    return found


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(paths[:3])}{more} {'is' if len(paths) == 1 else 'are'}"


def _trainable(model: Model, run: Run) -> int:
    try:
        return int(run.data.params["trainable"])
    except (KeyError, ValueError):
        raise SegShiftError(
            f"{model.path}: its MLflow run {run.info.run_id} has no parameter trainable: run segshift track"
        ) from None


def _evidence(model: Model, target: str, rows: list[score_files.Row], run: Run) -> Evidence:
    """A tracked score, if its score file says the same to the last digit."""
    name = f"test/{target}/dice"
    written, tracked = score_files.dice(rows, target, "test"), run.data.metrics.get(name)
    if tracked != written:
        raise SegShiftError(
            f"{model.path}: MLflow says {name} is {tracked}, its score file says {written}: "
            "run segshift track if the model was scored again, else find out who changed which"
        )
    return Evidence(
        model.path, target, tracked, tuple(score_files.volumes(rows, target, "test")), run.info.run_id
    )


def _failure(results: Results, model: Model) -> str:
    """The last word of a model without scores: of its own journal or log, else of what it is made from."""
    folder = results.run(model.path)
    attempts = tracking.read(folder)
    if attempts and (error := attempts[-1].error):
        return " ".join(error.split())  # a footnote is one paragraph
    for log in ("evaluate.log", "adapt.log", "train.log"):
        try:
            lines = (folder / log).read_text(errors="replace").split("\n")
        except FileNotFoundError:
            continue
        if told := [line.strip() for line in lines if line.strip()]:
            return told[-1]
    return _failure(results, model.cell) if model.adapt else "it was not started"


def write(file: Path, text: str) -> None:
    """Write by rename: a reader sees the old file or the new one."""
    part = file.with_name(file.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(text)
    part.replace(file)


def show(config_folder: str | Path, results: Results) -> None:
    """Print every table in the order of the experiments, where the files are, and how to look at the runs."""
    names = grids.read(config_folder).experiments
    files = [file for name in names if (file := results.tables / f"{name}.md").exists()]
    if not files:
        raise SegShiftError(
            f"there are no tables in {results.tables}: run the workflow, or segshift tabulate"
        )
    for file in files:
        print(file.read_text())
    print(f"Tables: {results.tables}")
    if results.report.exists():
        print(f"Report: {results.report}")
    # `make demo` is said without the environment being active, so the command must work without it
    program = Path(sys.executable).with_name("segshift")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else "segshift"
    print(f"Curves and runs: {shown} ui --config {config_folder} --results {results.root}")
