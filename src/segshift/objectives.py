"""Source training as an objective; adaptations are others with the same interface (``adaptations/``)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from segshift import losses
from segshift.contracts import Batch, Objective
from segshift.layers.patients import drawn
from segshift.layers.pseudo_labels import Threshold, per_class


class Supervised(Objective):
    """Learn from labels: the loss that ``training.yaml`` names, over all outputs of the head, weighted by the
    head.

    Args:
        model: what learns.
        loss: a name, or a function of logits and labels.
    """

    def __init__(
        self, model: nn.Module, loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    ) -> None:
        super().__init__(model)
        self.criterion = losses.CRITERIA[loss] if isinstance(loss, str) else loss

    def outputs(self, batch: Batch) -> list[Tensor]:
        """The model's outputs for a batch (B, classes, H, W)."""
        maps = batch.maps if batch.maps is not None else self.model.features(batch.images)
        return self.model.decode(maps, batch.images.shape[-2:])

    def compare(self, outputs: list[Tensor], labels: Tensor) -> Tensor:
        """The loss of outputs against labels (B, H, W)."""
        weights = self.model.head.loss_weights
        return losses.weighted(outputs, weights, lambda logits: self.criterion(logits, labels))

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        return self.compare(self.outputs(batch), batch.labels), {}


class PseudoLabelled(Supervised):
    """Labels of some patients of the target, and confident predictions of a labeller elsewhere.

    One cross-entropy mean runs over labelled and kept pixels (thesis, 3.4.2 and 4.3.4).

    Args:
        model: what learns.
        labelled: how many patients are labelled.
        threshold: which predictions are kept.
    """

    def __init__(self, model: nn.Module, labelled: int, threshold: Threshold) -> None:
        super().__init__(model, "cross_entropy")
        self.number, self.threshold = labelled, threshold

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return drawn(patients, self.number, seed)

    def labeller(self) -> nn.Module:
        """Whose predictions become labels: here the model itself."""
        return self.model

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        # Without photometric distortion `plain` is `images`, whose maps the engine may already have.
        maps = batch.maps if batch.plain is batch.images else None
        pseudo, predicted = self.propose(batch.plain, maps, ~batch.labelled)
        labels, numbers = self.joined(batch, pseudo, predicted)
        return (None if labels is None else self.compare(self.outputs(batch), labels)), numbers

    def joined(
        self, batch: Batch, pseudo: Tensor, predicted: Tensor
    ) -> tuple[Tensor | None, dict[str, float]]:
        """Labels (B, H, W), pseudo-labels where a slice has none, or None where nothing is left to learn
        from; and numbers for the journal.

        Args:
            batch: with labels of some slices.
            pseudo, predicted: of all its slices, see ``propose``.
        """
        labels = torch.where(batch.labelled.reshape(-1, 1, 1), batch.labels, pseudo)
        numbers = self._kept(pseudo[~batch.labelled], predicted[~batch.labelled])
        if not (labels != losses.IGNORED).any():
            return None, numbers | {"empty_batches": 1.0}
        return labels, numbers

    @torch.no_grad()
    def propose(
        self, images: Tensor, maps: list[Tensor] | None = None, among: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pseudo-labels of slices from the labeller in evaluation mode; see ``contracts.Objective``."""
        labeller, training = self.labeller(), self.model.training
        labeller.eval()
        maps = labeller.features(images) if maps is None else maps
        outputs = labeller.decode(maps, images.shape[-2:])
        found = self.threshold(labeller.predict(outputs), among)
        self.model.train(training)
        return found

    def _kept(self, pseudo: Tensor, predicted: Tensor) -> dict[str, float]:
        """Kept fraction of the pixels without label, and of those predicted as each class."""
        if not len(pseudo):
            return {}
        numbers = {"kept": float((pseudo != losses.IGNORED).float().mean())}
        classes = len(self.classes)
        if classes:
            kept, all_of = per_class(pseudo, classes).tolist(), per_class(predicted, classes).tolist()
            numbers |= {f"kept/{c}": k / n for c, k, n in zip(self.classes, kept, all_of, strict=True) if n}
        return numbers
