"""What a model, a score and an experiment's scores are: names on the axes. Standard library only."""

from dataclasses import dataclass, field
from typing import NamedTuple

CELL_AXES = ("source", "backbone", "tuning", "head", "seed")
EXTERNAL = "external"  # tuning and head of a model that another tool made: only its masks are known


class Model(NamedTuple):
    """One folder below ``results/runs``: a trained cell, or a cell adapted to a target."""

    source: str
    backbone: str
    tuning: str
    head: str
    seed: int
    adapt: str | None = None
    target: str | None = None

    @property
    def cell(self) -> "Model":
        """The trained cell: itself, or what it was adapted from."""
        return Model(*self[:5])

    @property
    def external(self) -> bool:
        """True if another tool made it: see ``segshift score``."""
        return self.tuning == EXTERNAL

    @property
    def path(self) -> str:
        return "/".join(str(part) for part in self if part is not None)

    @property
    def dataset(self) -> str:
        """The dataset that it learns from."""
        return self.target or self.source

    @classmethod
    def parse(cls, path: str) -> "Model":
        """The inverse of ``path``."""
        *axes, seed = (parts := path.split("/"))[:5]
        return cls(*axes, int(seed), *parts[5:])


class Score(NamedTuple):
    """A model and a dataset that it is tested on."""

    model: Model
    target: str


class LeftOut(NamedTuple):
    """A score that an experiment does not have on purpose, and why."""

    model: Model
    target: str
    reason: str


@dataclass
class Expanded:
    """An experiment's scores, and those that it does not have on purpose."""

    scores: list[Score] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
