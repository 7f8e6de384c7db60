"""Two settings key by key, side by side."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

UNSET = "not set"
LONGEST = 60  # letters of a value that are shown


class Difference(NamedTuple):
    """A key in which two settings differ, such as ``training.epochs``, with both values as text."""

    key: str
    then: str
    now: str


def differences(then: Any, now: Any, key: str = "") -> Iterator[Difference]:
    """What differs between two nested mappings, in the order of their keys.

    ``1`` and ``"1"`` as keys are the same, since JSON knows no other keys than text.
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        old, new = ({str(name): value for name, value in one.items()} for one in (then, now))
        for name in sorted(old.keys() | new.keys()):
            inner = f"{key}.{name}" if key else name
            yield from differences(old.get(name, _ABSENT), new.get(name, _ABSENT), inner)
    elif _plain(then) != _plain(now):
        yield Difference(key, text(then), text(now))


def text(value: Any) -> str:
    """A value on one line, cut where it is long."""
    if value is _ABSENT:
        return UNSET
    said = value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


class _Absent:
    """Stands for a key that is not there: ``null`` is a value."""


_ABSENT = _Absent()


def _plain(value: Any) -> Any:
    """What JSON makes of it: lists of tuples, text of keys."""
    return value if value is _ABSENT else json.loads(json.dumps(value))
