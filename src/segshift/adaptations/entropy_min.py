"""Entropy minimization: make the model sure of itself on the target's images; no label of the target is used.

Thesis, 3.4.1, eq. 3.1; ``scope: norms`` is the form of Wang et al. 2021 (Tent). The last epoch is tested,
since choosing one would need labels.

``original: true`` as in the thesis's code: it learns on the target's test split, which is transductive, and
of a head only parameters with "norm" in their names learn (a network of its own learns whole).
"""

from torch import Tensor

from segshift import losses
from segshift.contracts import Batch, Objective
from segshift.errors import SegShiftError, unknown
from segshift.layers.scope import learn

EXAMPLE = {}
SPLITS = {"train": ("train",), "test": ("test",), "all": ("train", "validation", "test")}


class EntropyMinimization(Objective):
    """The entropy of every output of the head, weighted as its loss is."""

    keep = "last"

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return []

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        maps = batch.maps if batch.maps is not None else self.model.features(batch.images)
        outputs = self.model.decode(maps, batch.images.shape[-2:])
        return losses.weighted(outputs, self.model.head.loss_weights, losses.entropy), {}


def build(
    model, *, scope: str | None = None, split: str | None = None, guard: bool = False, original: bool = False
) -> Objective:
    """Build the objective.

    Args:
        model: the source model.
        scope: what learns (``layers/scope.py``); default: ``head``.
        split: whose images are seen: ``train``, the default; ``all`` of the target as in the thesis's text,
            or ``test``. Both are transductive: the model has seen the images that it is tested on.
        guard: where the model collapses, stop and keep the source model.
        original: see the module's text; it says ``scope`` and ``split`` itself.

    Raises:
        SegShiftError: an unknown value, or one beside ``original``.
    """
    if original and (scope or split):
        raise SegShiftError("adaptations.yaml: original: true says scope and split itself")
    split = split or ("test" if original else "train")
    if split not in SPLITS:
        raise unknown("adaptations.yaml: unknown split", split, SPLITS)
    learn(model, scope or ("norms" if original else "head"), by_name=original)
    objective = EntropyMinimization(model)
    objective.splits, objective.guard = SPLITS[split], guard
    return objective
