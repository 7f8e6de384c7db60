"""Augmentation in two halves: ``draw`` (numpy, per slice) and ``apply`` (torch, a whole batch, any device).

Written here because no library takes a seed per sample of a batch, and CPU and GPU must draw the same.
Transforms and their order are the thesis's (4.2.3): elastic, structural, photometric. Lengths are given in
pixels of a 256 × 256 slice and scale with the slice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from segshift.errors import unknown
from segshift.sampling import generator

REFERENCE = 256  # pixels; the slice that lengths are given for
TRANSFORMS = ("elastic", "structural", "photometric")
Drawn = dict[str, Any]


def draw(
    recipe: dict[str, dict[str, Any] | None], seed: int, epoch: int, position: int, size: tuple[int, int]
) -> Drawn:
    """Parameters of one slice's augmentation.

    Args:
        recipe: transforms and their parameters, from ``training.yaml``.
        seed, epoch, position: what they are a function of. Position is the draw's place in the epoch, not the
            slice's index: a slice that is drawn twice must not get the same augmentation.
        size: height and width of the slice in pixels.
    """
    for name in recipe:
        if name not in TRANSFORMS:
            raise unknown("training.yaml: augment: unknown transform", name, TRANSFORMS)
    drawn: Drawn = {}
    for name in TRANSFORMS:
        if name in recipe:
            random = generator(seed, "augment", name, epoch, position)
            drawn |= globals()[f"_draw_{name}"](random, size, **(recipe[name] or {}))
    return drawn


def _draw_elastic(random, size, *, probability=0.25, sigma=20.0, alpha=1000.0) -> Drawn:
    """Displacement (2, H, W) in pixels: per axis, Gaussian-smoothed uniform noise times alpha (Simard et al.
    2003)."""
    if random.random() >= probability:
        return {}
    scale = np.array(size) / REFERENCE
    noise = random.uniform(-1, 1, (2, *size))
    # Smoothing over sigma·s pixels leaves 1/s of the amplitude per unit of s, and lengths shrink by s:
    # alpha·s².
    smooth = [gaussian_filter(axis, sigma * scale, mode="constant") for axis in noise]
    return {"displacement": (np.stack(smooth) * alpha * scale.prod()).astype(np.float32)}


def _draw_structural(
    random, size, *, probability=0.25, translate=10.0, rotate=10.0, scale=(0.9, 1.1), separate=False
) -> Drawn:
    """Shift in pixels, angle in degrees, zoom: one draw for all three, or one each (``separate``, as in the
    thesis's code)."""
    on = random.random(3) < probability if separate else np.repeat(random.random() < probability, 3)
    if not on.any():
        return {}
    shift = random.uniform(-translate, translate, 2) * np.array(size) / REFERENCE
    angle, zoom = random.uniform(-rotate, rotate), random.uniform(*scale)
    return {"shift": shift * on[0], "angle": angle if on[1] else 0.0, "zoom": zoom if on[2] else 1.0}


def _draw_photometric(random, size, *, probability=0.5, brightness=32 / 255, contrast=(0.5, 1.5)) -> Drawn:
    """Brightness and contrast, each with its own draw.

    The thesis names saturation and hue besides, which do nothing to a gray image and are not drawn.
    """
    on = random.random(2) < probability
    add, factor = random.uniform(-brightness, brightness), random.uniform(*contrast)
    return {"brightness": add if on[0] else 0.0, "contrast": factor if on[1] else 1.0}


def apply(images: Tensor, labels: Tensor, drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor, Tensor]:
    """Augment a batch.

    Args:
        images: (B, 1, H, W) in [0, 1].
        labels: (B, H, W).
        drawn: B results of ``draw``.

    Returns:
        images after everything, images before photometric distortion, labels (interpolated nearest).
    """
    if any("shift" in one or "displacement" in one for one in drawn):
        images, labels = _warp(images, labels, drawn)
    plain = images
    if any("brightness" in one for one in drawn):
        value = images.new_tensor([[one.get("brightness", 0.0), one.get("contrast", 1.0)] for one in drawn])
        add, factor = value.T.reshape(2, -1, 1, 1, 1)
        images = ((images + add).clamp(0, 1) * factor).clamp(0, 1)
    return images, plain, labels


def _warp(images: Tensor, labels: Tensor, drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor]:
    """Elastic, then structural, in one resampling: output pixel p shows input at q + displacement(q), q = T⁻¹
    p."""
    height, width = images.shape[-2:]
    q = _structural(drawn, height, width, images.device)  # (B, H, W, 2) as (row, column) in pixels
    inside = ((q >= -0.5) & (q <= q.new_tensor([height - 0.5, width - 0.5]))).all(-1)
    if any("displacement" in one for one in drawn):
        zero = np.zeros((2, height, width), np.float32)
        field = torch.as_tensor(np.stack([one.get("displacement", zero) for one in drawn])).to(images.device)
        q = q + _sample(field, q, "bilinear").movedim(1, -1)
    warped = _sample(images, q, "bilinear") * inside.unsqueeze(1)
    moved = _sample(labels.unsqueeze(1).to(images.dtype), q, "nearest").squeeze(1).to(labels.dtype) * inside
    # Slices that drew neither stay as they are, to the bit.
    touched = torch.tensor(["shift" in one or "displacement" in one for one in drawn], device=images.device)
    return (
        torch.where(touched.reshape(-1, 1, 1, 1), warped, images),
        torch.where(touched.reshape(-1, 1, 1), moved, labels),
    )


def _structural(drawn: Sequence[Drawn], height: int, width: int, device: torch.device) -> Tensor:
    """Where each output pixel comes from, before the elastic displacement."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    centre = torch.tensor([(height - 1) / 2, (width - 1) / 2], dtype=torch.float64)
    p = torch.stack([rows, columns], -1) - centre
    fields = []
    for one in drawn:
        angle = np.deg2rad(one.get("angle", 0.0))
        inverse = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / one.get(
            "zoom", 1.0
        )
        shift = torch.as_tensor(np.asarray(one.get("shift", (0.0, 0.0)), dtype=np.float64))
        fields.append((p - shift) @ torch.as_tensor(inverse.T) + centre)
    return torch.stack(fields).float().to(device)


def _sample(images: Tensor, where: Tensor, mode: str) -> Tensor:
    """``grid_sample`` at pixel positions (row, column), mirrored at the border."""
    height, width = images.shape[-2:]
    size = where.new_tensor([max(width - 1, 1), max(height - 1, 1)])
    return F.grid_sample(images, where.flip(-1) / size * 2 - 1, mode, "reflection", align_corners=True)
