"""Read and validate ``config/*.yaml``: every mistake is one sentence that names the file, the entry and the
key.

Plain Python, pydantic and YAML: no torch, no Snakemake, for every cluster job reads this again.
"""

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from segshift import modules
from segshift.errors import SegShiftError, unknown
from segshift.table_entries import DatasetTable, ScoreTable, SelectionTable, TableEntry
from segshift.table_entries import check as check_tables

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
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
    from data. ``neck`` names weights whose neck a head's own starts from."""

    image_size: int = Field(gt=0)
    weights: str | None = None
    neck: str | None = None
    init_seed: int | None = None
    calibrate: bool = False


class Tuning(Entry):
    """``side`` names a backbone that runs beside the frozen one."""

    side: str | None = None


class Head(Entry):
    """``init`` names, part by part, weights that the head starts from.

    ``neck: backbone`` means those that the backbone's entry names as its ``neck``.
    """

    init: dict[str, str | None] = {}


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
    splits: str | None = None  # a file below config/ with the patients of each split
    labels: dict[int, str] | None = None  # raw value -> class name; default: a raw value is a class index
    preprocess: list[str | dict[str, dict[str, Any] | None]] = []
    version: int | None = None  # raise it when the raw files changed under the same names


class Anatomy(Strict):
    """``classes`` in the order of their values, background first."""

    classes: list[str] = Field(min_length=2)
    colours: list[str] | None = None


class Weights(Strict):
    """A weights file: where from, how to be sure of it, and what it had seen."""

    file: str
    url: str | None = None
    package: str | None = None
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    licence: str
    pretrained_on: dict[str, str] | Literal["unknown"]
    note: str | None = None


class Training(Strict):
    """Every setting of a training, merged from the lines of ``training.yaml``.

    Defaults here mean "as before the setting existed"; values of the protocol stand in ``training.yaml``.
    """

    learning_rate: float = Field(gt=0)
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["linear", "constant"] = "linear"
    warm_up: float = Field(0.05, ge=0, le=1)  # fraction of the steps
    loss: Literal["cross_entropy", "dice", "dice_cross_entropy"] = "cross_entropy"
    sampling: Literal["uniform", "rare_class"] = "uniform"
    augment: dict[str, dict[str, Any] | None] = {}
    cpu_threads: int = Field(1, gt=0)  # changes the last bits on a CPU
    cache_features: Literal["none", "float32", "float16"] = "none"
    cache_limit: float = Field(4.0, gt=0)  # GB


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
    in_all: bool = True


class Tracking(Strict):
    """``uri`` is an MLflow tracking server; without one, a database below ``results/``."""

    uri: str | None = None
    experiment: str = "segshift"


class Project(Strict):
    """What is one for all experiments."""

    seeds: list[int] = [42]
    raw: str = "data"
    weights: str = "weights"
    tracking: Tracking = Tracking()


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
    splits: dict[str, dict[str, list[str]]] = {}

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
OPTIONAL = ("tables",)  # files that a configuration may do without
AXES = {
    "source": "datasets",
    "target": "datasets",
    "backbone": "backbones",
    "tuning": "tunings",
    "head": "heads",
    "adapt": "adaptations",
}


def read(folder: str | Path) -> Config:
    """Read, merge and check all config files of a folder.

    Raises:
        SegShiftError: the first mistake, in one sentence.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SegShiftError(f"there is no configuration folder {folder}")
    files = [name for name in FILES if name not in OPTIONAL or (folder / f"{name}.yaml").exists()]
    data: dict[str, Any] = {name: read_yaml(folder / f"{name}.yaml") for name in files}
    data["training"] = data["training"] or []
    try:
        config = Config(folder=str(folder), **data)
    except ValidationError as error:
        raise SegShiftError(_sentence(folder, error)) from None
    for entry in config.datasets.values():
        if entry.splits:
            config.splits[entry.splits] = _splits(folder / entry.splits)
    check(config)
    return config


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; an empty one is an empty dict.

    Raises:
        SegShiftError: it is missing, or is not YAML; the line is named.
    """
    try:
        return yaml.load(file.read_text(), LOADER) or {}
    except FileNotFoundError:
        raise SegShiftError(f"{file} is missing") from None
    except yaml.YAMLError as error:
        raise SegShiftError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None


