"""Which rows a workflow trains: of the grid's models those that wait, by what they share.

Each model on a frozen backbone has a marker, an input of its training whether rows are on or off. A row makes
the markers of its models; all other markers are there before. So no finished model hangs on a row, and to
switch rows on or off changes nothing.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from segshift import rows
from segshift.grid import Grid, Model
from segshift.paths import Results
from segshift.paths import write as put
from segshift.settings import digest, read_settings


class Row(NamedTuple):
    """Models that are trained together, by path; weights files that all of them need, and the models that
    they are adapted from, where these wait too."""

    models: list[str]
    weights: list[str]
    sources: list[str]

    @property
    def verb(self) -> str:
        return "train" if self.models[0].count("/") == 4 else "adapt"


def marker(results: Results, path: str) -> Path:
    """The marker of a model."""
    return results.rows / f"{path}.done"


def marked(grid: Grid, model: Model) -> bool:
    """True if a model's training has a marker among its inputs: if its backbone is frozen."""
    return grid.config.tunings[model.tuning].module == "frozen"


def make(grid: Grid, results: Results, heads: int, changed: Collection[str]) -> dict[str, Row]:
    """The rows of today, by name; their markers are removed, and those of all other models made.

    Args:
        grid: the configuration.
        results: where models are looked for.
        heads: at most so many in one row; less than 2: no rows.
        changed: manifests of datasets that will be prepared anew.
    """
    found: dict[str, Row] = {}
    candidates = [model for model in grid.jobs.values() if marked(grid, model)]
    if heads > 1:
        waiting = [model for model in candidates if waits(results, model, changed)]
        found = _rows([model for model in waiting if not model.adapt], grid, results, heads, {})
        of = {path: name for name, row in found.items() for path in row.models}
        still = {model.path for model in waiting}
        adapted = [m for m in waiting if m.adapt and (m.cell.path in of or m.cell.path not in still)]
        found |= _rows(adapted, grid, results, heads, of)
    together = {path for row in found.values() for path in row.models}
    for model in candidates:
        _mark(marker(results, model.path), model.path not in together)
    return found


def waits(results: Results, model: Model, changed: Collection[str]) -> bool:
    """True if a workflow is sure to train (or adapt) a model: there are neither it nor scores of it, or its
    settings or data are others."""
    folder = results.run(model.path)
    settings, record = folder / "settings.yaml", folder / "run.json"
    try:
        made = record.stat().st_mtime_ns
    except FileNotFoundError:  # one whose scores are there may have been put into an archive
        return not (folder / "scores.csv").exists() and not any(folder.glob("*/*/scores.csv"))
    if any(str(results.data(name) / "manifest.json") in changed for name in (model.source, model.dataset)):
        return True
    if settings.stat().st_mtime_ns <= made:
        return False
    try:
        return json.loads(record.read_text()).get("settings") != digest(read_settings(folder))
    except ValueError:  # `segshift why` says that it is damaged
        return False


def _rows(
    models: Iterable[Model], grid: Grid, results: Results, heads: int, rows_of: dict[str, str]
) -> dict[str, Row]:
    """Group models by what they share, and by what all of them have to wait for: what one cannot get must
    not keep the others."""
    groups: dict[tuple[Any, ...], list[Model]] = defaultdict(list)
    for model in models:
        if (key := rows.key(grid.settings(model))) is None:
            continue
        missing = tuple(name for name in grid.weights(model) if not results.weights(name).exists())
        groups[key, missing, rows_of.get(model.cell.path) if model.adapt else None].append(model)
    found: dict[str, Row] = {}
    in_all = [name for name in grid.experiments if grid.config.experiments[name].in_all]
    usual = {model.path for model in grid.models(in_all)}
    for (_, missing, after), group in groups.items():
        for part in _parts(group, heads, usual):
            if len(part) > 1:
                first = part[0]
                parts = [first.source, first.backbone, first.tuning, str(first.seed)]
                parts += [first.adapt, first.target] if first.adapt else []
                name = _free("_".join(["row", *parts]), found)
                sources = [model.cell.path for model in part] if after else []
                found[name] = Row([model.path for model in part], list(missing), sources)
    return found


def _parts(group: list[Model], heads: int, usual: Collection[str]) -> Iterator[list[Model]]:
    """A group in parts of at most ``heads``. Where it needs several, what `all` makes has parts of its own:
    others are trained when they are asked for, and would leave gaps."""
    if len(group) <= heads:
        yield group
        return
    for chosen in (True, False):
        yield from rows.chunks([model for model in group if (model.path in usual) == chosen], heads)


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _mark(file: Path, there: bool) -> None:
    if there and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    elif not there:
        file.unlink(missing_ok=True)


# ---- what jobs of a workflow read, which must find the rows that it started with --------------------------


def write(results: Results, planned: dict[str, Row]) -> None:
    """Remember the rows."""
    put(results.rows / "planned.json", json.dumps(planned, indent=1))


def read(results: Results) -> dict[str, Row]:
    """The rows with which the running (or last) workflow started."""
    try:
        content = json.loads((results.rows / "planned.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: Row(*row) for name, row in content.items()}


def want(results: Results, paths: Iterable[str]) -> None:
    """Remember which models a workflow is going to train: a row trains no other."""
    put(results.rows / "wanted", "".join(f"{path}\n" for path in paths))
