"""Mean teacher: self-training whose pseudo-labels come from a moving average of the model.

The thesis names self-training as in DAFormer for next. From Hoyer et al. 2022 (section 3.3): the teacher is
an exponential moving average of the student with a warm-up, in evaluation mode; it sees the weak view of a
slice and the student a strong one; rare class sampling. What differs: there is no source data any more, so
what is labelled are a few patients of the target, and rare classes are counted in their labels and,
elsewhere, in the teacher's pseudo-labels at the start of each epoch (``sampling: rare_class`` in
training.yaml); kept pixels count fully instead of all pixels with one weight an image; images are not
mixed.
"""

from dataclasses import replace

from torch import Tensor, nn

from segshift.contracts import Batch, Objective
from segshift.errors import SegShiftError, unknown
from segshift.layers.patients import number
from segshift.layers.pseudo_labels import Threshold
from segshift.layers.scope import learn
from segshift.layers.strong_view import strong_view
from segshift.layers.teacher import Teacher
from segshift.objectives import PseudoLabelled

EXAMPLE = {"labelled": 1, "threshold": 0.0}
ESTIMATES = True
VIEWS = ("strong", "weak")


class MeanTeacher(PseudoLabelled):
    """Pseudo-labels of the teacher on the weak view; the student learns them on the strong one."""

    estimates = ESTIMATES

    def __init__(self, model, labelled: int, threshold: Threshold, decay: float, strong: bool) -> None:
        super().__init__(model, labelled, threshold)
        self.teacher, self.decay, self.own_view = Teacher(model), decay, strong
        self.estimated: Tensor | None = None

    def labeller(self) -> nn.Module:
        return self.teacher.model

    def view(self, batch: Batch) -> Batch:
        """The batch as the student sees it."""
        return replace(batch, images=strong_view(batch.images), maps=None) if self.own_view else batch

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        return super().loss(self.view(batch), step)

    def after_step(self) -> None:
        self.teacher.follow(self.decay)

    def state(self) -> dict[str, Tensor]:
        counts = {} if self.estimated is None else {"estimated": self.estimated}
        return self.teacher.state() | counts

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.teacher.load_state(state)
        self.estimated = state.get("estimated")


def build(
    model,
    *,
    labelled: int | None = None,
    threshold: float | str = 0.9,
    portion: float = 0.5,
    decay: float = 0.999,
    student: str = "strong",
    scope: str = "head",
    guard: bool = False,
) -> Objective:
    """Build the objective.

    Args:
        model: the source model; student and teacher start from it.
        labelled: how many patients are labelled, 3 by default.
        threshold: softmax probability of the teacher from which a pixel is kept, or ``per_class``
            (``layers/pseudo_labels.py``).
        portion: of the pixels predicted as a class, how many ``per_class`` keeps at least.
        decay: of the moving average, after its warm-up.
        student: what the student sees: the ``strong`` view, or the ``weak`` one with photometric distortion.
        scope: what learns (``layers/scope.py``).
        guard: where the student collapses, or no epoch beats the source model on validation, keep that.
    """
    if student not in VIEWS:
        raise unknown("adaptations.yaml: unknown view of the student", student, VIEWS)
    if not 0 <= decay < 1:
        raise SegShiftError(f"adaptations.yaml: decay is {decay}; it is at least 0 and below 1")
    learn(model, scope)
    limit = Threshold.of(threshold, portion)
    objective = MeanTeacher(model, number(labelled, None), limit, decay, student == "strong")
    objective.guard = guard
    return objective
