"""Everything about ``config/`` that one file alone cannot know: names that refer to others, and parameters
of modules."""

from fnmatch import fnmatchcase
from typing import Any

from segshift import modules
from segshift.entries import AXES, BACKBONES, FILES, NAME, Config, Dataset, Entry, Training, as_list
from segshift.errors import SegShiftError, unknown
from segshift.identity import EXTERNAL
from segshift.table_entries import check as check_tables


def check(config: Config) -> None:
    """Everything that one file alone cannot know: names that refer to others, and parameters of modules."""
    _check_names(config)
    for folder in ("backbones", "tunings", "heads", "adaptations", "datasets"):
        for name, entry in getattr(config, folder).items():
            if not entry.planned:
                _check_module(config, folder, name, entry)
    _check_references(config)
    _check_external(config)
    _check_siblings(config)
    _check_evaluation(config)
    _check_training(config)
    config.name_external()  # from here they are choices like any other: a table may name them
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
        known(f"datasets.yaml: {name}: form_of", dataset.form_of, "datasets")


def _check_external(config: Config) -> None:
    """A name is of one of our models or of somebody else's, and what theirs had seen is known by name."""
    for folder, names in (("tunings", [EXTERNAL]), ("heads", [EXTERNAL]), ("backbones", config.external)):
        for name in names:
            if name in getattr(config, folder):
                where = f"{config.folder}/{folder}.yaml: {name}"
                raise SegShiftError(f"{where} names models that other tools made, see external.yaml")
    for name, experiment in config.experiments.items():
        for grid in experiment.grid if isinstance(experiment.grid, list) else [experiment.grid]:
            theirs = {one in config.external for one in grid.get("backbone", ())}
            theirs |= {one == EXTERNAL for axis in ("tuning", "head") for one in grid.get(axis, ())}
            if len(theirs) > 1 or (True in theirs and set(grid.get("adapt", ["none"])) != {"none"}):
                where = f"{config.folder}/experiments.yaml: {name}: models of external.yaml"
                raise SegShiftError(
                    f"{where} have a grid of their own, with tuning [{EXTERNAL}], head [{EXTERNAL}], no adapt"
                )
    for name, entry in config.external.items():
        for dataset in entry.pretrained_on if isinstance(entry.pretrained_on, dict) else ():
            if dataset not in config.datasets:
                where = f"{config.folder}/external.yaml: {name}: pretrained_on: unknown dataset"
                raise unknown(where, dataset, config.datasets)


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


def _check_evaluation(config: Config) -> None:
    """A tolerance by anatomy names each that a dataset shows, and no other."""
    where = f"{config.folder}/project.yaml: evaluation"
    tolerance = config.project.evaluation.tolerance
    if isinstance(tolerance, dict):
        for anatomy in tolerance:
            if anatomy not in config.anatomies:
                raise unknown(f"{where}: tolerance: unknown anatomy", anatomy, config.anatomies)
        for anatomy in sorted({entry.anatomy for entry in config.datasets.values()} - set(tolerance)):
            raise SegShiftError(f"{where}: tolerance has no number for the {anatomy}")


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
