"""How an adaptation goes, seen on the target's validation volumes: how sure it is, what it predicts, whether
its pseudo-labels are right, and whether it collapsed.

An adaptation that may use no label of the validation split is watched by its predictions alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from segshift import losses, metrics
from segshift.contracts import Objective
from segshift.layers.pseudo_labels import per_class


def budget(objective: Objective, labelled: int, validation: int) -> str:
    """Whose labels of the target an adaptation looks at, in patients, as it is printed beside its numbers.

    Args:
        objective: the adaptation.
        labelled: patients of the training split that are labelled.
        validation: patients of the validation split; their labels count where they choose the epoch.
    """
    chosen = f" + {validation} validation" if objective.keep == "best" else ""
    seen = ", transductive" if "test" in objective.splits else ""
    some = "" if objective.labelled_slices is None else f" (of each {objective.labelled_slices} slices)"
    return (f"{labelled}{some}{chosen}" if labelled or chosen else "none") + seen


class Watch:
    """Sums over one validation.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self.predicted = torch.zeros(classes, dtype=torch.int64)  # pixels of each class
        self.entropy = 0.0  # nats, of all pixels
        self.proposed, self.kept, self.right = (self.predicted.clone() for _ in range(3))

    def add(
        self, logits: Tensor, labels: Tensor | None = None, pseudo: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Take in some slices.

        Args:
            logits: those that count (B, classes, H, W).
            labels: (B, H, W), if they may be looked at.
            pseudo: what ``Objective.propose`` says of these slices.
        """
        classes = len(self.predicted)
        prediction = metrics.prediction(logits)
        self.predicted += per_class(prediction, classes).cpu()
        self.entropy += float(losses.entropy(logits)) * prediction.numel()
        if pseudo is None:
            return
        kept, proposed = pseudo
        self.proposed += per_class(proposed, classes).cpu()
        self.kept += per_class(kept, classes).cpu()
        if labels is not None:
            self.right += per_class(kept[kept == labels], classes).cpu()

    @property
    def collapsed(self) -> bool:
        """True if a whole validation got one and the same class, as a rule the background."""
        return int((self.predicted > 0).sum()) < 2

    def values(self, names: Sequence[str], labels: bool) -> dict[str, float]:
        """Points of curves.

        Args:
            names: of the classes.
            labels: whether labels were looked at, so that pseudo-labels have an accuracy.
        """
        pixels = int(self.predicted.sum())
        found = {"entropy": self.entropy / pixels, "collapsed": float(self.collapsed)}
        found |= {
            f"predicted/{name}": n / pixels for name, n in zip(names, self.predicted.tolist(), strict=True)
        }
        found |= _fractions("kept", names, self.kept, self.proposed)
        if labels:
            found |= _fractions("pseudo_accuracy", names, self.right, self.kept)
        return found


def _fractions(what: str, names: Sequence[str], some: Tensor, of: Tensor) -> dict[str, float]:
    """Of all classes and of each; no value where there is nothing to take a fraction of."""
    found = {f"{what}/{name}": (some[place], of[place]) for place, name in enumerate(names)}
    found[what] = (some.sum(), of.sum())
    return {name: int(part) / int(whole) for name, (part, whole) in found.items() if whole}
