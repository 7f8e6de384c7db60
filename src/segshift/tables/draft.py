"""A table while it is being made: rows of scores that are told apart by axes, and what is known of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from segshift.entries import Config
from segshift.table_entries import AXES, ScoreTable
from segshift.tables.asked import MODEL_AXES, Asked, by_model
from segshift.tables.table import Cell

LAST = 10**9


@dataclass
class Draft:
    """A row. ``axes``: what tells it apart, with ``mean`` for an axis that is averaged."""

    axes: dict[str, str]
    asked: list[Asked]
    level: str
    section: str
    cells: dict[str, Cell] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def put(self, key: str, cell: Cell, notes: Sequence[str] = ()) -> None:
        """Set a cell; its footnotes are added to those that it has."""
        self.cells[key] = cell
        if notes:
            self.notes[key] = tuple(dict.fromkeys((*self.notes.get(key, ()), *notes)))


def rows(entry: ScoreTable, asked: list[Asked], config: Config) -> list[Draft]:
    """A table's rows in their order, means over ``subtotals`` below each group."""
    found = _rows(entry.by, entry.over, asked, "_".join(entry.subtotals))
    if entry.subtotals:
        found += _rows(entry.by, [*entry.over, *entry.subtotals], asked, "")
    return sorted(
        found, key=lambda row: tuple(place(entry.order, config, *axis) for axis in _sorted(entry, row))
    )


def _rows(by: Sequence[str], over: Sequence[str], asked: list[Asked], level: str) -> list[Draft]:
    found: dict[tuple[str, ...], Draft] = {}
    own = [axis for axis in MODEL_AXES if axis not in over]
    for ones in by_model(asked).values():
        for one in ones:
            axes = {axis: one.axis(axis) for axis in (*by, *own)}
            key = tuple(axes.values())
            if key not in found:
                section = "/".join(axes[axis] for axis in by)
                full = axes | dict.fromkeys(over, "mean")
                found[key] = Draft(full, [], level or f"{own[-2] if len(own) > 1 else 'all'}_avg", section)
            found[key].asked.append(one)
    return list(found.values())


def _sorted(entry: ScoreTable, row: Draft) -> list[tuple[str, str]]:
    """A row's axes, the outermost first."""
    names = [axis for axis in (*entry.order, *AXES) if axis in row.axes]
    return [(axis, row.axes[axis]) for axis in dict.fromkeys(names)]


def place(order: Mapping[str, Iterable[str]], config: Config, axis: str, name: str) -> tuple[int, str]:
    """Where a name stands among those of its axis: as ``order`` says, then as in its config file, then by
    letter; means come last."""
    folder = {"anatomy": "anatomies", "source": "datasets", "target": "datasets"}.get(axis, f"{axis}s")
    known = {"adapt": ("none", *config.adaptations)}.get(axis) or tuple(getattr(config, folder, ()))
    names = list(dict.fromkeys((*order.get(axis, ()), *known)))
    if name == "mean":
        return LAST, name
    return names.index(name) if name in names else len(names), name
