"""Rows: models that can be trained in one process from one pass of a frozen backbone.

A row is an accelerator, never a condition: each of its models ends with the bits that it has alone, and what
a row leaves, for whatever reason, is trained alone. Plain Python: the Snakefile asks for it.
"""

from collections.abc import Iterable
from typing import Any

from segshift import modules
from segshift.entries import Training
from segshift.settings import digest

#: Settings of a training that decide what all models of a row see; in all others they may differ.
SHARED = (
    *("epochs", "batch_size", "accumulate", "sampling", "sampling_temperature", "sampling_pixels", "augment"),
    *("precision", "compile", "channels_last", "cpu_threads", "cache_features", "cache_limit"),
)
#: How often a workflow tries a row; the last time it leaves all to jobs of their own.
TRIES = 4
#: In the folder of a model: what it says where it is trained or scored with others.
LOG = "row.log"
SECTIONS = ("source", "target", "classes", "backbone", "tuning", "adaptation")


def shared(training: dict[str, Any], name: str) -> Any:
    """The value of a training setting, its default where it is not written."""
    return training.get(name, Training.model_fields[name].default)


def sampling_seed(settings: dict[str, Any]) -> int:
    """The seed of all that is drawn from data: order, augmentation, labelled patients."""
    return settings.get("sampling_seed", settings["seed"])


def key(settings: dict[str, Any]) -> str | None:
    """What models have in common that can be trained from one pass; None where one is trained alone.

    Args:
        settings: of a cell.
    """
    return None if alone(settings) else digest(_common(settings))


def alone(settings: dict[str, Any]) -> str | None:
    """Why a model can share no pass with any other; None where its settings know of no reason.

    What only a network that is built can tell, `segshift train` refuses.
    """
    if settings["tuning"]["module"] != "frozen" or _learns_though_frozen(settings):
        return "its backbone learns"
    adaptation, sampling = settings.get("adaptation"), shared(settings["training"], "sampling")
    counts = adaptation and sampling == "rare_class"
    if counts and modules.constant("adaptations", adaptation["module"], "ESTIMATES"):
        return "what it draws depends on it alone"
    return None


def _learns_though_frozen(settings: dict[str, Any]) -> bool:
    """True if parts of a frozen backbone learn: those that bring its maps to the last one's form, of which a
    head on that one alone needs none."""
    backbone, head = settings["backbone"], settings["head"]
    values = modules.constant("backbones", backbone["module"], "LEARNS")
    if not values or any(backbone.get(name) not in known for name, known in values.items()):
        return False
    return head.get("blocks") is not None or not modules.constant("heads", head["module"], "ONE_MAP")


def difference(one: dict[str, Any], other: dict[str, Any]) -> str | None:
    """In what two cells differ that one pass cannot serve; None where there is nothing."""
    theirs = _common(other)
    return next((name for name, value in _common(one).items() if value != theirs.get(name)), None)


def _common(settings: dict[str, Any]) -> dict[str, Any]:
    """All that models of a row must have in common, by the names that sentences give it."""
    found = {name: settings.get(name) for name in SECTIONS}
    found |= {name: shared(settings["training"], name) for name in SHARED}
    name = settings["backbone"].get("weights")
    found[f"weights {name}"] = settings["weights"].get(name)
    found["seed"] = [sampling_seed(settings), settings["seed"] if drawn_by_seed(settings) else None]
    return found


def drawn_by_seed(settings: dict[str, Any]) -> bool:
    """True if the frozen backbone itself is random, by the cell's own seed."""
    backbone = settings["backbone"]
    return backbone.get("weights") is None and backbone.get("init_seed") is None


def chunks(cells: list[Any], heads: int) -> Iterable[list[Any]]:
    """Cells in as few parts of at most ``heads`` as there can be, all of about one size."""
    parts = -(-len(cells) // max(heads, 1))
    size, more = divmod(len(cells), max(parts, 1))
    start = 0
    for part in range(parts):
        stop = start + size + (part < more)
        yield cells[start:stop]
        start = stop
