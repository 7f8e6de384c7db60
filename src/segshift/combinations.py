"""Combinations of backbone, tuning and head, in an experiment or not, and their original variants.

Plain Python, no torch.
"""

from typing import Any, NamedTuple

from segshift import modules
from segshift.entries import Config, Entry
from segshift.errors import SegShiftError, unknown
from segshift.grid import Grid, Model

PARTS = ("backbone", "tuning", "head")
ORIGINAL = "_original"  # the end of an entry's name that is the thesis's own code's
Section = dict[str, Any]  # a module's name and parameters, as in a cell's settings


class Combination(NamedTuple):
    """What decides a model's size; ``adaptation`` is set where it is one trained on a target."""

    backbone: Section
    tuning: Section
    head: Section
    classes: int
    adaptation: Section | None = None


class Named(NamedTuple):
    """A combination and the names of its entries."""

    backbone: str
    tuning: str
    head: str
    combination: Combination
    adapt: str | None = None
    notes: tuple[str, ...] = ()  # what was asked for and is not there

    @property
    def name(self) -> str:
        """``backbone/tuning/head``, and the adaptation."""
        return "/".join(filter(None, (self.backbone, self.tuning, self.head, self.adapt)))

    @property
    def key(self) -> tuple[str, int, int]:
        """Name, classes and image size: equal for what need be counted once only."""
        return self.name, self.combination.classes, self.combination.backbone["image_size"]


def of_names(config: Config, names: dict[str, str], classes: int, originals: bool = False) -> Named:
    """The combination of entries by part, with their original variants if asked.

    Raises:
        SegShiftError: an entry that nobody knows, or that is planned.
    """
    sections = {part: entry(config, part, names[part]) for part in PARTS}
    notes = []
    for part, name in names.items() if originals else ():
        if found := original(config, part, name):
            names = names | {part: found[0]}
            sections[part] = found[1]
        else:
            notes.append(f"{part} {name} has no original variant ({name}{ORIGINAL}): it is counted as it is")
    return Named(**names, combination=Combination(**sections, classes=classes), notes=tuple(notes))


def of_model(grid: Grid, model: Model, originals: bool = False) -> Named:
    """The combination of a trained or adapted cell."""
    classes = len(grid.config.anatomies[grid.config.datasets[model.source].anatomy].classes)
    named = of_names(grid.config, {part: getattr(model, part) for part in PARTS}, classes, originals)
    if not model.adapt:
        return named
    adapt, notes = model.adapt, named.notes
    if originals and not adapt.endswith(ORIGINAL):
        if f"{adapt}{ORIGINAL}" in grid.config.adaptations:
            adapt += ORIGINAL
        else:
            notes += (f"adaptation {adapt} has no original variant: it is counted as it is",)
    adaptation = _plain(grid.config.adaptations[adapt])
    combination = named.combination._replace(adaptation=adaptation)
    return named._replace(adapt=adapt, combination=combination, notes=notes)


def entry(config: Config, part: str, name: str) -> Section:
    """An entry as a section of a cell's settings.

    Args:
        config: the configuration.
        part: ``backbone``, ``tuning`` or ``head``.
        name: of the entry.

    Raises:
        SegShiftError: it is unknown or planned.
    """
    entries = getattr(config, f"{part}s")
    if name not in entries:
        raise unknown(f"unknown {part}", name, entries)
    if entries[name].planned:
        raise SegShiftError(f"{part} {name} is planned: there is nothing to count yet")
    plain = _plain(entries[name])
    return plain | ({"side": entry(config, "backbone", plain["side"])} if plain.get("side") else {})


def original(config: Config, part: str, name: str) -> tuple[str, Section] | None:
    """Name and section of an entry's original variant, or None where there is none.

    It is the entry ``<name>_original``, else the same entry with ``original: true`` where its module takes
    that. An entry that is called ``…_original`` is its own.
    """
    entries = getattr(config, f"{part}s")
    variant = name if name.endswith(ORIGINAL) else name + ORIGINAL
    if variant in entries and not entries[variant].planned:
        return variant, entry(config, part, variant)
    section = entry(config, part, name)
    if "original" in modules.parameters(f"{part}s", section["module"])[0]:
        return f"{name} with original: true", section | {"original": True}
    return None


def _plain(found: Entry) -> Section:
    return found.model_dump(
        exclude_unset=True, exclude={"planned", "neck"}
    )  # a neck's weights are the head's
