"""Expand ``config/*.yaml`` into the cells, scores and settings that the workflow asks for.

Plain Python: no torch, no Snakemake. Every cluster job loads this module again, so it must stay fast.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from segshift import config as configuration
from segshift import records
from segshift.entries import AXES, BACKBONES, Config, Entry, Training, matches
from segshift.errors import SegShiftError, unknown
from segshift.identity import CELL_AXES, Expanded, LeftOut, Model, Score
from segshift.paths import Results
from segshift.seeds_share import SamplingSeeds

CHECKS = ("lost_labels", "accept")  # of a dataset: what may pass, not what the data are
NO_IDENTITY = ("classes", "modality", *CHECKS)  # of a dataset: no model is another by these


class Grid:
    """The experiments, expanded once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sampling_seeds = SamplingSeeds(config)
        self.experiments = {name: self._expand(name) for name in config.experiments}

    # ---- expansion -------------------------------------------------------------------------------------

    def _expand(self, name: str) -> Expanded:
        expanded, seen = Expanded(), set()
        for model, target, reason in self._scores(name):
            if (model, target) in seen:
                continue
            seen.add((model, target))
            if reason:
                expanded.left_out.append(LeftOut(model, target, reason))
            else:
                expanded.scores.append(Score(model, target))
        return expanded

    def _scores(self, name: str) -> Iterator[tuple[Model, str, str | None]]:
        """All scores of an experiment, with the reason where one is left out."""
        experiment = self.config.experiments[name]
        grids = experiment.grid if isinstance(experiment.grid, list) else [experiment.grid]
        for grid in grids:
            grid = {"seed": self.config.project.seeds, "adapt": ["none"], **grid}
            self._check_axes(name, grid)
            for values in product(*(grid[axis] for axis in CELL_AXES)):
                cell = Model(*values)
                self.sampling_seeds.note(name, cell, grid["seed"][0])
                for adapt in grid["adapt"]:
                    for target in self._targets(name, cell.source):
                        reason = self.contaminated(cell, target, experiment.contaminated)
                        adapted = adapt != "none" and target != cell.source
                        yield (Model(*cell[:5], adapt, target) if adapted else cell), target, reason

    def _check_axes(self, name: str, grid: dict[str, list[Any]]) -> None:
        where = f"{self.config.folder}/experiments.yaml: {name}"
        for axis in grid:
            if axis not in (*CELL_AXES, "adapt"):
                raise unknown(f"{where}: unknown axis", axis, (*CELL_AXES, "adapt"))
        for axis in CELL_AXES:
            if axis not in grid:
                raise SegShiftError(f"{where}: the grid has no {axis}")
        for seed in grid["seed"]:
            if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
                raise SegShiftError(f"{where}: seed {seed!r} is not a whole number")
        for axis in ("source", "backbone", "tuning", "head", "adapt"):
            known = [*getattr(self.config, AXES[axis]), *(["none"] if axis == "adapt" else [])]
            for choice in grid[axis]:
                if choice not in known:
                    raise unknown(f"{where}: unknown {axis}", choice, known)

    def _targets(self, name: str, source: str) -> list[str]:
        """What models of a source are tested on: the source first (in-domain), then its siblings."""
        pinned = self.config.experiments[name].targets
        anatomy = self.config.datasets[source].anatomy
        where = f"{self.config.folder}/experiments.yaml: {name}: targets"
        if pinned == "siblings":
            names = self._siblings(source)
        elif anatomy in pinned:
            names = pinned[anatomy]
        else:
            raise SegShiftError(
                f"{where}: nothing is named for {anatomy}, the anatomy of its source {source}"
            )
        for target in names:
            if target not in self.config.datasets:
                raise unknown(f"{where}: unknown dataset", target, self.config.datasets)
            if (other := self.config.datasets[target].anatomy) != anatomy:
                raise SegShiftError(f"{where}: {target} shows the {other}, not the {anatomy}")
        return [source] + [target for target in names if target != source]

    def _siblings(self, source: str) -> list[str]:
        """Datasets of the source's anatomy, each in one form: the source in its own, others in the first."""
        anatomy, same = self.config.datasets[source].anatomy, self.form(source)
        named = [name for name, entry in self.config.datasets.items() if entry.anatomy == anatomy]
        return [name for name in named if name == source or (name == self.form(name) and name != same)]

    def together(self, dataset: str) -> list[str]:
        """Datasets that can be prepared and of which one is a target of the other's models."""
        return [
            name
            for name in self.datasets()
            if name != dataset and (name in self._siblings(dataset) or dataset in self._siblings(name))
        ]

    def form(self, dataset: str) -> str:
        """The dataset of which one is another form; itself where its entry has no `form_of`."""
        return self.config.datasets[dataset].form_of or dataset

    # ---- what a cell had seen before -------------------------------------------------------------------

    def weights(self, model: Model) -> list[str]:
        """Names of the weights files that a model is built from: backbone, side network, head.

        Of a name that the configuration does not have (in a file of somebody's runs) nothing is known.
        """
        config = self.config
        tuning = config.tunings.get(model.tuning)
        backbones = [model.backbone, *([tuning.side] if tuning and tuning.side else [])]
        names = [config.backbones[name].weights for name in backbones if name in config.backbones]
        names += self._init(model).values()
        return list(dict.fromkeys(name for name in names if name))

    def pretrained_on(self, model: Model) -> dict[str, str] | str:
        """Datasets that the weights had seen: the union over all of them, or ``unknown``."""
        if external := self.config.external.get(model.backbone):
            known = external.pretrained_on
            return known if known == "unknown" else dict.fromkeys(known, model.backbone)
        seen = [(name, self.config.weights[name].pretrained_on) for name in self.weights(model)]
        union = {dataset: name for name, datasets in seen if datasets != "unknown" for dataset in datasets}
        if model.backbone not in self.config.backbones:
            return union or "unknown"
        return union or ("unknown" if any(datasets == "unknown" for _, datasets in seen) else {})

    def contaminated(self, model: Model, target: str, policy: str) -> str | None:
        """Why a score is left out under an experiment's policy, or None."""
        seen = self.pretrained_on(model)
        if policy == "keep" or seen == "unknown":
            return None
        anatomy = self.config.datasets[target].anatomy
        for dataset, weights in seen.items():
            if policy == "drop_target" and dataset in (target, self.form(target)) and target != model.source:
                return f"{weights} was pretrained on {dataset}"
            if policy == "drop_anatomy" and self.config.datasets[dataset].anatomy == anatomy:
                return f"{weights} was pretrained on {dataset}, so its {anatomy} is left out"
        return None

    # ---- what can be made today ------------------------------------------------------------------------

    def planned(self, model: Model, target: str | None = None) -> list[str]:
        """Entries that a score waits for, as ``kind name``; empty if it can be made."""
        config = self.config
        entries = [
            ("source", model.source, config.datasets[model.source]),
            ("backbone", model.backbone, config.backbones[model.backbone]),
            ("tuning", model.tuning, config.tunings[model.tuning]),
            ("head", model.head, config.heads[model.head]),
        ]
        if side := config.tunings[model.tuning].side:
            entries.append(("backbone", side, config.backbones[side]))
        if model.adapt:
            entries.append(("adapt", model.adapt, config.adaptations[model.adapt]))
        if target := target or model.target:
            entries.append(("target", target, config.datasets[target]))
        return [f"{kind} {name}" for kind, name, entry in entries if entry.planned]

    def models(self, experiments: list[str] | None = None) -> list[Model]:
        """All models of the experiments (default: all), trained cells before what is adapted from them."""
        names = self.experiments if experiments is None else experiments
        found: dict[Model, None] = {}
        for name in names:
            for model, _ in self.experiments[name].scores:
                found.setdefault(model.cell)
                found.setdefault(model)
        return sorted(found, key=lambda model: model.adapt is not None)

    @cached_property
    def jobs(self) -> dict[str, Model]:
        """Models that can be made, by path."""
        made = (model for model in self.models() if not model.external)
        return {model.path: model for model in made if not self.planned(model)}

    @cached_property
    def targets(self) -> dict[str, list[str]]:
        """By path of a model: the datasets that it is tested on, over all experiments, where that is
        possible."""
        found: dict[str, dict[str, None]] = {path: {} for path in self.jobs}
        for expanded in self.experiments.values():
            for model, target in expanded.scores:
                if model.path in found and not self.planned(model, target):
                    found[model.path].setdefault(target)
        return {path: list(targets) for path, targets in found.items()}

    def scored(self, experiment: str) -> list[str]:
        """Paths of the models whose scores an experiment's table is made of, where they can be made."""
        models = dict.fromkeys(model for model, _ in self.experiments[experiment].scores)
        external = {model.path for model in models if model.external and not self.planned(model)}
        return [model.path for model in models if self.targets.get(model.path) or model.path in external]

    def datasets(self) -> list[str]:
        """Datasets that can be prepared."""
        return [name for name, entry in self.config.datasets.items() if not entry.planned]

    # ---- settings: everything that decides a model or a prepared dataset, and nothing else ----------------

    def dataset_settings(self, name: str) -> dict[str, Any]:
        """What `prepare` reads."""
        entry = self.config.datasets[name]
        settings = {
            "dataset": name,
            "anatomy": entry.anatomy,
            "classes": self.config.anatomies[entry.anatomy].classes,
            "modality": entry.modality,
            "plane": entry.plane,
            "patients": entry.patients or name,
            "splits": self.config.splits[entry.splits] if entry.splits else None,
            "labels": entry.labels,
            "preprocess": entry.preprocess,
            "reader": {"module": entry.module, **entry.parameters()},
        }
        more = {"version": entry.version, "lost_labels": entry.lost_labels, "accept": entry.accept or None}
        return settings | {key: value for key, value in more.items() if value is not None}

    def settings(self, model: Model) -> dict[str, Any]:
        """What `train` and `adapt` read. Labels, paths and machine facts are not in it."""
        config = self.config
        settings = {
            "cell": model.path,
            "classes": config.anatomies[config.datasets[model.source].anatomy].classes,
            "source": self._identity(model.source),
            "backbone": self._backbone(model.backbone),
            "tuning": self._tuning(model.tuning),
            "head": self._head(model),
            **{"seed": model.seed, **self.sampling_seeds.section(model)},
            "training": self.training(model),
            "weights": {name: config.weights[name].sha256 for name in self.weights(model)},
        }
        if model.adapt:
            settings["adaptation"] = self._plain(config.adaptations[model.adapt])
            settings["target"] = self._identity(model.target)
        return settings

    def _identity(self, dataset: str) -> dict[str, Any]:
        """A dataset's settings as a section of a model's; a long split list by its digest."""
        settings = {k: v for k, v in self.dataset_settings(dataset).items() if k not in NO_IDENTITY}
        if settings["splits"]:
            settings["splits"] = hashlib.sha256(json.dumps(settings["splits"]).encode()).hexdigest()[:16]
        return settings

    def _backbone(self, name: str) -> dict[str, Any]:
        plain = self._plain(self.config.backbones[name])
        return {key: value for key, value in plain.items() if key != "neck"}  # the head's, if it has one

    def _head(self, model: Model) -> dict[str, Any]:
        plain = self._plain(self.config.heads[model.head])
        return plain | ({"init": self._init(model)} if "init" in plain else {})

    def _init(self, model: Model) -> dict[str, str | None]:
        """Weights that a model's head starts from, by part."""
        head, backbone = self.config.heads.get(model.head), self.config.backbones.get(model.backbone)
        neck = backbone.neck if backbone else None
        return {
            part: neck if name == BACKBONES else name for part, name in (head.init.items() if head else ())
        }

    def _tuning(self, name: str) -> dict[str, Any]:
        plain = self._plain(self.config.tunings[name])
        return plain | ({"side": self._backbone(plain["side"])} if plain.get("side") else {})

    @staticmethod
    def _plain(entry: Entry) -> dict[str, Any]:
        return entry.model_dump(exclude_unset=True, exclude={"planned"})

    def training(self, model: Model) -> dict[str, Any]:
        """Training settings of a model, merged from all lines that speak of it."""
        return {key: value for key, (value, _) in self.explained(model).items()}

    def explained(self, model: Model) -> dict[str, tuple[Any, int]]:
        """Each training setting with the number of the line of ``training.yaml`` that set it last."""
        where = {"dataset": model.dataset, "adapt": model.adapt or "none"}
        where |= {axis: getattr(model, axis) for axis in ("backbone", "tuning", "head")}
        merged: dict[str, tuple[Any, int]] = {}
        for number, line in enumerate(self.config.training, 1):
            if matches(line, where):
                merged |= {key: (value, number) for key, value in line.use.items()}
        try:
            checked = Training(**{key: value for key, (value, _) in merged.items()})
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            line = f"entry {merged[key][1]}: {key}" if key in merged else f"{key} of {model.path}"
            sentence = first["msg"].lower().removeprefix("value error, ")
            raise SegShiftError(f"{self.config.folder}/training.yaml: {line}: {sentence}") from None
        values = checked.model_dump(exclude_unset=True)
        classes = self.config.anatomies[self.config.datasets[model.source].anatomy].classes
        for name in values.get("class_weights") or ():
            if name not in classes:
                where = f"{self.config.folder}/training.yaml: entry {merged['class_weights'][1]}"
                raise unknown(f"{where}: class_weights: unknown class", name, classes)
        return {key: (values[key], number) for key, (_, number) in merged.items()}


