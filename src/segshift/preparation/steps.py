"""What a `preprocess` list says, and how it is applied. The steps themselves are files in ``steps/``."""

from collections.abc import Sequence
from typing import Any

from segshift import modules, plugins
from segshift.errors import SegShiftError, unknown
from segshift.volumes import Volume

Step = str | dict[str, Any]


def parse(step: Step) -> tuple[str, dict[str, Any]]:
    """The name and parameters of an entry of a ``preprocess`` list.

    Raises:
        SegShiftError: not a name or a dict of one name, an unknown step, or unknown or missing parameters.
    """
    if isinstance(step, str):
        name, given = step, {}
    elif isinstance(step, dict) and len(step) == 1:
        name, given = next(iter(step.items()))
        given = given or {}
    else:
        raise SegShiftError(
            f"preprocess: {step!r} is neither a step's name nor {{name: {{parameter: value}}}}"
        )
    if name not in modules.available("steps"):
        raise unknown("preprocess: unknown step", name, modules.available("steps"))
    if not isinstance(given, dict):
        raise SegShiftError(
            f"preprocess: the parameters of {name} must be {{parameter: value}}, not {given!r}"
        )
    known, required = modules.parameters("steps", name)
    for key in given:
        if key not in known:
            raise unknown(f"preprocess: {name} has no parameter", key, known)
    missing = [key for key in required if key not in given]
    if missing:
        raise SegShiftError(f"preprocess: {name} needs {', '.join(missing)}")
    return name, given


def apply_one(volume: Volume, step: Step) -> Volume:
    """Apply one step.

    Raises:
        SegShiftError: see ``parse``; or the step refused the volume.
    """
    name, given = parse(step)
    return plugins.load("steps", name).apply(volume, **given)


def apply(volume: Volume, steps: Sequence[Step]) -> Volume:
    """Apply the steps of a ``preprocess`` list in order.

    Raises:
        SegShiftError: see ``parse``, before the first step runs; or a step refused the volume.
    """
    for step in steps:
        parse(step)
    for step in steps:
        volume = apply_one(volume, step)
    return volume
