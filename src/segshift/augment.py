"""Augmentation in two halves: ``draw`` (numpy, per slice) and ``apply`` (torch, a whole batch, any device).
``apply`` is ``move`` and then ``light``.

Written here because no library takes a seed per sample of a batch, and CPU and GPU must draw the same.
Transforms and their order are the thesis's (4.2.3): elastic, structural, photometric. Lengths are given in
pixels of a 256 × 256 slice and scale with the slice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
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
    """A displacement in pixels: per axis, Gaussian-smoothed uniform noise times alpha (Simard et al. 2003).

    Not the field itself, which is as large as the slice, but its few coefficients, see ``displacement``. Each
    is a sum over the noise of all pixels, weighted by a pattern of length 1, and the patterns are orthogonal:
    its variance is that of a uniform number on (-1, 1), 1/3, it is correlated with no other, and by the
    central limit theorem its distribution is normal. So some 900 normal numbers are drawn, not 131,072
    uniform ones.
    """
    if random.random() >= probability:
        return {}
    scale = np.array(size) / REFERENCE
    sigmas = tuple((sigma * scale).tolist())
    down, across = (_basis(*one)[1].numpy() for one in zip(size, sigmas, strict=True))
    coefficients = random.normal(0, np.sqrt(1 / 3), (2, len(down), len(across)))
    # Smoothing over sigma·s pixels leaves 1/s of the amplitude per unit of s, and lengths shrink by s:
    # alpha·s².
    coefficients *= down[:, None] * across * (alpha * scale.prod())
    return {"elastic": coefficients.astype(np.float32), "sigmas": sigmas}


def displacement(drawn: Drawn, size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """The field of a slice that was drawn ``elastic``: (2, H, W) float32, pixels down and across."""
    rows, columns = (_vectors(*one, str(device)) for one in zip(size, drawn["sigmas"], strict=True))
    # A product's last bits follow from the number of threads, and a worker has one.
    with _one_thread():
        return rows @ torch.from_numpy(drawn["elastic"]).to(device) @ columns.T


@lru_cache(maxsize=8)
def _vectors(side: int, sigma: float, device: str) -> Tensor:
    """The eigenvectors of ``_basis`` on a device."""
    return _basis(side, sigma)[0].to(device)


@lru_cache(maxsize=8)
def _basis(side: int, sigma: float) -> tuple[Tensor, Tensor]:
    """A Gaussian filter along an axis, zeros beyond the border, as its eigenvectors (side, rank) and -values.

    A wide Gaussian leaves but some twenty of 256 directions. The others, below 1/30,000, come from its tails'
    being cut at four sigma; they move no pixel by a hundredth.
    """
    with _one_thread():
        matrix = gaussian_filter1d(np.eye(side), sigma, axis=0, mode="constant")
        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix))
        kept = values.abs() > 3e-5
        vectors = vectors[:, kept]
        # Either sign is an eigenvector's; which one comes out must not hang on a machine's library.
        vectors *= vectors[0].sign()
        return vectors.float(), values[kept].float()


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if threads > 1:
            torch.set_num_threads(threads)


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


def _draw_photometric(
    random, size, *, probability=0.5, brightness=32 / 255, contrast=(0.5, 1.5), saturation=None, hue=None
) -> Drawn:
    """Brightness and contrast, and of pictures in colour saturation and hue, each with its own draw.

    The thesis names all four; the last two do nothing to a gray image and are drawn where they are asked for.
    They come last, so that brightness and contrast are the same with and without them.
    """
    on = random.random(2) < probability
    add, factor = random.uniform(-brightness, brightness), random.uniform(*contrast)
    drawn = {"brightness": add if on[0] else 0.0, "contrast": factor if on[1] else 1.0}
    if saturation or hue:
        on = random.random(2) < probability
        factor, turn = random.uniform(*(saturation or (1, 1))), random.uniform(-(hue or 0), hue or 0)
        drawn |= {"saturation": factor if on[0] else 1.0, "hue": turn if on[1] else 0.0}
    return drawn


def apply(images: Tensor, labels: Tensor, drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor, Tensor]:
    """Augment a batch.

    Args:
        images: (B, 1, H, W), in colour (B, 3, H, W), in [0, 1], of any floating type.
        labels: (B, H, W), of any integer type.
        drawn: B results of ``draw``.

    Returns:
        images float32 after everything, images before photometric distortion, labels int64 (of the nearest
        pixel).
    """
    plain, labels = move(images, labels, drawn)
    return light(plain, drawn), plain, labels.long()


def move(
    images: Tensor, labels: Tensor, drawn: Sequence[Drawn], out: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The first part of ``apply``, elastic and structural: images float32, labels of the type they came in.

    Its bits hang on no number of threads. Slices that drew neither stay as they are, to the bit.

    Args:
        images, labels, drawn: see ``apply``.
        out: tensors to be filled; new ones where there are none.
    """
    out = out or (torch.empty_like(images, dtype=torch.float32), torch.empty_like(labels))
    slices = list(zip(images, labels, strict=True))
    moved = [place for place, one in enumerate(drawn) if "shift" in one or "elastic" in one]
    if moved:
        # Whole slices are chosen by `index_select`: indexing goes by single numbers.
        at = torch.tensor(moved, device=images.device)
        pair = images.index_select(0, at).float(), labels.index_select(0, at)
        warped = zip(*_warp(*pair, [drawn[one] for one in moved]), strict=True)
        for place, one in zip(moved, warped, strict=True):
            slices[place] = one
    for place, (image, label) in enumerate(slices):
        out[0][place], out[1][place] = image, label
    return out


