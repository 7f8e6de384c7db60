"""``segshift settings CELL``: what decides a cell, and which entry of ``training.yaml`` set each value.

With ``--write`` it writes settings.yaml of all cells, as the Snakefile does when it starts.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from segshift import grid
from segshift.config import LOADER
from segshift.entries import AXES, Line, Training
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model
from segshift.paths import Results, locate


def run(config_folder: str | Path, results: Results, cell: str | None, write: bool = False) -> None:
    """Print the settings of a cell, or write those of all.

    Args:
        config_folder: the configuration.
        results: where settings are written.
        cell: ``source/backbone/tuning/head/seed`` or that with ``/adapt/target``, or its folder. Any
            combination of
            known names will do, whether an experiment asks for it or not.
        write: write ``settings.yaml`` of every dataset and model, where it changed, and keep a copy of the
            configuration.

    Raises:
        SegShiftError: a mistake in the configuration, no cell, or an unknown name in it.
    """
    expanded = grid.read(config_folder)
    if cell:
        model = known(parse(expanded, locate(cell, results.root)[1]))
        print("\n".join(lines(expanded, model)))
    elif not write:
        raise SegShiftError(
            "name a cell: source/backbone/tuning/head/seed, and /adapt/target behind it if adapted"
        )
    if write:
        changed = grid.write_settings(expanded, results)
        grid.copy_config(config_folder, results)
        total = len(expanded.jobs) + len(expanded.datasets())
        print(f"{len(changed)} of {total} settings.yaml written, the others were up to date")


def parse(expanded: Grid, path: str) -> Model:
    """The model of a path.

    Raises:
        SegShiftError: one of its names is unknown, or its target is no sibling of its source.
    """
    model = Model.parse(path)
    for axis, entries in AXES.items():
        name, known = getattr(model, axis), getattr(expanded.config, entries)
        if name is not None and name not in known:
            raise unknown(f"{path}: unknown {axis}", name, known)
    datasets = expanded.config.datasets
    siblings = [name for name, entry in datasets.items() if entry.anatomy == datasets[model.source].anatomy]
    siblings.remove(model.source)
    if model.target and model.target not in siblings:
        raise unknown(f"{path}: {model.source} has no sibling", model.target, siblings)
    return model


def known(model: Model) -> Model:
    """The model, if its settings are known.

    Raises:
        SegShiftError: another tool made it.
    """
    if model.external:
        raise SegShiftError(f"{model.path} was made by another tool: nothing is known of its settings here")
    return model


def lines(expanded: Grid, model: Model) -> Iterable[str]:
    """The report on a cell, line by line."""
    settings = expanded.settings(model)
    yield model.path
    named = [name for name in expanded.experiments if model in set(expanded.models([name]))]
    yield f"experiments: {', '.join(named) or 'none asks for it'}"
    if planned := expanded.planned(model):
        yield f"not yet possible: {', '.join(planned)} planned"
    if "sampling_seed" in settings:
        yield f"sampling_seed: {settings['sampling_seed']}  seeds_share: sampling"
    yield ""
    yield "training"
    yield from _training(expanded, model)
    for axis, section in (
        ("backbone", "backbone"),
        ("tuning", "tuning"),
        ("head", "head"),
        ("adapt", "adaptation"),
    ):
        if section in settings:
            yield from ["", f"{section} {getattr(model, axis)}"]
            yield from (f"  {key}: {_text(value)}" for key, value in settings[section].items())
    if settings["weights"]:
        yield from ["", "weights"]
        yield from (
            f"  {name}: sha256 {digest or 'not known'}" for name, digest in settings["weights"].items()
        )


def _training(expanded: Grid, model: Model) -> Iterable[str]:
    """Each training setting, what is nested in it on lines of its own, with the line that set it: its number
    in the file, and its text. Then the settings that no line sets, with their defaults."""
    config = expanded.config
    file = Path(config.folder) / "training.yaml"
    places, texts = line_numbers(file), file.read_text().splitlines()
    rows = []
    explained = expanded.explained(model)
    for key, (value, number) in explained.items():
        line = places[number - 1][key]
        text = texts[line - 1].strip()
        # an entry of several lines names its cells on another one than its setting
        where = "" if "where" in text else f"{_where(config.training[number - 1])}, "
        origin = f"training.yaml:{line}  {where}{text}"
        nested = (
            [(f"  {name}", _text(inner), "") for name, inner in value.items()]
            if isinstance(value, dict)
            else []
        )
        rows += [(key, "" if nested else _text(value), origin), *nested]
    fields = Training.model_fields.items()
    defaults = [
        (key, field.get_default(call_default_factory=True)) for key, field in fields if key not in explained
    ]
    rows += [(key, _text(value), "default") for key, value in defaults]
    widths = [max(len(row[at]) for row in rows if row[2]) for at in (0, 1)]
    for key, value, origin in rows:
        yield f"  {key:{widths[0]}}  {value:{widths[1]}}  {origin}".rstrip()


def line_numbers(file: Path) -> list[dict[str, int]]:
    """For each entry of a training file, the line of the file on which each of its settings stands, counted
    from 1."""
    root = yaml.compose(file.read_text(), LOADER)
    found = []
    for entry in root.value if root else []:
        use = next(value for key, value in entry.value if key.value == "use")
        found.append({key.value: key.start_mark.line + 1 for key, _ in use.value})
    return found


def _where(line: Line) -> str:
    return _text(line.where) if line.where else "all cells"


def _text(value: Any) -> str:
    """A value on one line, as YAML would write it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    return text.removesuffix("...\n").strip()
