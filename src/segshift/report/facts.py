"""What a report is made of: the grid, its scores as ``tabulate`` reads them, and the models' folders."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from segshift import tracking
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model, Score
from segshift.paths import Results
from segshift.reading import Reading
from segshift.report import folders
from segshift.report.folders import ClassRow, Curve
from segshift.scores import mean
from segshift.tables import asked as asking
from segshift.tables.asked import Asked, Key, Tracked
from segshift.tables.means import spread
from segshift.tables.table import Evidence, named

AXES = ("backbone", "tuning", "head", "adapt")


@dataclass
class Facts:
    """Read once; what of a model's folder is asked for is read when it is asked for.

    ``asked``: the scores that each experiment should have. ``tracked``: what is known of all of them.
    """

    grid: Grid
    results: Results
    reading: Reading
    asked: dict[str, list[Asked]]
    tracked: Tracked
    _scores: dict[Model, list[ClassRow]] = field(default_factory=dict)
    _records: dict[Model, dict[str, Any]] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, dict[str, str]]:
        """Display names by axis."""
        return self.grid.config.labels

    @cached_property
    def experiments(self) -> dict[str, list[Asked]]:
        """Experiments of which there is a score, with all scores that they should have."""
        return {
            name: ones
            for name, ones in self.asked.items()
            if any(one.score in self.tracked.scores for one in ones)
        }

    @cached_property
    def everything(self) -> list[Asked]:
        """The scores of all experiments, each once."""
        found: dict[Score, Asked] = {}
        for ones in self.asked.values():
            for one in ones:
                if one.score not in found or found[one.score].left_out:
                    found[one.score] = one
        return list(found.values())

    @cached_property
    def rows(self) -> dict[Key, list[Asked]]:
        """The scores of each row whose own models have one (an adapted row's are not those from before)."""
        scored = {key(model) for model in self.models}
        rows = {one: ones for one, ones in asking.by_model(self.everything).items() if one in scored}
        for one, ones in rows.items():
            if one.adapt != "none":  # a source of which nothing is adapted has a score from before alone
                sources = {score.model.source for score in ones if score.model.adapt}
                rows[one] = [score for score in ones if score.model.source in sources]
        return rows

    @cached_property
    def models(self) -> list[Model]:
        """Models with a score, in the order of the grid."""
        return list(dict.fromkeys(one.model for one in self.everything if one.score in self.tracked.scores))

    @cached_property
    def scores(self) -> dict[Model, list[Evidence]]:
        """The scores of each model that has one."""
        found: dict[Model, list[Evidence]] = {model: [] for model in self.models}
        for (model, _), score in self.tracked.scores.items():
            found[model].append(score)
        return found

    def classes(self, model: Model) -> list[ClassRow]:
        """Test Dice of each volume and class of a model."""
        if model not in self._scores:
            self._scores[model] = folders.classes(self.results.run(model.path) / "scores.csv")
        return self._scores[model]

    def record(self, model: Model) -> dict[str, Any]:
        """What training wrote about a model."""
        if model not in self._records:
            self._records[model] = tracking.read_record(self.results.run(model.path)) or {}
        return self._records[model]

    def curves(self, model: Model) -> dict[str, Curve]:
        """Curves of the training that made a model."""
        return folders.curves(self.results.run(model.path), self.record(model).get("run"))

    # ---- names -----------------------------------------------------------------------------------------

    def name(self, axis: str, name: str) -> str:
        """A display name."""
        return named(axis, name, self.labels)

    def row(self, key: Key) -> str:
        """A row's name, such as ``SAM B · frozen · Linear``; the adaptation is named where there is one."""
        parts = [self.name(axis, getattr(key, axis)) for axis in AXES[:3]]
        return " · ".join(parts + ([self.name("adapt", key.adapt)] if key.adapt != "none" else []))

    def dataset(self, name: str) -> str:
        """A dataset's display name."""
        return self.name("dataset", name)


def key(model: Model) -> Key:
    """The row that a model is of."""
    return Key(model.backbone, model.tuning, model.head, model.adapt or "none")


def over_seeds(scores: Iterable[Evidence]) -> tuple[float, float | None]:
    """Mean and standard deviation over seeds of one pair of source and target."""
    values = [score.dice for score in scores]
    return mean(values), spread(values)


def read(grid: Grid, results: Results) -> Facts:
    """Read scores and what MLflow knows of them.

    A model that is not tracked as its score file says has no scores here; why stands among what failed.
    """
    asked = {name: asking.of_grid(grid, [name]) for name in grid.experiments}
    wanted: dict[Model, dict[str, None]] = {}
    for ones in asked.values():
        for one in ones:
            if not (one.left_out or one.waits_for):
                wanted.setdefault(one.model, {}).setdefault(one.target)
    reading = Reading(grid, results, wanted)
    try:
        tracked = reading.tracked(wanted)
    except SegShiftError:
        tracked = _one_by_one(reading, wanted)
    return Facts(grid, results, reading, asked, tracked)


def _one_by_one(reading: Reading, wanted: dict[Model, dict[str, None]]) -> Tracked:
    """What can be read though something is wrong with some models."""
    found = Tracked({}, {}, {}, [])
    for model, targets in wanted.items():
        try:
            one = reading.tracked({model: targets})
        except SegShiftError as error:
            found.failures[model] = str(error)
            continue
        for kept, more in (
            (found.scores, one.scores),
            (found.trainable, one.trainable),
            (found.failures, one.failures),
            (found.heads, one.heads),
            (found.budgets, one.budgets),
        ):
            kept.update(more)
        found.outdated.extend(one.outdated)
        found.unchecked.update(one.unchecked)
    return found


def relative(results: Results, file: Path) -> str | None:
    """Where a file lies as seen from the report; None where it is not."""
    return file.relative_to(results.root).as_posix() if file.exists() else None
