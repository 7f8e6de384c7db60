"""Keeping only the blocks that the head's taps need."""

from collections.abc import Sequence

from segshift.contracts import Backbone


def drop_hooks_after(backbone: Backbone, last: int) -> None:
    """Drop what hangs behind the blocks that ``use`` drops, and the notes about it.

    A tuning may have filled ``after`` before the head was known. Its modules behind the last tapped block
    would never learn, yet be counted and saved.

    Args:
        backbone: a backbone that is dropping its blocks behind ``last``.
        last: index of the last block that stays.
    """
    for index in [index for index in backbone.after if int(index) > last]:
        del backbone.after[index]
    if backbone.hooks is not None:
        backbone.hooks = backbone.hooks[: last + 1]


def last_maps(backbone: Backbone, count: int) -> Sequence[int]:
    """Indices of the last ``count`` maps (or as many as there are) before a neck, the last map first."""
    return [backbone.last - offset for offset in range(min(count, backbone.last + 1))]
