"""Scores from a plain file, one line a score, with the columns of ``config/published/runs.csv``.

The file may hold any backbones, tunings, heads, adaptations and seeds. Datasets are those of
``datasets.yaml``, which says what anatomy each shows. Other columns are ignored, and the order of lines means
nothing. Standard library only, beside the configuration.
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from segshift.entries import NAME
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model, Score
from segshift.tables.asked import Asked, Tracked
from segshift.tables.table import Evidence

COLUMNS = ("experiment", "source", "backbone", "tuning", "head", "seed", "adapt", "target", "dice")
TOTAL, HEAD = (
    "train_params_m",
    "train_params_dec_m",
)  # may be absent: parameters in millions, all and the head's


@dataclass(frozen=True)
class Run:
    """One line: Dice in percent of a model on a target, in a table that printed it.

    ``trainable`` is the count of that experiment's tables: other tables may count otherwise.
    ``where`` names the line (or the MLflow run) in errors; ``run`` is the id of an MLflow run.
    """

    where: str
    experiment: str
    model: Model
    target: str
    dice: float
    table: str = ""
    trainable: int | None = None
    head: int | None = None
    run: str = ""

    @property
    def score(self) -> Score:
        return Score(self.model, self.target)


def read(file: Path, grid: Grid) -> list[Run]:
    """All lines of a file.

    Raises:
        SegShiftError: the first mistake: a column is missing, a name is unknown or cannot be one, a number is
            none, Dice is no percentage, or two lines give one score differently. The line is named.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            for column in COLUMNS:
                if column not in (reader.fieldnames or ()):
                    raise SegShiftError(
                        f"{file}: the column {column} is missing; needed: {', '.join(COLUMNS)}"
                    )
            runs = [_run(f"{file}: line {reader.line_num}", line, grid) for line in reader]
    except FileNotFoundError:
        raise SegShiftError(f"there is no file {file}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SegShiftError(f"{file} is no CSV file: {error}") from None
    if not runs:
        raise SegShiftError(f"{file} holds no runs")
    check(runs)
    return runs


def _run(where: str, line: dict[str | None, str | None], grid: Grid) -> Run:
    if None in line or None in line.values():
        raise SegShiftError(f"{where} has not as many cells as the header")
    for axis in ("backbone", "tuning", "head", "adapt", "experiment"):
        if not NAME.fullmatch(line[axis]):
            raise SegShiftError(f"{where}: {axis} is {line[axis]!r}; a name may hold a-z, 0-9 and _ only")
    datasets = grid.config.datasets
    for axis in ("source", "target"):
        if line[axis] not in datasets:
            raise unknown(f"{where}: unknown dataset ({axis})", line[axis], datasets)
    source, target = line["source"], line["target"]
    anatomy = datasets[source].anatomy
    if (other := datasets[target].anatomy) != anatomy:
        raise SegShiftError(f"{where}: {source} shows the {anatomy}, its target {target} the {other}")
    if line.get("anatomy") and line["anatomy"] != anatomy:
        raise SegShiftError(f"{where}: anatomy is {line['anatomy']!r}, but {source} shows the {anatomy}")
    if line["experiment"] not in grid.experiments:
        raise unknown(f"{where}: unknown experiment", line["experiment"], grid.experiments)
    if not line["seed"].isdecimal():
        raise SegShiftError(f"{where}: seed is {line['seed']!r}, which is no whole number")
    if (adapt := line["adapt"]) != "none" and source == target:
        raise SegShiftError(f"{where}: a model adapted by {adapt} to {target} was trained on {target} itself")
    adapted = (adapt, target) if adapt != "none" else (None, None)
    model = Model(source, line["backbone"], line["tuning"], line["head"], int(line["seed"]), *adapted)
    dice = _number(where, "dice", line["dice"])
    if not 0 <= dice <= 100:
        raise SegShiftError(f"{where}: dice is {line['dice']}, which is no percentage (0 to 100)")
    counts = [_count(where, column, line.get(column) or "") for column in (TOTAL, HEAD)]
    return Run(where, line["experiment"], model, target, dice, line.get("table") or "", *counts)


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SegShiftError(f"{where}: {column} is {text!r}, which is no number")
    return value


def _count(where: str, column: str, text: str) -> int | None:
    if not text:
        return None
    millions = _number(where, column, text)
    if millions < 0:
        raise SegShiftError(f"{where}: {column} is {text}; a count of parameters is not negative")
    return round(millions * 1e6)


def check(runs: Iterable[Run]) -> None:
    """A score has one value, and a model one count of parameters in an experiment, however often they stand.

    Raises:
        SegShiftError: two differ; both are named.
    """
    scores: dict[Score, Run] = {}
    counts: dict[tuple[str, str, Model], Run] = {}
    for run in runs:
        first = scores.setdefault(run.score, run)
        if first.dice != run.dice:
            what = f"{run.model.path} on {run.target}"
            raise SegShiftError(f"{run.where}: {what} is {run.dice}, but {first.dice} at {first.where}")
        for column, name in ((TOTAL, "trainable"), (HEAD, "head")):
            if (own := getattr(run, name)) is None:
                continue
            first = counts.setdefault((column, run.experiment, run.model), run)
            if (other := getattr(first, name)) != own:
                both = f"{own / 1e6}, but {other / 1e6} at {first.where}"
                raise SegShiftError(f"{run.where}: {column} of {run.model.path} is {both}")
        if run.head is not None and (run.trainable is None or run.head > run.trainable):
            raise SegShiftError(
                f"{run.where}: {HEAD} is the head's part of {TOTAL}, but it is {run.head / 1e6} of "
                + ("nothing" if run.trainable is None else f"{run.trainable / 1e6}")
            )


# ---- what a table is made of ------------------------------------------------------------------------------


def tracked(runs: Iterable[Run], experiments: Iterable[str], origin: str = "") -> Tracked:
    """What is known of the scores; counts of parameters are those of the experiments, the largest where they
    count one model differently (the whole of it, or what an adaptation trains). ``origin``: whose they are,
    where they stand beside this project's own."""
    runs, experiments = list(runs), set(experiments)
    own = sorted((run for run in runs if run.experiment in experiments), key=lambda run: run.trainable or 0)
    return Tracked(
        {
            run.score: Evidence(run.model.path, run.target, run.dice, run=run.run, origin=origin)
            for run in runs
        },
        {run.model: run.trainable for run in own if run.trainable is not None},
        {},
        heads={run.model: run.head for run in own if run.head is not None},
    )


def asked(runs: Iterable[Run], grid: Grid, experiments: Iterable[str]) -> list[Asked]:
    """The scores that experiments should have, as far as the file can tell.

    Each model of the file on each pair of datasets that the file has in that experiment, and what the
    experiment in ``experiments.yaml`` has of the same names. So a score that is not there is missed.
    """
    found: dict[Score, Asked] = {}
    for name in experiments:
        own = [run for run in runs if run.experiment == name]
        for score in sorted(
            set(_expected(own, grid, name)), key=lambda score: (score.model.path, score.target)
        ):
            reason = grid.contaminated(score.model, score.target, grid.config.experiments[name].contaminated)
            anatomy = grid.config.datasets[score.target].anatomy
            if score not in found or found[score].left_out:
                found[score] = Asked(*score, reason, (), anatomy)
    return list(found.values())


def _expected(runs: list[Run], grid: Grid, experiment: str) -> Iterator[Score]:
    seeds: dict[tuple[str, ...], set[int]] = {}
    adapts: dict[tuple[str, ...], set[str]] = {}
    for run in runs:
        seeds.setdefault(run.model[1:4], set()).add(run.model.seed)
        if run.target != run.model.source:
            adapts.setdefault(run.model[1:4], set()).add(run.model.adapt or "none")
    pairs = _pairs(runs, grid)
    planned = grid.experiments[experiment]
    for model, target in [*planned.scores, *(one[:2] for one in planned.left_out)]:
        if (model.source, target) in pairs and _named(model, seeds):
            for seed in seeds.get(model[1:4]) or {seed for some in seeds.values() for seed in some}:
                yield Score(model._replace(seed=seed), target)
    usual = {adapt for some in adapts.values() for adapt in some} or {"none"}
    for names, (source, target) in product(seeds, pairs):
        for seed in seeds[names]:
            for adapt in ["none"] if source == target else adapts.get(names, usual):
                adapted = (adapt, target) if adapt != "none" else ()
                yield Score(Model(source, *names, seed, *adapted), target)


def _pairs(runs: list[Run], grid: Grid) -> set[tuple[str, str]]:
    """Each source of the file with each dataset of its anatomy that the file has."""
    sources = {run.model.source for run in runs}
    datasets = sources | {run.target for run in runs}
    anatomy = {name: grid.config.datasets[name].anatomy for name in datasets}
    return {(s, t) for s, t in product(sources, datasets) if anatomy[s] == anatomy[t]}


def _named(model: Model, seeds: Iterable[tuple[str, ...]]) -> bool:
    """True if the file has each of a model's names, be it in other models."""
    return all(any(names[i] == model[1 + i] for names in seeds) for i in range(3))


def smaller(runs: Iterable[Run], grid: Grid, experiments: Iterable[str]) -> list[str]:
    """One remark an experiment that names more than the file has."""
    remarks = []
    for name in experiments:
        own = [run for run in runs if run.experiment == name]
        lacking = []
        for axis in ("source", "target", "backbone", "tuning", "head"):
            here = {getattr(run if axis == "target" else run.model, axis) for run in own}
            scores = grid.experiments[name].scores
            asked = dict.fromkeys(getattr(s if axis == "target" else s.model, axis) for s in scores)
            lacking += [f"{axis} {choice}" for choice in asked if choice not in here]
        if lacking and own:
            remarks.append(f"The file has nothing of experiment {name} for {', '.join(lacking)}.")
    return remarks
