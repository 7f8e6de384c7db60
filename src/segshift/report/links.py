"""From a number to the section of its cell, and to its MLflow run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from segshift.grid import Model
from segshift.report.facts import Facts, key
from segshift.tables.asked import Key
from segshift.tables.html import Pages
from segshift.tables.table import DASH, Evidence, rounded


def cell(model: Model) -> str:
    """The anchor of a model's section."""
    return f"cell-{model.path.replace('/', '.')}"


def row(one: Key) -> str:
    """The anchor of a row's section."""
    return f"row-{'.'.join(one)}"


@dataclass(frozen=True)
class Links(Pages):
    """Pages of MLflow, and the report's own sections. ``server`` is empty where no page is known.

    ``models``: the model of each MLflow run.
    """

    models: Mapping[str, Model] = field(default_factory=dict)

    def linked(self, text: str, runs: Sequence[str]) -> str:
        """A number of a table: to its cell's section or, if it has many, its row's; and to MLflow."""
        if text == DASH:
            return text
        models = dict.fromkeys(self.models[run] for run in runs if run in self.models)
        if not models:
            return super().linked(text, runs) if self.server else text
        return f'<a href="#{_anchor(models)}">{text}</a>{self.run(runs)}'

    def run(self, runs: Sequence[str]) -> str:
        """The small arrow to MLflow."""
        if not (self.server and runs):
            return ""
        return (
            f'<a class="run" href="{escape(self.link(runs))}" title="in MLflow" aria-label="in MLflow">↗</a>'
        )

    def score(self, score: Evidence, text: str | None = None, more: str = "") -> str:
        """One score."""
        text = rounded(score.dice) if text is None else text
        title = escape(f"{score.cell} on {score.target}{more}")
        return f'<a href="#{cell(score.model)}" title="{title}">{text}</a>{self.run([score.run])}'


def _anchor(models: Iterable[Model]) -> str:
    models = list(models)
    if len(models) == 1:
        return cell(models[0])
    keys = dict.fromkeys(key(model) for model in models)
    adapted = [one for one in keys if one.adapt != "none"]
    if len(keys) == 1 or (len(adapted) == 1 and {one[:3] for one in keys} == {adapted[0][:3]}):
        return row(adapted[0] if adapted else next(iter(keys)))
    return "rows"


def make(facts: Facts, pages: Pages | None) -> Links:
    """Links of all scores; ``pages``: where MLflow shows runs, if that is known."""
    models = {score.run: model for (model, _), score in facts.tracked.scores.items() if score.run}
    where = (pages.server, pages.experiment, pages.hint) if pages else ("", "", "")
    return Links(*where, models)
