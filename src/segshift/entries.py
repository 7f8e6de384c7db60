"""What ``config/*.yaml`` may say: one model a kind of entry, with the defaults of what is not written.

Plain Python and pydantic: no torch, no Snakemake, for every cluster job reads this again.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from segshift.errors import unknown
from segshift.evaluation import Evaluation
from segshift.identity import EXTERNAL
from segshift.table_entries import Statistics, TableEntry

NAME = re.compile(r"[a-z0-9_]+")
SPLITS = ("train", "validation", "test")
BACKBONES = "backbone"  # a head's `init: {neck: backbone}`


class Strict(BaseModel):
    """Unknown keys are errors; what is not written stays unset, so that a later default changes no cell."""

    model_config = ConfigDict(extra="forbid")


class Entry(Strict):
    """A named choice on an axis: a module, and parameters of that module beside the keys of the entry's
    kind."""

    model_config = ConfigDict(extra="allow")

    module: str
    planned: bool = False

    def parameters(self) -> dict[str, Any]:
        """The module's own parameters, as written."""
        return dict(self.model_extra or {})


class Backbone(Entry):
    """``weights: null`` with ``init_seed`` is a random twin; ``calibrate`` takes its batch-norm statistics
    from data. ``neck`` names weights whose neck a head's own starts from. ``crop: patch``: of images and
    labels the centre is taken, its sides multiples of the patch, in training and evaluation alike."""

    image_size: int = Field(gt=0)
    weights: str | None = None
    neck: str | None = None
    init_seed: int | None = None
    calibrate: bool = False
    crop: Literal["none", "patch"] = "none"


class Tuning(Entry):
    """``side`` names a backbone that runs beside the frozen one."""

    side: str | None = None


class Head(Entry):
    """``init`` names, part by part, weights that the head starts from.

    ``neck: backbone`` means those that the backbone's entry names as its ``neck``. ``blocks``: of which of
    the backbone's blocks the head takes maps, where not of those that its module asks for.
    """

    init: dict[str, str | None] = {}
    blocks: list[int] | None = Field(None, min_length=1)


class Adaptation(Entry):
    """How a trained model is adapted to a target."""


class Dataset(Entry):
    """Where a domain's volumes are, how they are read, and what is done to them once, in ``prepare``."""

    module: str = ""
    like: str | None = None  # another entry whose keys are taken where this one is silent
    anatomy: str
    modality: str
    plane: Literal["axial", "coronal", "sagittal"]
    folder: str | None = None  # below the raw root; default: the entry's name
    patients: str | None = (
        None  # pool of patients; domains that share patients share a pool. Default: the entry's name
    )
    form_of: str | None = None  # another entry with the same data in another form: `siblings` takes one form
    splits: str | None = None  # a file below config/ with the patients of each split
    # raw value -> class name, or a file below config/ that says it; default: a raw value is a class index
    labels: dict[int, str] | None = None
    preprocess: list[str | dict[str, dict[str, Any] | None]] = []
    version: int | None = None  # raise it when the raw files changed under the same names
    # What the steps may lose of the labels; default: 0.01.
    lost_labels: float | None = Field(None, ge=0, le=1)
    accept: list[Literal["duplicates", "empty_labels", "spacing"]] = []  # checks that would be wrong here


class Anatomy(Strict):
    """``classes`` in the order of their values, background first."""

    classes: list[str] = Field(min_length=2)
    colours: list[str] | None = None


class Weights(Strict):
    """A weights file: where from, how to be sure of it, and what it had seen.

    ``hub: owner/name@revision`` is a file ``model.safetensors`` on the Hugging Face hub, where timm's own
    weights are; ``hub: owner/name@revision/file`` another one.
    """

    file: str
    url: str | None = None
    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+@[\w.-]+(/[\w./-]+)?$")
    package: str | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    licence: str
    pretrained_on: dict[str, str] | Literal["unknown"]
    note: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "Weights":
        if self.url and self.hub:
            raise ValueError("url and hub are two places; name one of them")
        return self


# What a training setting is for: another one, and the values of it that look at this one.
NEEDS = {
    "momentum": ("optimizer", "sgd", "rmsprop"),
    "power": ("schedule", "polynomial"),
    "class_weights": ("loss", "cross_entropy", "dice_cross_entropy", "focal", "focal_dice"),
    "label_smoothing": ("loss", "cross_entropy", "dice_cross_entropy"),
    "focal_gamma": ("loss", "focal", "focal_dice"),
}


