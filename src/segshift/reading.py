"""What MLflow tracked of models, checked against their score files: read once, in bulk, for many tables."""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from segshift import scores, settings, tracking
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model, Score
from segshift.measures import METRICS, Shown
from segshift.mlflow_store import Run, Store
from segshift.paths import Results
from segshift.scores import Row, mean
from segshift.summaries import Memory, Summary
from segshift.syncing import LABELLED, RUN
from segshift.tables.asked import Tracked
from segshift.tables.table import Evidence, Volume

DICE = Shown()


class Reading:
    """Models as MLflow and their folders know them.

    Nothing is read before it is asked for; then all models are, with one search in MLflow. What is wrong
    with a model is an error of the tables that show it, and of no other.
    """

    def __init__(self, grid: Grid, results: Results, models: Iterable[Model]) -> None:
        """``models``: all that will be asked for; those that are not finished are told apart later."""
        self.grid, self.results = grid, results
        self.models = list(dict.fromkeys(models))
        self.uri = tracking.uri(results, grid.config.project.tracking.uri)
        self._code: dict[tuple[str | None, ...], str] = {}
        self._known: dict[Model, Known] = {}
        self._evidence: dict[tuple[Score, Shown], Evidence] = {}
        self._rows: dict[Model, list[Row]] = {}

    @cached_property
    def store(self) -> Store:
        """MLflow, opened when it is needed: to import it takes seconds."""
        return Store(self.uri, self.grid.config.project.tracking.experiment)

    def tracked(self, wanted: Mapping[Model, Iterable[str]], shown: Shown = DICE) -> Tracked:
        """What is known of models on their targets; ``shown`` says what of it is a score.

        Raises:
            SegShiftError: a model has scores that MLflow does not have, or has otherwise; the cell is named.
        """
        finished = [model for model in wanted if self._finished(model)]
        runs = self._runs(finished)
        failures = {model: self._failure(model) for model in wanted if not self._finished(model)}
        found = Tracked({}, {}, failures, [model for model in finished if self._is_outdated(model)])
        for model in finished:
            known = self._known[model] = self._known.get(model) or _known(model, runs[model], self.grid)
            if known.trainable is not None:
                found.trainable[model] = known.trainable
            if known.head is not None:
                found.heads[model] = known.head
            if known.budget:
                found.budgets[model] = known.budget
            scored = _checked(self._summaries[model]).targets
            for target in wanted[model]:
                if target in scored:
                    found.scores[Score(model, target)] = self._score(model, target, runs[model], shown)
                    if not tracking.checked_for_leakage(model, _checked(self._records[model]), target):
                        found.unchecked.add(Score(model, target))
        return found

    # ---- folders ---------------------------------------------------------------------------------------

    @cached_property
    def _records(self) -> dict[Model, dict | SegShiftError | None]:
        return {model: _or_error(tracking.read_record, self._folder(model)) for model in self.models}

    @cached_property
    def _summaries(self) -> dict[Model, Summary | SegShiftError]:
        """Scores of models that have some and a record."""
        memory = Memory(self.results.tracking / "scores.json")
        found = {
            model: _or_error(memory.read, file, model.path)
            for model in self.models
            if self._records[model] is not None and (file := self._folder(model) / "scores.csv").exists()
        }
        memory.write()
        return found

    def _finished(self, model: Model) -> bool:
        """True if a model has scores, and they are not of an older one."""
        if model in self._known:
            return True
        record, summary = _checked(self._records[model]), _checked(self._summaries.get(model))
        if record is None or summary is None:
            return False
        mine = record.get("model")
        return not self._scored_before(model) and (mine is None or all(own == mine for own in summary.models))

    def _scored_before(self, model: Model) -> list[str]:
        """Of another tool's model: datasets that are others than when its masks were scored."""
        record = self._records[model] if model.external else None
        return tracking.scored_before(record, self.results) if isinstance(record, dict) else []

    def _is_outdated(self, model: Model) -> bool:
        """True if a finished model was made by other code than today's: see ``settings.outdated``."""
        made_by = _checked(self._records[model]).get("code")
        names = (*model[1:4], model.adapt)  # its modules follow from them: see ``settings.code_files``
        if made_by is not None and names not in self._code:
            self._code[names] = settings.code_digest(self.grid.settings(model))
        return made_by not in (None, self._code.get(names))

    def _folder(self, model: Model) -> Path:
        return self.results.run(model.path)

    def _failure(self, model: Model) -> str:
        """The last word of a model without scores: of its journal or log, else of what it is made from."""
        if changed := self._scored_before(model):
            return f"its masks were scored before {', '.join(changed)} changed: segshift score"
        if model.external:
            return "its masks are not scored yet: segshift score"
        folder = self._folder(model)
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
        return self._failure(model.cell) if model.adapt else "it was not started"

    # ---- MLflow ----------------------------------------------------------------------------------------

    @cached_property
    def _ids(self) -> dict[str, str]:
        """Ids of MLflow runs by path of the model, as ``track`` remembers them."""
        file = self.results.tracking / "runs.json"
        known = json.loads(file.read_text()) if file.exists() else {}
        return known.get(tracking.key(self.results, self.uri), {})

    @cached_property
    def _found(self) -> dict[str, Run]:
        """All runs of all models, by id."""
        database = tracking.database(self.uri)
        if database and not database.exists():
            raise SegShiftError(f"the tracking database {database} is gone: run segshift track")
        return self.store.runs([self._ids[model.path] for model in self.models if model.path in self._ids])

    def _runs(self, models: list[Model]) -> dict[Model, Run]:
        """The MLflow run of each finished model."""
        if untracked := [model.path for model in models if model.path not in self._ids]:
            where = tracking.shown(self.uri)
            raise SegShiftError(f"{_some(untracked)} not tracked in {where}: run segshift track")
        found = {}
        for model in models:
            run = self._found.get(self._ids[model.path])
            if run is None or run.data.tags.get(RUN) != _checked(self._records[model])["run"]:
                raise SegShiftError(f"{model.path} is not tracked as it is now: run segshift track")
            found[model] = run
        return found

    def _score(self, model: Model, target: str, run: Run, shown: Shown) -> Evidence:
        """A tracked score, if its score file says the same to the last digit."""
        if (score := (Score(model, target), shown)) in self._evidence:
            return self._evidence[score]
        name, volumes = f"test/{target}/{shown.key}", self._volumes(model, target, shown)
        written, tracked = mean(volume.dice for volume in volumes), run.data.metrics.get(name)
        if tracked != written:
            raise SegShiftError(
                f"{model.path}: MLflow says {name} is {tracked}, its score file says {written}: "
                "run segshift track if the model was scored again, else find out who changed which"
            )
        validation = run.data.metrics.get(f"validation/{target}/{shown.key}")
        evidence = Evidence(model.path, target, tracked, volumes, run.info.run_id, validation)
        return self._evidence.setdefault(score, evidence)

    def _volumes(self, model: Model, target: str, shown: Shown) -> tuple[Volume, ...]:
        """What a score is the mean of: Dice from what is remembered, all else from the whole file.

        Raises:
            SegShiftError: there is nothing.
        """
        summary = self._summaries[model]
        if shown == DICE:
            summary.dice(target)
            return tuple(map(Volume._make, summary.targets[target]))
        if model not in self._rows:
            self._rows[model] = scores.read(self._folder(model) / "scores.csv")
        rows = scores.select(self._rows[model], target, "test", space=shown.space)
        found = scores.by_volume(rows, shown.metric, shown.absent)
        if not found:
            raise SegShiftError(
                f"{model.path} has no {METRICS[shown.metric].title} on {target}, space {shown.space}: ask "
                "for it under `evaluation` in project.yaml, and evaluate and track the model again"
            )
        return tuple(Volume(*names, one) for names, one in found.items())


def _or_error(read, *arguments):
    """What was read, or why it could not be."""
    try:
        return read(*arguments)
    except SegShiftError as error:
        return error


def _checked(read):
    """What was read.

    Raises:
        SegShiftError: it could not be.
    """
    if isinstance(read, SegShiftError):
        raise read
    return read


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{', '.join(paths[:3])}{more} {'is' if len(paths) == 1 else 'are'}"


class Known(NamedTuple):
    """How many parameters of a model are trained (None: nobody says), and how many of them are the head's, if
    that is tracked; of an adapted one, whose labels of the target it looked at."""

    trainable: int | None
    head: int | None
    budget: str | None


def _known(model: Model, run: Run, grid: Grid) -> Known:
    if model.external:
        entry = grid.config.external.get(model.backbone)
        return Known(entry.trainable if entry else None, None, None)
    head, budget = run.data.params.get("trainable_head"), run.data.tags.get(LABELLED)
    try:
        return Known(int(run.data.params["trainable"]), None if head is None else int(head), budget)
    except (KeyError, ValueError):
        raise SegShiftError(
            f"{model.path}: its MLflow run {run.info.run_id} has no parameter trainable: run segshift track"
        ) from None
