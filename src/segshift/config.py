"""Read and validate ``config/*.yaml``: every mistake is one sentence that names the file, the entry and the
key.

What may stand there is in ``entries.py``, what must fit together in ``checking.py``.
"""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from segshift import splits
from segshift.checking import check
from segshift.entries import FILES, OPTIONAL, Config
from segshift.errors import SegShiftError, unknown
from segshift.evaluation import Evaluation
from segshift.splits import LOADER, read_yaml
from segshift.table_entries import DatasetTable, ScoreTable, SelectionTable, Statistics

__all__ = ["LOADER", "evaluation", "read", "read_yaml"]


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
    for name, entry in data["datasets"].items():
        if isinstance(entry, dict) and isinstance(file := entry.get("labels"), str):
            data["datasets"][name] = entry | {"labels": splits.label_map(folder / file)}
    try:
        config = Config(folder=str(folder), **data)
    except ValidationError as error:
        raise SegShiftError(_sentence(folder, error)) from None
    for entry in config.datasets.values():
        if entry.splits:
            config.splits[entry.splits] = splits.read(folder / entry.splits)
    check(config)
    return config


def evaluation(folder: str | Path) -> Evaluation:
    """What `evaluate` computes, from ``project.yaml`` alone: a job that scores one model needs no more.

    Raises:
        SegShiftError: a mistake in it, in one sentence.
    """
    written = read_yaml(Path(folder) / "project.yaml")
    try:
        return Evaluation(**written.get("evaluation", {}))
    except (ValidationError, AttributeError, TypeError):
        return read(folder).project.evaluation  # finds the same mistake, and has the sentence for it


def _sentence(folder: Path, error: ValidationError) -> str:
    """pydantic's first complaint as a sentence."""
    first, *others = error.errors()
    if (
        first["loc"][-1] == "bool" and isinstance(first["input"], dict) and others
    ):  # or its keys, which were given
        first = others[0] | {"loc": tuple(part for part in others[0]["loc"] if part != Statistics.__name__)}
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
            for one in (inner, *get_args(inner)):
                model = one if isinstance(one, type) and issubclass(one, BaseModel) else model
        place = ": ".join(keys[:-1]) or "top level"
        return str(unknown(f"{folder}/{file}.yaml: {place}: unknown key", keys[-1], model.model_fields))
    return f"{where}: {first['msg'][0].lower()}{first['msg'][1:]} (it says {first['input']!r})"
