"""The control: learn from a few labelled patients of the target, and from nothing else.

Same patients, steps and parameters as ``self_training``, so that what pseudo-labels add can be read off.
"""

from segshift.contracts import Objective
from segshift.layers.patients import drawn, number
from segshift.layers.scope import learn
from segshift.objectives import Supervised

EXAMPLE = {"labelled": 1}


class Finetune(Supervised):
    """Supervised, on the labelled patients only."""

    def __init__(self, model, labelled: int, loss: str) -> None:
        super().__init__(model, loss)
        self.number = labelled

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return drawn(patients, self.number, seed)

    def used(self, patients: list[str], labelled: list[str]) -> list[str]:
        return labelled


def build(
    model,
    *,
    labelled: int | None = None,
    patients: int | None = None,
    scope: str = "head",
    guard: bool = False,
    loss: str = "cross_entropy",
) -> Objective:
    """Build the objective.

    Args:
        model: the source model.
        labelled: how many patients are labelled, 3 by default; ``patients`` is its older name.
        patients: see ``labelled``.
        scope: what learns (``layers/scope.py``).
        guard: where the model collapses, or no epoch beats it on the validation split, keep the source model.
        loss: as in training.yaml.
    """
    learn(model, scope)
    objective = Finetune(model, number(labelled, patients), loss)
    objective.guard = guard
    return objective