def _splits(file: Path) -> dict[str, list[str]]:
    splits = read_yaml(file)
    for split in splits:
        if split not in SPLITS:
            raise unknown(f"{file}: split", split, SPLITS)
    return {split: [str(patient) for patient in splits.get(split, [])] for split in SPLITS}


def _sentence(folder: Path, error: ValidationError) -> str:
    """pydantic's first complaint as a sentence."""
    first = error.errors()[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), SegShiftError):
        return str(cause)
    file, *keys = [str(part) for part in first["loc"]]
    if file == "training":
        keys[:1] = [f"entry {int(number) + 1}" for number in keys[:1]]
    if file == "tables":  # which of the three kinds of table it is stands behind its number
        models = {"scores": ScoreTable, "datasets": DatasetTable, "selection": SelectionTable}
        kind = keys.pop(1) if len(keys) > 1 and keys[1] in models else "scores"
    where = f"{folder}/{file}.yaml: {': '.join(keys)}"
    if first["type"] == "extra_forbidden":
        model: Any = models[kind] if file == "tables" else Config.model_fields[file].annotation
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            model = model.__args__[-1]
        for key in keys[:-1]:  # a model within the model, such as tracking
            inner = model.model_fields[key].annotation if key in model.model_fields else None
            model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
        place = ": ".join(keys[:-1]) or "top level"
        return str(unknown(f"{folder}/{file}.yaml: {place}: unknown key", keys[-1], model.model_fields))
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]} (it says {first['input']!r})"


def check(config: Config) -> None:
    """Everything that one file alone cannot know: names that refer to others, and parameters of modules."""
    _check_names(config)
    for folder in ("backbones", "tunings", "heads", "adaptations", "datasets"):
        for name, entry in getattr(config, folder).items():
            if not entry.planned:
                _check_module(config, folder, name, entry)
    _check_references(config)
    _check_siblings(config)
    _check_training(config)
    check_tables(config)
    for kind in config.labels:
        if kind not in (kinds := ("anatomy", "dataset", "format", "backbone", "tuning", "head", "adapt")):
            raise unknown(f"{config.folder}/labels.yaml: unknown kind of name", kind, kinds)


def _check_names(config: Config) -> None:
    for file in FILES[1:]:
        entries = getattr(config, file)
        for name in entries if isinstance(entries, dict) and file not in ("labels", "tables") else ():
            if not NAME.fullmatch(str(name)):
                raise SegShiftError(
                    f"{config.folder}/{file}.yaml: the name {name!r} is a folder's too and may "
                    "hold a-z, 0-9 and _ only"
                )


def _check_module(config: Config, folder: str, name: str, entry: Entry) -> None:
    where = f"{config.folder}/{folder}.yaml: {name}"
    if entry.module not in modules.available(folder):
        raise unknown(f"{where}: unknown module", entry.module, modules.available(folder))
    known, required = modules.parameters(folder, entry.module)
    given = entry.parameters()
    engine = {
        "image_size",
        "plane",
        "side",
        "loss",
    }  # handed over by the engine, or a key of the entry itself
    own = [key for key in type(entry).model_fields if key not in ("module", "planned")]
    for key in given:
        if key not in known:
            raise unknown(f"{where}: unknown key", key, [*own, *(key for key in known if key not in engine)])
    for key in required:
        if key not in given and key not in engine:
            raise SegShiftError(f"{where}: module {entry.module!r} needs the key {key!r}")


