"""Self-training: labels of a few patients of the target, and the model's own confident predictions elsewhere.

Thesis, 3.4.2 and 4.3.4. Pseudo-labels come from the model itself, in evaluation mode, on the slice before
photometric distortion, and are renewed in every step. One cross-entropy mean runs over labelled and kept
pixels.
"""

import torch
from torch import Tensor

from segshift import losses
from segshift.contracts import Batch, Objective
from segshift.layers.patients import drawn
from segshift.layers.scope import learn
from segshift.objectives import Supervised

EXAMPLE = {"patients": 1, "confidence": 0.0}


class SelfTraining(Supervised):
    """Supervised, with pseudo-labels where there are no labels."""

    def __init__(self, model, patients: int, confidence: float) -> None:
        super().__init__(model, "cross_entropy")
        self.number, self.confidence = patients, confidence

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        return drawn(patients, self.number, seed)

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        known = batch.labelled.reshape(-1, 1, 1)
        pseudo = self.pseudo_labels(batch)
        labels = torch.where(known, batch.labels, pseudo)
        numbers = {}
        if not batch.labelled.all():
            numbers["kept"] = float((pseudo != losses.IGNORED)[~batch.labelled].float().mean())
        if not (labels != losses.IGNORED).any():
            return None, numbers | {"empty_batches": 1.0}
        loss, _ = super().loss(Batch(batch.images, batch.plain, labels, batch.labelled, batch.maps), step)
        return loss, numbers

    @torch.no_grad()
    def pseudo_labels(self, batch: Batch) -> Tensor:
        """(B, H, W): the predicted class where its probability reaches the confidence, else ``IGNORED``."""
        self.model.eval()
        # Without photometric distortion `plain` is `images`, whose maps the engine may already have.
        maps = batch.maps if batch.plain is batch.images and batch.maps is not None else None
        maps = self.model.features(batch.plain) if maps is None else maps
        outputs = self.model.decode(maps, batch.plain.shape[-2:])
        probability, label = self.model.predict(outputs).softmax(1).max(1)
        self.model.train()
        return torch.where(probability >= self.confidence, label, losses.IGNORED)


def build(model, *, patients: int = 3, confidence: float = 0.9, scope: str = "head") -> Objective:
    """Args: patients: how many labelled ones; confidence: softmax probability from which a pixel is kept."""
    learn(model, scope)
    return SelfTraining(model, patients, confidence)