def read(folder: str | Path) -> Grid:
    """Read a configuration folder and expand it."""
    return Grid(configuration.read(folder))


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # libyaml: seven times as fast
    def ignore_aliases(self, data: Any) -> bool:
        return True


_TEXTS: dict[str, str] = {}  # of sections, by what they hold


def render(settings: dict[str, Any]) -> str:
    """Stable text: sorted keys, nothing abbreviated. Cells share most sections, so each is dumped once."""
    texts = []
    for key in sorted(settings):
        section = {key: settings[key]}
        if (said := repr(section)) not in _TEXTS:  # tells 1, 1.0, True and "1" apart, as the text does
            _TEXTS[said] = yaml.dump(section, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=110)
        texts.append(_TEXTS[said])
    return "".join(texts)


def write_settings(grid: Grid, results: Results) -> list[Path]:
    """Write settings.yaml of every dataset and model; leave files whose content is right untouched.

    A prepared dataset keeps the text that it was prepared from while nothing but what may pass differs: its
    scores hang on that file.
    """
    texts = {}
    for name in grid.datasets():
        folder, text = results.data(name), render(grid.dataset_settings(name))
        manifest = folder / "manifest.json"
        before = json.loads(manifest.read_text())["settings"] if manifest.exists() else text
        texts[folder] = before if same_data(before, text) else text
    for path, model in grid.jobs.items():
        settings = grid.settings(model)
        settings["weights"] = records.held(results, path, settings["weights"])
        texts[results.run(path)] = render(settings)
    changed = []
    for folder, text in texts.items():
        file = folder / "settings.yaml"
        try:
            if file.read_text() == text:
                continue
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(text)
        part.replace(file)
        changed.append(file)
    return changed


def copy_config(folder: str | Path, results: Results) -> None:
    """Keep the configuration that a workflow started with: an edit reaches no running workflow."""
    part = results.config.with_name(".config.part")
    shutil.rmtree(part, ignore_errors=True)
    for file in Path(folder).rglob("*.yaml"):
        copy = part / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.rmtree(results.config, ignore_errors=True)
    part.rename(results.config)


def changed_data(grid: Grid, results: Results) -> set[str]:
    """Manifests of datasets that were prepared from another entry than today's."""
    changed = set()
    for name in grid.datasets():
        file = results.data(name) / "manifest.json"
        text = render(grid.dataset_settings(name))
        if file.exists() and not same_data(json.loads(file.read_text())["settings"], text):
            changed.add(str(file))
    return changed


def same_data(settings: str, others: str) -> bool:
    """True if two texts of a dataset's settings give the same data: they differ at most in what may pass."""
    if settings == others:
        return True
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    first, second = ({**yaml.load(text, loader), **dict.fromkeys(CHECKS)} for text in (settings, others))
    return first == second
