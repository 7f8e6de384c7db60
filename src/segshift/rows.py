"""Rows: models that can be trained in one process from one pass of a frozen backbone.

A row is an accelerator, never a condition: each of its models ends with the bits that it has alone, and what
a row leaves, for whatever reason, is trained alone. Plain Python: the Snakefile asks for it.
"""

from collections.abc import Iterable
from typing import Any

from segshift.entries import Training
from segshift.settings import digest

#: Settings of a training that decide what all models of a row see; in all others they may differ.
SHARED = (
    *("epochs", "batch_size", "accumulate", "sampling", "sampling_temperature", "sampling_pixels", "augment"),
    *("precision", "compile", "channels_last", "cpu_threads", "cache_features", "cache_limit"),
)
SECTIONS = ("source", "target", "classes", "backbone", "tuning", "adaptation")


def shared(training: dict[str, Any], name: str) -> Any:
    """The value of a training setting, its default where it is not written."""
    return training.get(name, Training.model_fields[name].default)


def sampling_seed(settings: dict[str, Any]) -> int:
    """The seed of all that is drawn from data: order, augmentation, labelled patients."""
    return settings.get("sampling_seed", settings["seed"])


def key(settings: dict[str, Any]) -> str | None:
    """What models have in common that can be trained from one pass; None where the backbone learns.

    Args:
        settings: of a cell.
    """
    if settings["tuning"]["module"] != "frozen":
        return None
    backbone, training = settings["backbone"], settings["training"]
    common = {name: settings.get(name) for name in SECTIONS}
    common["training"] = {name: shared(training, name) for name in SHARED}
    common["sampling seed"] = sampling_seed(settings)
    common["backbone"] = [backbone, settings["weights"].get(backbone.get("weights"))]
    if drawn_by_seed(settings):
        common["seed"] = settings["seed"]
    return digest(common)


def drawn_by_seed(settings: dict[str, Any]) -> bool:
    """True if the frozen backbone itself is random, by the cell's own seed."""
    backbone = settings["backbone"]
    return backbone.get("weights") is None and backbone.get("init_seed") is None


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """In what two cells differ that one pass cannot serve; None where there is nothing."""
    for name in SECTIONS:
        if one.get(name) != other.get(name):
            return name
    for name in SHARED:
        if shared(one["training"], name) != shared(other["training"], name):
            return name
    name = one["backbone"].get("weights")
    if one["weights"].get(name) != other["weights"].get(name):
        return f"weights {name}"
    drawn = sampling_seed(one) != sampling_seed(other)
    return "seed" if drawn or (drawn_by_seed(one) and one["seed"] != other["seed"]) else None


def chunks(cells: list[Any], heads: int) -> Iterable[list[Any]]:
    """Cells in as few parts of at most ``heads`` as there can be, all of about one size."""
    parts = -(-len(cells) // max(heads, 1))
    size, more = divmod(len(cells), max(parts, 1))
    start = 0
    for part in range(parts):
        stop = start + size + (part < more)
        yield cells[start:stop]
        start = stop
