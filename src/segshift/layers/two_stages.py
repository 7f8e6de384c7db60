"""What the heads H-SAM and HQ-H-SAM share: stage 2, noise, losses and prediction."""

from abc import abstractmethod

import torch
from torch import Tensor

from segshift.contracts import Map
from segshift.layers.hsam import FirstStage, SecondStage
from segshift.layers.images import resize
from segshift.layers.sam import Decoder
from segshift.layers.sam_head import MOST, SAMHead

ORIGINAL_NOISE = 0.2


class TwoStages(SAMHead):
    """A head that decodes twice; the prediction is the mean of both logits.

    Args:
        maps: the tapped maps, the last one of the backbone first.
        decoder: of stage 1.
        tokens: number of masks that stage 1 hands over.
        width: of the decoders.
        noise: of the image embedding in training, as a fraction of its range over the batch.
        original: see ``segshift.layers.hsam``.
    """

    loss_weights = (0.4, 0.6)
    most = MOST

    def __init__(
        self, maps: list[Map], decoder: Decoder, tokens: int, width: int, noise: float, original: bool
    ) -> None:
        super().__init__(maps, decoder, width)
        height, breadth = maps[0].grid
        self.second_stage = SecondStage(tokens, height * breadth, width, original)
        self.classes = decoder.num_mask_tokens - 1
        self.noise = noise

    @abstractmethod
    def first(self, image: Tensor, positions: Tensor, dense: Tensor, maps: list[Tensor]) -> FirstStage:
        """Stage 1 on the image embedding."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps -> logits of stage 1 and stage 2, both (B, classes, 16h, 16w)."""
        image, positions, dense = self.embed(maps[0])
        first = self.first(image, positions, dense, maps)
        if self.training and self.noise:
            image = image + torch.randn_like(image) * self.noise * (image.max() - image.min()).detach()
        fine = self.second_stage(image, positions, dense, first)
        coarse = first.masks[:, 1 : self.classes + 1]
        return [resize(coarse, tuple(fine.shape[-2:])), fine[:, 1 : self.classes + 1]]

    def predict(self, outputs: list[Tensor]) -> Tensor:
        """The mean of both stages' logits."""
        return (outputs[0] + outputs[1]) / 2
