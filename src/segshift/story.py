"""What a grid's numbers say, in sentences: filled from scores, whatever these are.

``story.yaml`` in a configuration names which rows are compared; without it there are no sentences. A
difference is claimed only if it is larger than the standard deviations over seeds of both sides together, and
than ``least``; with one seed nothing is claimed. What is missing is named.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from segshift import grid as grids
from segshift import scores as score_files
from segshift.config import read_yaml
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model, Score
from segshift.paths import Results
from segshift.story_numbers import Found, Value
from segshift.story_sentences import Teller

__all__ = ["Found", "Row", "Story", "Value", "read", "sentences", "tell"]

FILE = "story.yaml"


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Row(NamedTuple):
    """What tells models apart that differ in source and seed."""

    backbone: str
    tuning: str
    head: str


class Shift(Strict):
    """What a change costs models of a source: ``costs`` is the change in words, and targets that show it."""

    rows: list[Row] = Field(min_length=1)
    source: str
    costs: dict[str, list[str]]


class Pretraining(Strict):
    """A row, and the same with random weights, in an experiment."""

    experiment: str
    row: Row
    twin: Row


class Adaptation(Strict):
    """A row adapted to targets, ``with_`` pseudo-labels and ``without``: names of adaptations."""

    row: Row
    source: str
    targets: list[str] = Field(min_length=1)
    labelled: str
    with_: str = Field(alias="with")
    without: str


class Story(Strict):
    """``winner``, ``ties`` and ``selection`` name an experiment whose rows, not adapted, are compared."""

    winner: str
    shift: Shift
    pretraining: Pretraining
    adaptation: Adaptation
    ties: str
    selection: str
    least: float = Field(0.0, ge=0)  # points of Dice; smaller differences are not claimed either
    caveat: str


def sentences(config: str | Path, results: Results) -> list[str]:
    """Six sentences and the caveat, from the score files of a configuration's cells; none without a story.

    Args:
        config: the configuration's folder.
        results: where the scores lie.

    Raises:
        SegShiftError: a mistake in the configuration, or in a score file.
    """
    grid = grids.read(config)
    story = read(config, grid)
    if story is None:
        return []
    experiments = {name: expanded.scores for name, expanded in grid.experiments.items()}
    return tell(story, experiments, _scores(grid, results), grid.config.labels)


def read(config: str | Path, grid: Grid) -> Story | None:
    """The story of a configuration, if it has one.

    Raises:
        SegShiftError: an unknown key, name or experiment.
    """
    file = Path(config) / FILE
    if not file.exists():
        return None
    try:
        story = Story(**read_yaml(file))
    except (ValidationError, TypeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        raise SegShiftError(f"{file}: {': '.join(map(str, first['loc']))}: {first['msg']}") from None
    experiments = [story.winner, story.ties, story.selection, story.pretraining.experiment]
    datasets = [story.shift.source, story.adaptation.source, *story.adaptation.targets]
    datasets += [name for names in story.shift.costs.values() for name in names]
    adapts = [story.adaptation.with_, story.adaptation.without]
    named = {
        "experiment": (experiments, grid.experiments),
        "dataset": (datasets, grid.config.datasets),
        "adapt": (adapts, grid.config.adaptations),
    }
    rows = [*story.shift.rows, story.pretraining.row, story.pretraining.twin, story.adaptation.row]
    for axis, folder in (("backbone", "backbones"), ("tuning", "tunings"), ("head", "heads")):
        named[axis] = ([getattr(row, axis) for row in rows], getattr(grid.config, folder))
    for what, (names, known) in named.items():
        for name in names:
            if name not in known:
                raise unknown(f"{file}: unknown {what}", name, known)
    return story


def _scores(grid: Grid, results: Results) -> dict[Score, Found]:
    """Test Dice of all scores that are there, and validation Dice."""
    found = {}
    for path, targets in grid.targets.items():
        file = results.run(path) / "scores.csv"
        if not file.exists():
            continue
        rows = [row for row in score_files.read(file) if row.checkpoint == "model"]
        there = set(score_files.targets(rows))
        for target in targets:
            if target in there:
                pair = (score_files.dice(rows, target, split) for split in ("test", "validation"))
                found[Score(Model.parse(path), target)] = Found(*pair)
    return found


def tell(
    story: Story,
    experiments: Mapping[str, Sequence[Score]],
    scores: Mapping[Score, Found],
    labels: Mapping[str, Mapping[str, str]],
) -> list[str]:
    """Six sentences and the caveat.

    Args:
        story: which rows are compared.
        experiments: the scores that each experiment asks for.
        scores: what is known of scores.
        labels: display names by axis, as in labels.yaml.
    """
    teller = Teller(experiments, scores, labels, story.least)
    told = [
        teller.winner(story.winner),
        teller.shift(story.shift.rows, story.shift.source, story.shift.costs),
        teller.pretraining(story.pretraining.experiment, story.pretraining.row, story.pretraining.twin),
        teller.adaptation(story.adaptation),
        teller.ties(story.ties),
        teller.selection(story.selection),
    ]
    return [*told, story.caveat]
