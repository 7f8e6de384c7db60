"""Which patients of a target are labelled."""

from segshift.errors import SegShiftError
from segshift.sampling import generator


def drawn(patients: list[str], number: int, seed: int) -> list[str]:
    """The first ``number`` patients of an order drawn by the seed, so that 1 ⊂ 3 ⊂ 5.

    Raises:
        SegShiftError: there are not so many.
    """
    order = generator(seed, "labelled").permutation(len(patients))
    return first([sorted(patients)[index] for index in order], number)


def first(patients: list[str], number: int) -> list[str]:
    """The first ``number`` patients, in the order in which they are given.

    Raises:
        SegShiftError: there are not so many.
    """
    if number > len(patients):
        raise SegShiftError(
            f"patients: {number} must be labelled, and the training split has {len(patients)}: "
            f"{', '.join(sorted(patients))}"
        )
    return patients[:number]


def either(default, **given):
    """The value of a setting that has two names, of which an entry uses one.

    Args:
        default: of the setting.
        given: both names with what the entry says, None where it is silent; the first is today's name.

    Raises:
        SegShiftError: the entry uses both.
    """
    said = {name: value for name, value in given.items() if value is not None}
    if len(said) > 1:
        raise SegShiftError(
            f"adaptations.yaml: {' and '.join(said)} are one setting: say {next(iter(given))}"
        )
    return next(iter(said.values()), default)


def number(labelled: int | None, patients: int | None) -> int:
    """How many patients are labelled, of an entry's ``labelled`` or its older name ``patients``; else 3.

    Raises:
        SegShiftError: it is no whole number above 0, or both names are used.
    """
    value = either(3, labelled=labelled, patients=patients)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SegShiftError(
            f"adaptations.yaml: labelled is {value!r}; it is a whole number of patients above 0"
        )
    return value