class Training(Strict):
    """Every setting of a training, merged from the lines of ``training.yaml``.

    Defaults here mean "as before the setting existed"; values of the protocol stand in ``training.yaml``.
    """

    learning_rate: float = Field(gt=0)
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    accumulate: int = Field(1, gt=0)  # batches of one step
    early_stopping: int | None = Field(None, gt=0)  # epochs without a better validation Dice
    optimizer: Literal["adamw", "adam", "nadam", "radam", "rmsprop", "sgd"] = "adamw"
    weight_decay: float = Field(0.0, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    clip_gradients: float | None = Field(None, gt=0)  # largest norm
    schedule: Literal["linear", "cosine", "polynomial", "constant", "linear_to_half"] = "linear"
    warm_up: float = Field(0.05, ge=0, le=1)  # fraction of the steps
    power: float = Field(0.9, gt=0)
    loss: Literal["cross_entropy", "dice", "dice_cross_entropy", "focal", "focal_dice"] = "cross_entropy"
    class_weights: dict[str, Annotated[float, Field(ge=0)]] | None = None  # by class name; others weigh 1
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    focal_gamma: float = Field(2.0, ge=0)
    sampling: Literal["uniform", "rare_class", "class_count"] = "uniform"
    sampling_temperature: float = Field(0.1, gt=0)
    sampling_pixels: int = Field(4, gt=0)  # a slice with fewer of a class does not show it
    augment: dict[str, dict[str, Any] | None] = {}
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    channels_last: bool = False
    cpu_threads: int = Field(1, gt=0)  # changes the last bits on a CPU
    cache_features: Literal["none", "float32", "float16"] = "none"
    cache_limit: float = Field(4.0, gt=0)  # GB

    @field_validator(*NEEDS)
    @classmethod
    def _used(cls, value: Any, info: ValidationInfo) -> Any:
        """A setting that would do nothing is a mistake."""
        other, *choices = NEEDS[info.field_name]
        named = info.data.get(other)  # None: that one is a mistake itself, and is told
        if value != cls.model_fields[info.field_name].default and named not in (None, *choices):
            raise ValueError(f"does nothing with {other}: {named}, only with {' or '.join(choices)}")
        return value


class External(Strict):
    """A model that another tool made, of which only masks are known: in a grid a backbone, whose tuning and
    head are ``external``. ``trainable``: its parameters."""

    trainable: int | None = Field(None, gt=0)
    pretrained_on: dict[str, str] | Literal["unknown"]
    planned: bool = False


class Line(Strict):
    """``use`` applies to the cells that ``where`` describes; patterns such as ``dinov2_*`` are allowed."""

    where: dict[str, str | list[str]] = {}
    use: dict[str, Any]


class Experiment(Strict):
    """A set of cells and what they are tested on."""

    title: str
    grid: dict[str, list[Any]] | list[dict[str, list[Any]]]
    targets: Literal["siblings"] | dict[str, list[str]] = "siblings"
    contaminated: Literal["keep", "drop_target", "drop_anatomy"] = "keep"
    seeds_share: Literal["none", "sampling"] | None = None  # default: what project.yaml says
    # of its own table: intervals, ties and ranks, where patients are known; keys as in tables.yaml
    statistics: bool | Statistics = True
    in_all: bool = True


class Tracking(Strict):
    """``uri`` is an MLflow tracking server; without one, a database below ``results/``.

    ``address``: where a browser finds MLflow's pages, if not at ``uri`` nor where `segshift ui` shows them.
    """

    uri: str | None = None
    experiment: str = "segshift"
    address: str | None = None


class Project(Strict):
    """What is one for all experiments."""

    seeds: list[int] = [42]
    #: ``sampling``: all seeds see what the first one draws from the data, and vary the rest alone.
    seeds_share: Literal["none", "sampling"] = "none"
    raw: str = "data"
    weights: str = "weights"
    cache: float = Field(10.0, ge=0)  # GB that results/cache may hold of volumes after their steps
    tracking: Tracking = Tracking()
    evaluation: Evaluation = Evaluation()


class Config(Strict):
    """All of ``config/``."""

    folder: str
    project: Project
    anatomies: dict[str, Anatomy]
    datasets: dict[str, Dataset]
    backbones: dict[str, Backbone]
    tunings: dict[str, Tuning]
    heads: dict[str, Head]
    adaptations: dict[str, Adaptation]
    weights: dict[str, Weights]
    training: list[Line]
    experiments: dict[str, Experiment]
    labels: dict[str, dict[str, str]]
    tables: dict[str, TableEntry] = {}  # none: a table an experiment
    external: dict[str, External] = {}  # models that other tools made
    splits: dict[str, dict[str, Any]] = {}  # patients of each split, or `draw`: how many each will have

    def raw(self, home: Path, dataset: str) -> Path:
        """Folder of a dataset's raw files, see ``Results.home``."""
        return home / self.project.raw / (self.datasets[dataset].folder or dataset)

    def name_external(self) -> None:
        """Make external models choices on the axes."""
        for name, entry in self.external.items():
            self.backbones[name] = Backbone(module=EXTERNAL, image_size=1, planned=entry.planned)
            self.tunings[EXTERNAL] = Tuning(module=EXTERNAL)
            self.heads[EXTERNAL] = Head(module=EXTERNAL)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: dict[str, Any]) -> dict[str, Any]:
        """``like``: keys of another dataset's entry, where this one is silent."""
        datasets = data.get("datasets") or {}
        for name, entry in datasets.items():
            if isinstance(entry, dict) and (base := entry.get("like")):
                if base not in datasets:
                    raise unknown(f"datasets.yaml: {name}: like", base, datasets)
                datasets[name] = {"patients": base, "folder": base} | datasets[base] | entry
        return data


FILES = tuple(name for name in Config.model_fields if name not in ("folder", "splits"))
OPTIONAL = ("tables", "external")  # files that a configuration may do without
AXES = {
    "source": "datasets",
    "target": "datasets",
    "backbone": "backbones",
    "tuning": "tunings",
    "head": "heads",
    "adapt": "adaptations",
}


def as_list(value: str | list[str]) -> list[str]:
    """A single choice may be written without brackets."""
    return [value] if isinstance(value, str) else value


def matches(line: Line, where: dict[str, str]) -> bool:
    """True if a line of ``training.yaml`` speaks of the cell with these axes."""
    return all(
        any(fnmatchcase(where[axis], c) for c in as_list(choices)) for axis, choices in line.where.items()
    )
