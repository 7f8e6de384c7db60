"""The entries of ``tables.yaml``: which scores a table shows, what is averaged, its columns. Plain Python.

``Config`` holds them; ``segshift.tables`` builds them.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from segshift.errors import SegShiftError, unknown
from segshift.measures import Shown

if TYPE_CHECKING:
    from segshift.entries import Config

NUMBER = re.compile(r"[A-Za-z0-9_.]+")  # of a table; its files are called table_<number>
AXES = ("anatomy", "source", "backbone", "tuning", "head", "adapt")
STATISTICS = {  # column -> what it is the mean of: scores on the source itself, on its siblings, on all
    "ds": "ds",
    "dg": "dg",
    "ov": "ov",
    "dom_gen": "dg",
    "overall": "ov",
    "domain_shift": "dg",
}
DIFFERENCES = (
    "_diff_pct",
    "_size_pct",
    "_pct",
)  # behind a statistic: to the column's best, or the best size's
LOSS = "dom_shift_loss_pct"
# Beside an adapted model: see ``tables/controls.py``.
CONTROLS = ("before", "control", "in_domain", "gap_closed_pct", "control_gap_closed_pct", "labelled")
PARAMETERS = ("train_params_m", "train_params_printed", "train_params_ft_m", "train_params_dec_m")
OTHERS = ("rank", "level", "anatomies", "model_printed", "targets")
COLUMNS = (
    *AXES,
    *(f"{axis}_printed" for axis in AXES),
    *OTHERS,
    *PARAMETERS,
    *(name + ending for name in STATISTICS for ending in ("", *DIFFERENCES)),
    LOSS,
    *CONTROLS,
)
INVENTORY = (
    *("anatomy", "dataset_id", "dataset", "modality", "format"),
    *("n_train", "n_val", "n_test", "n_labels", "used_in_medsam_training"),
)


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class Bold(Strict):
    """The ``top`` values of ``columns`` are bold; equal ones all are."""

    top: int = Field(gt=0)
    columns: list[str]


class Statistics(Strict):
    """What a table says of how far its numbers bear, see docs/statistics.md.

    ``columns``: whose intervals are printed; the first decides ties, ranks and footnotes (default: what
    ranks the table). ``about``: ``method`` where there are three seeds, or always ``models``. ``blocks``:
    Friedman's test over trained models or cells, with a critical-difference diagram; default: none.
    ``p_values``: of each row against the best one, see ``tables/p_values.py``.
    """

    columns: list[str] = []
    about: Literal["method", "models"] = "method"
    blocks: Literal["models", "cells"] | None = None
    p_values: bool = False


class Scores(Strict):
    """What all tables of scores say.

    ``where`` keeps scores by axis. ``average``: what is averaged first, see ``tables/means.py``. ``order``:
    names of axes in the order of the rows, the outermost axis first; names that it does not list follow.
    ``beside``: an origin of imported scores; each number is printed beside theirs, with the difference.
    ``note`` stands below the table.
    """

    title: str
    experiment: str | list[str]
    where: dict[str, list[str]] = {}
    average: Literal["pooled", "anatomy_first"] = "pooled"
    order: dict[str, list[str]] = {}
    columns: list[str] = Field(min_length=1)
    beside: str | None = None
    across: str | None = None  # in print, an axis whose names stand beside each other
    statistics: bool | Statistics = False
    note: str | None = None
    in_all: bool = True

    @property
    def experiments(self) -> list[str]:
        """The experiments whose scores it shows."""
        return [self.experiment] if isinstance(self.experiment, str) else self.experiment


class ScoreTable(Scores):
    """Rows of means. A row is a backbone, tuning, head and adaptation, one for each name of ``by``.

    ``over``: axes that are averaged. ``subtotals``: axes over which means stand below each group of rows.
    ``incomplete: drop`` leaves out rows that lack a whole anatomy on purpose. ``parameters``: of which models
    the count of trainable parameters is, where that is not the row's own. ``metric``: what the numbers are;
    ``absent``: what of a class that a volume does not show, ``space``: on which grid, see docs/metrics.md.
    ``control``: an adaptation that has no rows, as the models before adaptation, but columns beside the rows
    of others (``tables/controls.py``).
    """

    kind: Literal["scores"] = "scores"
    by: list[Literal["anatomy", "source"]] = []
    over: list[Literal["backbone", "tuning", "head"]] = []
    subtotals: list[Literal["backbone", "tuning", "head"]] = []
    incomplete: Literal["keep", "drop"] = "keep"
    parameters: dict[str, str] = {}
    control: str | None = None
    bold: Bold | None = None
    metric: Literal["dice", "iou", "slice_dice", "hd95", "assd", "nsd"] = "dice"
    absent: Literal["skip", "truth_only", "one"] = "skip"
    space: Literal["prepared", "native"] = "prepared"

    @property
    def shown(self) -> Shown:
        """What its numbers are."""
        return Shown(self.metric, self.absent, self.space)


class SelectionTable(Scores):
    """The best name of the axis ``choose``, for each combination of the others.

    ``rule``: ``source_validation``, ``leave_one_target_out`` or ``oracle``, see ``tables/selection.py``.
    """

    kind: Literal["selection"]
    choose: Literal["backbone", "tuning", "head"]
    rule: Literal["source_validation", "leave_one_target_out", "oracle"] = "source_validation"


class Counts(Strict):
    """How many volumes and classes (with background) a prepared dataset is expected to have."""

    train: int
    validation: int
    test: int
    classes: int


class DatasetTable(Strict):
    """Datasets, counted from what was prepared; a count that is not the expected one is an error.

    ``pretraining``: the weights that the column ``used_in_medsam_training`` is about.
    """

    kind: Literal["datasets"]
    title: str
    expected: dict[str, Counts]
    pretraining: str
    columns: list[str] = list(INVENTORY)
    note: str | None = None
    in_all: bool = True

    @property
    def experiments(self) -> list[str]:
        """None: it shows no scores."""
        return []


def _kind(entry: Any) -> str:
    return entry.get("kind", "scores") if isinstance(entry, dict) else entry.kind


TableEntry = Annotated[
    Annotated[ScoreTable, Tag("scores")]
    | Annotated[SelectionTable, Tag("selection")]
    | Annotated[DatasetTable, Tag("datasets")],
    Discriminator(_kind),
]


def check(config: "Config") -> None:
    """Names in ``tables.yaml`` that refer to others.

    Raises:
        SegShiftError: an unknown experiment, axis, name or column, or a number that is no file's name.
    """
    for number, entry in config.tables.items():
        where = f"{config.folder}/tables.yaml: {number}"
        if not NUMBER.fullmatch(number):
            raise SegShiftError(
                f"{where}: the number is a file's name too and may hold letters, 0-9, _ and . only"
            )
        known = INVENTORY if isinstance(entry, DatasetTable) else COLUMNS
        _known(f"{where}: unknown column", entry.columns, known)
        if isinstance(entry, DatasetTable):
            _known(f"{where}: expected: unknown dataset", entry.expected, config.datasets)
            _known(f"{where}: pretraining: unknown weights", [entry.pretraining], config.weights)
            continue
        _known(f"{where}: unknown experiment", entry.experiments, config.experiments)
        for key in ("where", "order"):
            _known(f"{where}: {key}: unknown axis", getattr(entry, key), AXES)
        for axis, names in entry.where.items():
            _known(f"{where}: where: unknown {axis}", names, _names(config, axis))
        if entry.across:
            _known(f"{where}: across: no column", [entry.across], entry.columns)
        if isinstance(entry.statistics, Statistics):
            _known(f"{where}: statistics: no column", entry.statistics.columns, entry.columns)
        if isinstance(entry, ScoreTable):
            _known(f"{where}: control: unknown adapt", [entry.control or "none"], _names(config, "adapt"))
            if not entry.control and (beside := [key for key in entry.columns if key in CONTROLS]):
                raise SegShiftError(f"{where}: the column {beside[0]} needs a control: name an adaptation")
            _known(f"{where}: parameters: unknown axis", entry.parameters, AXES)
            _known(f"{where}: bold: no column", entry.bold.columns if entry.bold else [], entry.columns)
            if entry.beside and entry.shown != Shown():
                raise SegShiftError(f"{where}: beside: imported scores are Dice, not {entry.shown.legend}")


def _names(config: "Config", axis: str) -> Iterable[str]:
    if axis == "adapt":
        return ("none", *config.adaptations)
    folder = {"anatomy": "anatomies", "source": "datasets"}.get(axis, f"{axis}s")
    return getattr(config, folder)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            raise unknown(what, name, known)
