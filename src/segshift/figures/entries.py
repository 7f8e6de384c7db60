"""The entries of ``figures.yaml``: which cells a figure shows. Plain Python: the Snakefile asks it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from segshift.config import read_yaml
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model

FILE = "figures.yaml"
ENDINGS = ("svg", "pdf", "png")


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Row(NamedTuple):
    """What tells models apart that differ in source and seed."""

    backbone: str
    tuning: str
    head: str


class Example(Strict):
    """A line of pictures: a model of the target itself (DS), of another source (DG), and that one adapted."""

    target: str
    source: str
    row: Row
    adapt: str | None = None
    seed: int | None = None  # default: the first of project.yaml


class Common(Strict):
    """What every figure says. ``in_all: false``: it is made when it is asked for."""

    title: str = ""
    in_all: bool = True


class Examples(Common):
    """Input, truth and predictions (thesis, Figure 4.1).

    ``seed`` draws the slice, among those that show at least half of the classes.
    """

    kind: Literal["examples"]
    rows: list[Example] = Field(min_length=1)
    seed: int = 0


class Scored(Common):
    """Heat maps (source × target) of an experiment's rows, or their Dice by class."""

    kind: Literal["heat_maps", "class_dice"]
    experiment: str
    rows: list[Row] = []  # default: all


class Features(Common):
    """Principal components of the last block's patch tokens as colours (thesis, Figure A.1).

    One line a backbone, one slice a dataset; drawn as of ``Examples``.
    """

    kind: Literal["features"]
    backbones: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)
    seed: int = 0


Figure = Annotated[Examples | Scored | Features, Field(discriminator="kind")]


def read(config: str | Path, grid: Grid) -> dict[str, Examples | Scored | Features]:
    """The figures of a configuration; none without the file.

    Raises:
        SegShiftError: an unknown key or name, or a cell that no experiment has; the figure is named.
    """
    file = Path(config) / FILE
    if not file.exists():
        return {}
    try:
        found = TypeAdapter(dict[str, Figure]).validate_python(read_yaml(file) or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ": ".join(str(part) for part in first["loc"])
        raise SegShiftError(f"{file}: {where}: {first['msg']}") from None
    for name, figure in found.items():
        where = f"{file}: {name}"
        if not name.replace(".", "").replace("_", "").isalnum():
            raise SegShiftError(f"{where}: a figure's name may hold letters, 0-9, _ and . only")
        _check(where, figure, grid)
    return found


def _check(where: str, figure: Examples | Scored | Features, grid: Grid) -> None:
    if isinstance(figure, Features):
        _known(f"{where}: unknown backbone", figure.backbones, grid.config.backbones)
        _known(f"{where}: unknown dataset", figure.datasets, grid.config.datasets)
    elif isinstance(figure, Scored):
        _known(f"{where}: unknown experiment", [figure.experiment], grid.experiments)
        here = {Row(*model[1:4]) for model, _ in grid.experiments[figure.experiment].scores}
        for row in figure.rows:
            if row not in here:
                raise SegShiftError(f"{where}: {figure.experiment} has no {'/'.join(row)}")
    else:
        cells = {model.path for model in grid.models()}
        for one in figure.rows:
            for model in models(one, grid).values():
                if model.path not in cells:
                    raise SegShiftError(f"{where}: no experiment has the cell {model.path}")


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(what, name, known)


def models(one: Example, grid: Grid) -> dict[str, Model]:
    """The models of a line: ``DS``, ``DG`` and, where it is asked for, ``adapted``."""
    seed = grid.config.project.seeds[0] if one.seed is None else one.seed
    found = {"DS": Model(one.target, *one.row, seed), "DG": Model(one.source, *one.row, seed)}
    if one.adapt:
        found["adapted"] = Model(one.source, *one.row, seed, one.adapt, one.target)
    return found


class Needs(NamedTuple):
    """What a figure is made of: models that predict, models whose scores it shows, datasets, weights."""

    models: list[str]
    scored: list[str]
    datasets: list[str]
    weights: list[str]


def needs(figure: Examples | Scored | Features, grid: Grid) -> Needs:
    """What a figure is made of, by path or name."""
    if isinstance(figure, Scored):
        return Needs([], grid.scored(figure.experiment), [], [])
    if isinstance(figure, Features):
        names = [grid.config.backbones[name].weights for name in figure.backbones]
        return Needs([], [], list(dict.fromkeys(figure.datasets)), list(dict.fromkeys(filter(None, names))))
    own = [model for one in figure.rows for model in models(one, grid).values()]
    weights = dict.fromkeys(name for model in own for name in grid.weights(model))
    datasets = dict.fromkeys(one.target for one in figure.rows)
    return Needs(list(dict.fromkeys(model.path for model in own)), [], list(datasets), list(weights))


def usual(figures: dict[str, Examples | Scored | Features], grid: Grid) -> list[str]:
    """Figures that `all` makes: those of which everything that they show can be made."""
    return [name for name, one in figures.items() if one.in_all and _possible(needs(one, grid), one, grid)]


def _possible(made: Needs, figure: Examples | Scored | Features, grid: Grid) -> bool:
    known = set(grid.datasets())
    if isinstance(figure, Features) and any(grid.config.backbones[name].planned for name in figure.backbones):
        return False
    scored = bool(made.scored) if isinstance(figure, Scored) else True
    return scored and all(path in grid.jobs for path in made.models) and known >= set(made.datasets)
