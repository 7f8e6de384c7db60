"""Two sides of a comparison class by class, from score files."""

from collections.abc import Callable, Sequence

from segshift import scores
from segshift.scores import Row, mean
from segshift.tables.paired import Class, Pair

Read = Callable[[str], list[Row]]  # a cell's path -> the rows of its score file


def of_pairs(
    found: Sequence[Pair], read: Read, anatomy: Callable[[str], str]
) -> dict[tuple[str, str], Class]:
    """Dice by anatomy and class: of each pair the mean over volumes where both sides count, then of pairs.

    Args:
        found: the pairs.
        read: where score files are read.
        anatomy: what a dataset shows.
    """
    values: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for _, _, *both in found:
        first, second = (_dice(read(score.cell), score.target) for score in both)
        classes = dict.fromkeys(name for name, _ in first)
        for name in classes:
            volumes = [key for key in first if key[0] == name and key in second]
            if volumes:
                means = (mean(side[key] for key in volumes) for side in (first, second))
                place = (anatomy(both[0].target), name)
                values.setdefault(place, []).append((*means, len(volumes)))
    return {
        place: Class(mean(one for one, _, _ in own), mean(two for _, two, _ in own), sum(n for *_, n in own))
        for place, own in values.items()
    }


def _dice(rows: Sequence[Row], target: str) -> dict[tuple[str, str], float]:
    """Dice by class and volume, where it counts."""
    return {
        (row.class_, row.volume): row.dice
        for row in scores.select(rows, target, "test")
        if row.dice is not None and row.class_ != scores.WHOLE
    }