def _check_references(config: Config) -> None:
    def known(where: str, name: str | None, folder: str) -> None:
        if name is not None and name not in getattr(config, folder):
            kind = "weights" if folder == "weights" else folder.rstrip("s")
            raise unknown(f"{config.folder}/{where}: unknown {kind}", name, getattr(config, folder))

    for name, backbone in config.backbones.items():
        known(f"backbones.yaml: {name}", backbone.weights, "weights")
        known(f"backbones.yaml: {name}: neck", backbone.neck, "weights")
    for name, tuning in config.tunings.items():
        known(f"tunings.yaml: {name}: side", tuning.side, "backbones")
    for name, head in config.heads.items():
        for part, weights in head.init.items():
            if (part, weights) == ("neck", BACKBONES):
                continue
            known(f"heads.yaml: {name}: init: {part}", weights, "weights")
    for name, weights in config.weights.items():
        for dataset in weights.pretrained_on if isinstance(weights.pretrained_on, dict) else ():
            known(f"weights.yaml: {name}: pretrained_on", dataset, "datasets")
    for name, dataset in config.datasets.items():
        if dataset.anatomy not in config.anatomies:
            raise unknown(
                f"{config.folder}/datasets.yaml: {name}: unknown anatomy", dataset.anatomy, config.anatomies
            )


def _check_siblings(config: Config) -> None:
    """Datasets of one anatomy are scored on each other: same plane, same classes, sane label maps and
    steps."""
    steps = modules.steps()
    first: dict[str, str] = {}
    for name, entry in config.datasets.items():
        where = f"{config.folder}/datasets.yaml: {name}"
        classes = config.anatomies[entry.anatomy].classes
        for label in set((entry.labels or {}).values()) - set(classes):
            raise unknown(f"{where}: labels: unknown class", label, classes)
        sibling = first.setdefault(entry.anatomy, name)
        other = config.datasets[sibling]
        if entry.plane != other.plane:
            raise SegShiftError(f"{where}: is {entry.plane}, but its sibling {sibling} is {other.plane}")
        if (ours := _classes(config, entry)) != (theirs := _classes(config, other)):
            differ = ", ".join(sorted(ours ^ theirs))
            raise SegShiftError(
                f"{where}: its classes differ from those of its sibling {sibling} ({differ}); "
                f"give it an anatomy of its own, such as {entry.anatomy}_coarse"
            )
        for step in entry.preprocess:
            step_name, given = next(iter(step.items())) if isinstance(step, dict) else (step, None)
            if step_name not in steps:
                raise unknown(f"{where}: preprocess: unknown step", step_name, steps)
            for key in given or {}:
                if key not in steps[step_name]:
                    raise unknown(f"{where}: preprocess: {step_name}: unknown key", key, steps[step_name])


def _classes(config: Config, entry: Dataset) -> set[str]:
    return set(entry.labels.values()) if entry.labels else set(config.anatomies[entry.anatomy].classes)


def _check_training(config: Config) -> None:
    axes = {**AXES, "dataset": "datasets"}
    for number, line in enumerate(config.training, 1):
        where = f"{config.folder}/training.yaml: entry {number}"
        for axis, choices in line.where.items():
            if axis not in axes or axis in ("source", "target"):
                raise unknown(
                    f"{where}: unknown axis", axis, [a for a in axes if a not in ("source", "target")]
                )
            for choice in as_list(choices):
                names = [*getattr(config, axes[axis]), *(["none"] if axis == "adapt" else [])]
                if not any(fnmatchcase(name, choice) for name in names):
                    raise unknown(f"{where}: {axis}", choice, names)
        for key in line.use:
            if key not in Training.model_fields:
                raise unknown(f"{where}: unknown setting", key, Training.model_fields)
        _check_augment(where, line.use.get("augment") or {})


def _check_augment(where: str, augment: Any) -> None:
    transforms = modules.transforms()
    for name, given in augment.items() if isinstance(augment, dict) else ():
        if name not in transforms:
            raise unknown(f"{where}: augment: unknown transform", name, transforms)
        for key in given if isinstance(given, dict) else ():
            if key not in transforms[name]:
                raise unknown(f"{where}: augment: {name}: unknown key", key, transforms[name])


def as_list(value: str | list[str]) -> list[str]:
    """A single choice may be written without brackets."""
    return [value] if isinstance(value, str) else value


def matches(line: Line, where: dict[str, str]) -> bool:
    """True if a line of ``training.yaml`` speaks of the cell with these axes."""
    return all(
        any(fnmatchcase(where[axis], c) for c in as_list(choices)) for axis, choices in line.where.items()
    )
