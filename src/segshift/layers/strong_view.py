"""The strong view of a slice that a student sees, while its teacher sees the weak one.

Colour jitter and Gaussian blur as in Hoyer et al. 2022 (DAFormer, section 4.1, after Tranheden et al. 2021,
DACS), of which brightness and contrast are left on gray slices; their mixing of images is left out. Geometry
stays as it is, so a pseudo-label of the weak view fits.
"""

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

PROBABILITY = {"jitter": 0.8, "blur": 0.5}


def strong_view(images: Tensor, *, jitter: float = 0.2, blur: float = 1.15) -> Tensor:
    """Distort slices (B, 1, H, W) in [0, 1], each on its own.

    Drawn on the CPU from torch's global generator, which the engine seeds by (seed, step).

    Args:
        images: slices.
        jitter: brightness and contrast are multiplied by factors from 1 - jitter to 1 + jitter.
        blur: largest standard deviation of the blur, in pixels; the smallest is 0.15.
    """
    on = torch.rand(len(images), 2)
    factors = 1 + jitter * (2 * torch.rand(len(images), 2) - 1)
    sigmas = 0.15 + (blur - 0.15) * torch.rand(len(images))
    views = []
    for image, chance, (brightness, contrast), sigma in zip(
        images, on.tolist(), factors.tolist(), sigmas.tolist(), strict=True
    ):
        if jitter and chance[0] < PROBABILITY["jitter"]:
            image = F.adjust_contrast(F.adjust_brightness(image, brightness), contrast)
        if blur and chance[1] < PROBABILITY["blur"]:
            image = F.gaussian_blur(image, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
        views.append(image)
    return torch.stack(views)
