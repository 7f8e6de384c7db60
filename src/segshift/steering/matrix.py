"""States of an experiment's cells as a matrix of letters that fits the terminal.

A row is what varies of backbone, tuning, head and seed; a column is a source. In a column stands a letter for
the trained cell, then one for each adaptation and target of it.
"""

from collections.abc import Iterable, Mapping

from segshift.grid import Model
from segshift.steering.states import STATES, State

ROWS = ("backbone", "tuning", "head", "seed")
GAP = "  "
LEAST = 12  # letters of a row's name that are kept however narrow it is
COLOURS = {"done": "32", "running": "36", "queued": "34", "failed": "31;1", "older": "33", "changed": "33"}


def lines(cells: Mapping[Model, State], width: int, colour: bool = False) -> Iterable[str]:
    """The matrix, line by line; columns that do not fit go below, with the names of the rows again.

    Args:
        cells: models and their states.
        width: of the terminal, in letters.
        colour: letters in colours.
    """
    axes = [axis for axis in ROWS if len({getattr(model, axis) for model in cells}) > 1] or ["backbone"]
    rows: dict[str, dict[str, list[State]]] = {}
    for model, state in sorted(cells.items(), key=lambda one: one[0].adapt is not None):
        name = "/".join(str(getattr(model, axis)) for axis in axes)
        rows.setdefault(name, {}).setdefault(model.source, []).append(state)
    sources = list(dict.fromkeys(model.source for model in cells))
    widths = {
        source: max(len(source), *(len(row.get(source, ())) for row in rows.values())) for source in sources
    }
    room = width - 2 - max(widths.values()) - len(GAP)
    margin = min(max(map(len, rows)), max(room, LEAST))
    for number, block in enumerate(_blocks(widths, width - 2 - margin)):
        if number:
            yield ""
        yield f"  {'':{margin}}" + "".join(f"{GAP}{source:{widths[source]}}" for source in block).rstrip()
        for name, row in rows.items():
            letters = "".join(
                GAP
                + _letters(row.get(source, []), colour)
                + " " * (widths[source] - len(row.get(source, [])))
                for source in block
            )
            yield f"  {_cut(name, margin):{margin}}{letters.rstrip()}"


def legend(states: Iterable[str]) -> str:
    """What the letters mean, of those states that there are."""
    there = set(states)
    return ", ".join(f"{letter} {text}" for state, (letter, text) in STATES.items() if state in there)


def _blocks(widths: Mapping[str, int], room: int) -> Iterable[list[str]]:
    """Columns that fit beside each other; at least one."""
    block: list[str] = []
    left = room
    for source, width in widths.items():
        if block and width + len(GAP) > left:
            yield block
            block, left = [], room
        block.append(source)
        left -= width + len(GAP)
    yield block


def _letters(states: list[State], colour: bool) -> str:
    return "".join(_letter(state.state, colour) for state in states)


def _letter(state: str, colour: bool) -> str:
    letter = STATES[state][0]
    return f"\033[{COLOURS[state]}m{letter}\033[0m" if colour and state in COLOURS else letter


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"
