"""The metrics by name: units, directions, and the rules for a class that is absent. Standard library only.

Every formula, and what a missed structure costs, stands in ``docs/metrics.md``.
"""

from typing import NamedTuple


class Measure(NamedTuple):
    """A metric: its name in print, its unit (``%`` or ``mm``), and the value of a perfect segmentation."""

    title: str
    unit: str
    best: float

    @property
    def rises(self) -> bool:
        """True if more is better."""
        return self.best > 0


METRICS = {
    "dice": Measure("Dice", "%", 100.0),
    "iou": Measure("IoU", "%", 100.0),
    "slice_dice": Measure("slice Dice", "%", 100.0),
    "hd95": Measure("HD95", "mm", 0.0),
    "assd": Measure("ASSD", "mm", 0.0),
    "nsd": Measure("NSD", "%", 100.0),
}
SURFACES = ("hd95", "assd", "nsd")  # one distance transform a structure gives all three
SPACES = ("prepared", "native")
ABSENT = ("skip", "truth_only", "one")


class Shown(NamedTuple):
    """What the numbers of a table are."""

    metric: str = "dice"
    absent: str = "skip"
    space: str = "prepared"

    @property
    def key(self) -> str:
        """The name under which MLflow knows their means."""
        return key(*self)

    @property
    def legend(self) -> str:
        """What a reader must know of the numbers, in some words."""
        measure = METRICS[self.metric]
        words = f"{measure.title[0].upper()}{measure.title[1:]} in {measure.unit}"
        words += "" if measure.rises else " (less is better)"
        words += " on raw voxels" if self.space == "native" else ""
        said = {
            "skip": "",
            "truth_only": ", of classes that the truth shows",
            "one": ", a class that neither truth nor prediction shows being perfect",
        }
        return words + said[self.absent]


def key(metric: str, absent: str = "skip", space: str = "prepared") -> str:
    """The name under which a mean is tracked: ``dice``, ``dice_one``, ``native/hd95``."""
    name = metric if absent == "skip" else f"{metric}_{absent}"
    return name if space == "prepared" else f"{space}/{name}"


def smoothed(metric: str, tp: int, fp: int, fn: int) -> float:
    """Dice or IoU in percent with 1 added above and below, so that a class in neither scores 100.

    It is what the thesis's code computed. A class that is predicted, but not there, scores 1 / (1 + voxels).
    """
    if metric == "dice":
        return 100 * (2 * tp + 1) / (2 * tp + fp + fn + 1)
    return 100 * (tp + 1) / (tp + fp + fn + 1)
