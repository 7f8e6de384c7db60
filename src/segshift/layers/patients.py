"""Which patients of a target are labelled."""

from segshift.errors import SegShiftError
from segshift.sampling import generator


def drawn(patients: list[str], number: int, seed: int) -> list[str]:
    """The first ``number`` patients of an order drawn by the seed, so that 1 ⊂ 3 ⊂ 5.

    Raises:
        SegShiftError: there are not so many.
    """
    if number > len(patients):
        raise SegShiftError(
            f"patients: {number} must be labelled, and the training split has {len(patients)}: "
            f"{', '.join(sorted(patients))}"
        )
    order = generator(seed, "labelled").permutation(len(patients))
    return [sorted(patients)[index] for index in order[:number]]