def light(images: Tensor, drawn: Sequence[Drawn]) -> Tensor:
    """The second part of ``apply``, photometric: new images, or the same where nothing is drawn."""
    if any("brightness" in one for one in drawn):
        value = images.new_tensor([[one.get("brightness", 0.0), one.get("contrast", 1.0)] for one in drawn])
        add, factor = value.T.reshape(2, -1, 1, 1, 1)
        images = (images + add).clamp_(0, 1).mul_(factor).clamp_(0, 1)
    turned = [place for place, one in enumerate(drawn) if (_colour(one) != (1.0, 0.0))]
    if turned and images.shape[1] == 3:
        at = torch.tensor(turned, device=images.device)
        value = images.new_tensor([_colour(drawn[place]) for place in turned])
        images = images.index_copy(0, at, _recolour(images[at], *value.T.reshape(2, -1, 1, 1)))
    return images


def _colour(one: Drawn) -> tuple[float, float]:
    return one.get("saturation", 1.0), one.get("hue", 0.0)


def _recolour(images: Tensor, factor: Tensor, turn: Tensor) -> Tensor:
    """Saturation times ``factor``, hue plus ``turn`` degrees, as HSV has them (Smith 1978).

    Args:
        images: (B, 3, H, W) in [0, 1].
        factor, turn: (B, 1, 1).
    """
    red, green, blue = images.unbind(1)
    value = images.amax(1)
    chroma = value - images.amin(1)
    some = torch.where(chroma > 0, chroma, 1)  # gray has no hue
    sector = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, (blue - red) / some + 2, (red - green) / some + 4),
    )
    sector = sector + turn / 60
    chroma = torch.minimum(chroma * factor, value)  # no more than fully saturated

    def channel(offset: int) -> Tensor:
        place = (sector + offset) % 6
        return value - chroma * torch.minimum(place, 4 - place).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], 1)


def _warp(images: Tensor, labels: Tensor, drawn: Sequence[Drawn]) -> tuple[Tensor, Tensor]:
    """Elastic, then structural, in one resampling: output pixel p shows input at q + displacement(q), q = T⁻¹
    p. What lies outside of the slice by the structural part alone becomes 0."""
    size = images.shape[-2:]
    spans = [max(side - 1, 1) / 2 for side in size]  # pixels of one unit in the grid
    parts = _structural(drawn, size, images.device)
    # As complex numbers: both sums at once, column before row.
    by_row, by_column = (torch.complex(column, row) for row, column in zip(*parts, strict=True))
    grid = torch.view_as_real(by_row + by_column)
    for place, one in enumerate(drawn):
        if "elastic" in one:
            field = displacement(one, size, images.device)
            if "shift" in one:  # else q is the pixel itself, where the field stands already
                field = _sample(field[None], _mirrored(grid[place][None]), "bilinear")[0]
            for axis, span in enumerate(spans):
                grid[place, ..., 1 - axis].add_(field[axis], alpha=1 / span)
    grid = _mirrored(grid)
    warped = _sample(images, grid, "bilinear")
    moved = _sample(labels.unsqueeze(1).to(images.dtype), grid, "nearest").squeeze(1)
    if any("shift" in one for one in drawn):
        # As numbers, not as truth values: four times as fast.
        inside = [
            (rows + columns).abs_().le_(1 + 0.5 / span)
            for (rows, columns), span in zip(parts, spans, strict=True)
        ]
        inside = inside[0].mul_(inside[1])
        warped.mul_(inside.unsqueeze(1))
        moved.mul_(inside)
    return warped, moved.to(labels.dtype)


def _structural(
    drawn: Sequence[Drawn], size: Sequence[int], device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    """Where each output pixel comes from, before the elastic displacement, -1 and 1 at the centres of the
    outermost pixels.

    Its row and its column are each the sum of a part by row, (B, H, 1), and one by column, (B, 1, W).
    """
    angle = np.deg2rad([one.get("angle", 0.0) for one in drawn])
    zoom = np.array([one.get("zoom", 1.0) for one in drawn])
    cosine, sine = (one[:, None] / zoom[:, None] for one in (np.cos(angle), np.sin(angle)))
    shift = np.array([one.get("shift", (0.0, 0.0)) for one in drawn], dtype=np.float64)
    # pixels from the centre, (B, H) and (B, W)
    down, right = (np.arange(one) - (one - 1) / 2 - shift[:, axis, None] for axis, one in enumerate(size))
    found = []
    for side, parts in zip(
        size, ((cosine * down, sine * right), (-sine * down, cosine * right)), strict=True
    ):
        rows, columns = (torch.from_numpy(one * 2 / max(side - 1, 1)).float().to(device) for one in parts)
        found.append((rows[:, :, None], columns[:, None]))
    return found


def _mirrored(grid: Tensor) -> Tensor:
    """A grid whose places beyond the border, up to a slice's length, are those that a mirror there shows.

    To the bit the grid itself within the slice. As ``grid_sample`` mirrors, but once for all that is sampled.
    """
    return grid.clamp(-1, 1).mul_(2).sub_(grid)


def _sample(images: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Images (B, C, H, W) at the places of a mirrored grid."""
    return F.grid_sample(images, grid, mode, "border", align_corners=True)
