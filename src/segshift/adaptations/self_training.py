"""Self-training: labels of a few patients of the target, and the model's own confident predictions elsewhere.

Thesis, 3.4.2 and 4.3.4. Pseudo-labels come from the model itself, in evaluation mode, on the slice before
photometric distortion, and are renewed in every step, or every ``refresh`` steps: then a copy of the model
makes them, on the slice as it is augmented now, so that they always fit.

``original: true`` as in the thesis's code: the labelled patients are the first ones of the training split,
whatever the seed; pseudo-labels come from the very outputs that are trained, in training mode, photometric
distortion included. What differs from it: a batch without anything to learn is left out, there it ends the
run. Of stacks of pictures that code labels the first three slices of every volume: ``labelled_slices: 3``.
"""

from torch import Tensor, nn

from segshift.contracts import Batch, Objective
from segshift.errors import SegShiftError
from segshift.layers.patients import either, first, number
from segshift.layers.pseudo_labels import Threshold
from segshift.layers.scope import learn
from segshift.layers.teacher import Teacher
from segshift.objectives import PseudoLabelled

EXAMPLE = {"labelled": 1, "threshold": 0.0}
NEVER = "never"


class SelfTraining(PseudoLabelled):
    """Pseudo-labels of the model itself, or of what it was a few steps ago."""

    def __init__(self, model, labelled: int, threshold: Threshold, refresh: int | str) -> None:
        super().__init__(model, labelled, threshold)
        self.refresh = refresh
        self.copy = Teacher(model) if refresh != 1 else None

    def labeller(self) -> nn.Module:
        return self.copy.model if self.copy else self.model

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        if self.copy and self.refresh != NEVER and step % self.refresh == 0:
            self.copy.copy()
        return super().loss(batch, step)

    def state(self) -> dict[str, Tensor]:
        return self.copy.state() if self.copy else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.copy:
            self.copy.load_state(state)


class Original(PseudoLabelled):
    """See the module's text."""

    def __init__(self, model, labelled: int, threshold: Threshold, slices: int | None) -> None:
        super().__init__(model, labelled, threshold)
        self.labelled_slices = slices

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return patients if self.labelled_slices else first(patients, self.number)

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        outputs = self.outputs(batch)
        pseudo, predicted = self.threshold(self.model.predict(outputs).detach(), ~batch.labelled)
        labels, numbers = self.joined(batch, pseudo, predicted)
        return (None if labels is None else self.compare(outputs, labels)), numbers


def build(
    model,
    *,
    labelled: int | None = None,
    patients: int | None = None,
    threshold: float | str | None = None,
    confidence: float | None = None,
    portion: float = 0.5,
    refresh: int | str = 1,
    scope: str = "head",
    guard: bool = False,
    original: bool = False,
    labelled_slices: int | None = None,
) -> Objective:
    """Build the objective.

    Args:
        model: the source model.
        labelled: how many patients are labelled, 3 by default; ``patients`` is its older name.
        patients: see ``labelled``.
        threshold: softmax probability from which a pixel is kept, 0.9 by default, or ``per_class``
            (``layers/pseudo_labels.py``); ``confidence`` is its older name.
        confidence: see ``threshold``.
        portion: of the pixels predicted as a class, how many ``per_class`` keeps at least.
        refresh: steps after which pseudo-labels come from a newer model; ``never``: always from the source's.
        scope: what learns (``layers/scope.py``).
        guard: where the model collapses, or no epoch beats it on the validation split, keep the source model.
        original: see the module's text.
        labelled_slices: with ``original``: so many first slices of every volume are labelled, and no patient
            as a whole.

    Raises:
        SegShiftError: a value that is none of these; settings that exclude each other.
    """
    if labelled_slices is not None and (not original or labelled_slices < 1):
        raise SegShiftError("adaptations.yaml: labelled_slices is a number above 0, beside original: true")
    if original and refresh != 1:
        raise SegShiftError(
            "adaptations.yaml: original: true makes pseudo-labels anew in every step (refresh: 1)"
        )
    if refresh != NEVER and (not isinstance(refresh, int) or isinstance(refresh, bool) or refresh < 1):
        raise SegShiftError(f"adaptations.yaml: refresh is {refresh!r}; known: a number of steps, {NEVER}")
    learn(model, scope)
    limit = Threshold.of(either(0.9, threshold=threshold, confidence=confidence), portion)
    count = number(labelled, patients)
    objective = (
        Original(model, count, limit, labelled_slices)
        if original
        else SelfTraining(model, count, limit, refresh)
    )
    objective.guard = guard
    return objective
