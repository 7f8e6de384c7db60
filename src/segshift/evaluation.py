"""What `evaluate` computes: ``evaluation`` in ``project.yaml``. Plain Python: no torch, no Snakemake.

Dice and IoU on the prepared grid are always computed; everything else is asked for, and adds columns or rows
to score files without touching what is there.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from segshift.errors import unknown
from segshift.measures import METRICS, SPACES, SURFACES

Metric = Literal["dice", "iou", "slice_dice", "hd95", "assd", "nsd"]
Space = Literal["prepared", "native"]
Millimetres = Annotated[float, Field(gt=0)]


class Asked(NamedTuple):
    """What is computed for the datasets of one anatomy. ``tolerance`` of NSD is in mm."""

    metrics: tuple[str, ...] = ("dice", "iou")
    spaces: tuple[str, ...] = ("prepared",)
    tolerance: float = 1.0

    @property
    def slices(self) -> bool:
        return "slice_dice" in self.metrics

    @property
    def surfaces(self) -> bool:
        return any(metric in SURFACES for metric in self.metrics)

    @property
    def words(self) -> list[str]:
        """Options of `segshift evaluate` that say the same; none where it is the default."""
        words = []
        if self.metrics != DEFAULT.metrics:
            words += ["--metrics", *self.metrics]
        if self.spaces != DEFAULT.spaces:
            words += ["--spaces", *self.spaces]
        if "nsd" in self.metrics:
            words += ["--tolerance", f"{self.tolerance:g}"]
        return words


DEFAULT = Asked()


class Evaluation(BaseModel):
    """``metrics`` beside Dice and IoU, ``spaces`` beside the prepared one; ``tolerance`` of NSD in mm, one
    number or one an anatomy."""

    model_config = ConfigDict(extra="forbid")

    metrics: list[Metric] = []
    spaces: list[Space] = []
    tolerance: Millimetres | dict[str, Millimetres] = 1.0

    def asked(self, anatomy: str) -> Asked:
        """What is computed for an anatomy, in fixed order.

        Raises:
            SegShiftError: ``tolerance`` names other anatomies only.
        """
        tolerance = self.tolerance
        if isinstance(tolerance, dict):
            if anatomy not in tolerance:
                raise unknown("evaluation: tolerance has no number for the anatomy", anatomy, tolerance)
            tolerance = tolerance[anatomy]
        metrics = tuple(name for name in METRICS if name in (*DEFAULT.metrics, *self.metrics))
        spaces = tuple(name for name in SPACES if name in (*DEFAULT.spaces, *self.spaces))
        return Asked(metrics, spaces, tolerance)
