"""``segshift tabulate``: a table, from what MLflow tracked, checked against the score files."""

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
from segshift.table_entries import DatasetTable, SelectionTable
from segshift.tables import aggregate, asked, files, html, inventory, layout, selection
from segshift.tables.asked import Tracked
from segshift.tables.table import Evidence, Table

NAMED = 10  # missing scores that an error names


def run(
    config_folder: str | Path,
    results: Results,
    name: str,
    partial: bool = False,
    folder: Path | None = None,
) -> Table:
    """Write a table of tables.yaml, or an experiment's, in every format that it has, and return it.

    Args:
        config_folder: the configuration that says what the table is made of.
        results: where scores and tracking lie.
        name: a table's number, or an experiment.
        partial: build it though scores are missing; they are dashes, and footnotes name the cells.
        folder: where to write; default: ``results/tables``, or ``results/tables/partial``.

    Raises:
        SegShiftError: a score is missing (unless partial), or is not tracked as its score file says.
    """
    grid = grids.read(config_folder)
    known = [*grid.config.tables, *grid.experiments]
    if name not in known:
        what = "table or experiment" if grid.config.tables else "experiment"
        raise unknown(f"tabulate: unknown {what}", name, known)
    folder = folder or (results.tables / "partial" if partial else results.tables)
    if name in grid.config.tables:
        table, entry = _numbered(grid, results, name, partial), grid.config.tables[name]
    else:
        tracked = _complete(grid, results, [name], name, partial)
        table, entry = aggregate.build(grid, name, tracked), None
    texts = files.texts(table, entry, grid.config.labels, link(grid, results))
    for ending, text in texts.items():
        files.write(folder / f"{table.name}.{ending}", text)
        if folder == results.tables:  # what was missing is there: nobody must read the old partial table
            (folder / "partial" / f"{table.name}.{ending}").unlink(missing_ok=True)
    return table


def _numbered(grid: Grid, results: Results, name: str, partial: bool) -> Table:
    """A table of tables.yaml."""
    entry = grid.config.tables[name]
    if isinstance(entry, DatasetTable):
        return inventory.build(grid.config, name, results)
    tracked = _complete(grid, results, entry.experiments, name, partial)
    build = selection.build if isinstance(entry, SelectionTable) else layout.build
    return build(grid, name, asked.of_grid(grid, entry.experiments), tracked)


def _complete(grid: Grid, results: Results, experiments: list[str], name: str, partial: bool) -> Tracked:
    """What is tracked of experiments; an error if it is not all and all is wanted."""
    found = [read(grid, results, experiment, name) for experiment in experiments]
    tracked = Tracked(
        {score: evidence for one in found for score, evidence in one.scores.items()},
        {model: count for one in found for model, count in one.trainable.items()},
        {model: why for one in found for model, why in one.failures.items()},
        list(dict.fromkeys(model for one in found for model in one.outdated)),
        {model: count for one in found for model, count in one.heads.items()},
    )
    missing = [
        score
        for experiment in experiments
        for score in aggregate.missing(grid, experiment, tracked.scores)
        if name not in grid.config.tables or grid.shows(name, *score)
    ]
    if missing and not partial:
        raise SegShiftError(f"{name}: {_sentence(list(dict.fromkeys(missing)), tracked)}")
    return tracked


def link(grid: Grid, results: Results) -> html.Link | None:
    """Where MLflow shows a run, if it is a server."""
    uri = tracking.uri(results, grid.config.project.tracking.uri)
    if not uri.startswith(("http://", "https://")):
        return None
    return html.tracked(tracking.shown(uri), Store(uri, grid.config.project.tracking.experiment).experiment)


def _sentence(lost: list[Score], tracked: Tracked) -> str:
    named = [
        f"{model.path} on {target}" + (f" ({why})" if (why := tracked.failures.get(model)) else "")
        for model, target in lost[:NAMED]
    ]
    more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"{len(lost)} scores are missing: {'; '.join(named)}{more}"


def read(grid: Grid, results: Results, experiment: str, table: str = "") -> Tracked:
    """What is tracked of an experiment, as far as a table of tables.yaml shows it.

    Raises:
        SegShiftError: a model has scores that MLflow does not have, or has otherwise; the cell is named.
    """
    wanted: dict[Model, list[str]] = {}
    for model, target in grid.experiments[experiment].scores:
        shown = table not in grid.config.tables or grid.shows(table, model, target)
        if shown and not grid.planned(model, target):
            wanted.setdefault(model, []).append(target)
    finished = {model: rows for model in wanted if (rows := _scored(results.run(model.path)))}
    runs = _tracked_runs(grid, results, list(finished))
    failures = {model: _failure(results, model) for model in wanted if model not in finished}
    outdated = [m for m in finished if settings.outdated(results.run(m.path), grid.settings(m))]
    tracked = Tracked({}, {}, failures, outdated)
    for model, rows in finished.items():
        tracked.trainable[model] = _trainable(model, runs[model])
        if (head := runs[model].data.params.get("trainable_head")) is not None:
            tracked.heads[model] = int(head)
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
    volumes = tuple(score_files.volumes(rows, target, "test"))
    validation = run.data.metrics.get(f"validation/{target}/dice")
    return Evidence(model.path, target, tracked, volumes, run.info.run_id, validation)


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


def show(config_folder: str | Path, results: Results) -> None:
    """Print every table in the configuration's order, where the files are, and how to look at the runs."""
    grid = grids.read(config_folder)
    names = [*(f"table_{name}" for name in grid.config.tables), *grid.experiments]
    tables = [file for name in names if (file := results.tables / f"{name}.md").exists()]
    if not tables:
        raise SegShiftError(
            f"there are no tables in {results.tables}: run the workflow, or segshift tabulate"
        )
    for file in tables:
        print(file.read_text())
    print(f"Tables: {results.tables}")
    if results.report.exists():
        print(f"Report: {results.report}")
    # `make demo` is said without the environment being active, so the command must work without it
    program = Path(sys.executable).with_name("segshift")
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else "segshift"
    print(f"Curves and runs: {shown} ui --config {config_folder} --results {results.root}")
