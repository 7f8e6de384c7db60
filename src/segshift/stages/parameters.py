"""``segshift parameters``: what learns in a model and what its forward pass costs, without any weights.

For cells (default: all of the grid, each distinct combination of backbone, tuning, head, classes and image
size once) or for one combination of entries that no experiment need name.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from segshift import devices
from segshift import grid as grids
from segshift.combinations import PARTS, Named, of_model, of_names
from segshift.counts import Counter
from segshift.errors import SegShiftError
from segshift.gradients import received
from segshift.grid import Grid, Model
from segshift.paths import Results, locate
from segshift.stages.settings import known, parse

Numbers = dict[str, int | float]


@dataclass(frozen=True)
class Options:
    """``originals``: count original variants; ``gradient``: run each combination too, on ``device``;
    ``batch``: slices whose FLOPs and memory are counted."""

    as_json: bool = False
    originals: bool = False
    gradient: bool = False
    batch: int = 1
    device: str = "auto"


def run(config: str, results: Results, cells: list[str], options: Options) -> None:
    """Print a line a combination of the cells, or all as JSON; no cells: of all that are not `in_all: false`.

    Raises:
        SegShiftError: an unknown cell, or one that cannot be built or waits for a planned entry.
    """
    grid = grids.read(config)
    paths = [locate(cell, results.root)[1] for cell in cells]
    models = [known(parse(grid, path)) for path in paths]
    if not cells:
        shown = [name for name, one in grid.config.experiments.items() if one.in_all]
        models = [one for one in grid.models(shown) if not (one.adapt or one.external or _waiting(grid, one))]
    chosen: dict[tuple[str, int, int], Named] = {}
    for model in models:
        if waiting := _waiting(grid, model):
            raise SegShiftError(f"{model.path} cannot be counted yet: {', '.join(waiting)} planned")
        named = of_model(grid, model, options.originals)
        chosen.setdefault(named.key, named)
    _tell(chosen.values())
    counter = Counter(options.batch)
    counted = [(named, count(named, counter, options)) for named in chosen.values()]
    if options.as_json:
        print(json.dumps([_identity(named) | numbers for named, numbers in counted], indent=1))
    else:
        print("\n".join(_table(counted, options)))


def run_one(config: str, names: dict[str, str], classes: int, options: Options) -> None:
    """Print the counts of one combination of entries, which need not be in the grid.

    Args:
        config: the configuration.
        names: of the entries, by part.
        classes: number of classes, background included.
        options: see ``Options``.

    Raises:
        SegShiftError: an unknown or planned entry, or parts that do not fit.
    """
    if classes < 1:
        raise SegShiftError(f"--classes {classes} is less than 1")
    named = of_names(grids.read(config).config, names, classes, options.originals)
    _tell([named])
    numbers = count(named, Counter(options.batch), options)
    print(json.dumps(numbers) if options.as_json else "\n".join(_table([(named, numbers)], options)))


def count(named: Named, counter: Counter, options: Options) -> Numbers:
    """The numbers of a combination, as in JSON.

    Raises:
        SegShiftError: parts that do not fit; names the combination.
    """
    try:
        numbers = counter.count(named.combination).plain()
        if options.gradient:
            numbers["gradient"] = received(named.combination, devices.device(options.device))
    except SegShiftError as error:
        raise SegShiftError(f"{named.name} cannot be built: {error}") from None
    return numbers


def _waiting(grid: Grid, model: Model) -> list[str]:
    """Planned entries without which a model has no parts; its datasets have classes, which is enough."""
    return [one for one in grid.planned(model) if not one.startswith(("source ", "target "))]


def _tell(chosen: Iterable[Named]) -> None:
    """Each note once, beside what is printed."""
    for note in dict.fromkeys(note for named in chosen for note in named.notes):
        print(note, file=sys.stderr)


def _identity(named: Named) -> dict[str, str | int]:
    name, classes, size = named.key
    return {"combination": name, "classes": classes, "image_size": size}


def _table(counted: list[tuple[Named, Numbers]], options: Options) -> Iterator[str]:
    """Aligned columns: names to the left, numbers to the right."""
    parts = [*PARTS, *(["adapt"] if any(named.adapt for named, _ in counted) else [])]
    columns = list(counted[0][1]) if counted else []
    titles = {name: f"{name}'s" for name in PARTS} | {"gflops": "GFLOPs", "activation_mb": "MB kept"}
    rows = [[*parts, "classes", "pixels", *(titles.get(name, name) for name in columns)]]
    for named, numbers in counted:
        names = [getattr(named, part) or "-" for part in parts]
        shown = [f"{one:,.2f}" if isinstance(one, float) else f"{one:,}" for one in numbers.values()]
        rows.append([*names, str(named.key[1]), str(named.key[2]), *shown])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if at < len(parts) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    slices = "1 slice" if options.batch == 1 else f"{options.batch} slices"
    yield f"{len(counted)} combinations; GFLOPs of a forward pass of {slices}, MB kept for its backward pass"
