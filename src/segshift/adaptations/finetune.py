"""The control: learn from a few labelled patients of the target, and from nothing else.

Same patients, steps and parameters as ``self_training``, so that what pseudo-labels add can be read off.
"""

from segshift.contracts import Objective
from segshift.layers.patients import drawn
from segshift.layers.scope import learn
from segshift.objectives import Supervised

EXAMPLE = {"patients": 1}


class Finetune(Supervised):
    """Supervised, on the labelled patients only."""

    def __init__(self, model, patients: int, loss: str) -> None:
        super().__init__(model, loss)
        self.number = patients

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return drawn(patients, self.number, seed)

    def used(self, patients: list[str], labelled: list[str]) -> list[str]:
        return labelled


def build(model, *, patients: int = 3, scope: str = "head", loss: str = "cross_entropy") -> Objective:
    """Args: patients: how many labelled ones; scope: what learns (``layers/scope.py``); loss: as in
    training.yaml."""
    learn(model, scope)
    return Finetune(model, patients, loss)
