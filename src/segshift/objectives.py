"""Source training as an objective; adaptations are others with the same interface (``adaptations/``)."""

from torch import Tensor, nn

from segshift import losses
from segshift.contracts import Batch, Objective


class Supervised(Objective):
    """Learn from labels: the loss that ``training.yaml`` names, over all outputs of the head, weighted by the
    head."""

    def __init__(self, model: nn.Module, loss: str = "cross_entropy") -> None:
        super().__init__(model)
        self.criterion = losses.CRITERIA[loss]

    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        size = batch.images.shape[-2:]
        maps = batch.maps if batch.maps is not None else self.model.features(batch.images)
        outputs = self.model.decode(maps, size)
        weights = self.model.head.loss_weights
        return losses.weighted(outputs, weights, lambda logits: self.criterion(logits, batch.labels)), {}
