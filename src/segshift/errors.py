"""The one exception that users see as a sentence, and the way in which it names known choices."""

from collections.abc import Iterable
from difflib import get_close_matches


class SegShiftError(Exception):
    """Bad input. Its text is one sentence that names the culprit and, where there are some, the known
    choices."""


def unknown(what: str, name: object, known: Iterable[object]) -> SegShiftError:
    """The error for a name that nobody knows, with the nearest match first.

    Args:
        what: where the name stands and what it should be, such as ``experiment heads: unknown backbone``.
        name: what was written there.
        known: all that could have been written.
    """
    known = [str(choice) for choice in known]
    near = get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return SegShiftError(f"{what} {str(name)!r}{hint} known: {', '.join(known) or 'none'}")
