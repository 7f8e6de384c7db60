"""Fingerprints of volumes: to find the same scan under two names, whatever became of its values on the way.

A volume is cut to what is bright in it and averaged over some 8 × 8 × 8 cells. Its hash says for every two
neighbouring cells which is brighter, or that neither is by much. Other intensities (any rising curve), noise,
another format, another resolution or a margin cut off change few of these, another patient about half.
"""

import hashlib
from typing import Any

import numpy as np

CELLS, FLAT_CELLS, FLAT = 8, 24, 4  # cells a side; of volumes with fewer than FLAT slices, in the plane
NEUTRAL = 0.5  # differences below this share of the mean one say nothing
LEAST = 200  # neighbours that must differ, for a hash to tell anything
# distance below which two volumes are one scan; tests/preparation/test_fingerprints.py measures what it parts
NEAR = 0.25


def fingerprint(raw: np.ndarray, prepared: np.ndarray) -> dict[str, Any]:
    """What the manifest says of a volume: ``voxels``, the digest of the image as read, and ``hash``.

    Args:
        raw: the image as the reader gave it.
        prepared: the image [z, y, x] after the steps; colours [z, y, x, 3] are averaged.
    """
    total = hashlib.sha256(f"{raw.shape} {raw.dtype}\n".encode())
    total.update(np.ascontiguousarray(raw))
    codes = signs(prepared if prepared.ndim == 3 else prepared.mean(3))
    packed = "".join(np.packbits(codes == sign).tobytes().hex() for sign in (1, -1))
    return {"voxels": total.hexdigest(), "hash": packed}


def signs(image: np.ndarray) -> np.ndarray:
    """Of all neighbouring cells: 1, -1 or 0, int8."""
    cells = _cells(_bright(image))
    found = [np.zeros(0, np.int8)]  # of a single cell there are no neighbours
    for axis in range(3):
        difference = np.diff(cells, axis=axis)
        if difference.size:
            least = NEUTRAL * np.abs(difference).mean()
            found.append(((difference > least).astype(np.int8) - (difference < -least)).ravel())
    return np.concatenate(found)


def distances(hashes: list[str], others: list[str]) -> np.ndarray:
    """Of all pairs of hashes of one length: the share of differing neighbours that differ otherwise; 1 where
    the hashes tell too little. Float32 [hashes, others]."""
    first, second = (_unpack(each) for each in (hashes, others))
    agree = sum(a @ b.T for a, b in zip(first, second, strict=True))
    either = [sum(each) for each in (first, second)]  # 1 where a volume's neighbours differ
    told = either[0].sum(1)[:, None] + either[1].sum(1)[None] - either[0] @ either[1].T
    return np.where(told >= LEAST, 1 - agree / np.maximum(told, 1), 1).astype(np.float32)


def _unpack(hashes: list[str]) -> list[np.ndarray]:
    bits = np.array([np.unpackbits(np.frombuffer(bytes.fromhex(one), np.uint8)) for one in hashes])
    return [half.astype(np.float32) for half in np.split(bits, 2, axis=1)]


def _bright(image: np.ndarray) -> np.ndarray:
    """Without its dark margins."""
    dark, bright = np.percentile(image, [1, 99])
    inside = image > dark + 0.25 * (bright - dark)
    window = []
    for axis in range(3):
        shares = inside.mean(tuple(other for other in range(3) if other != axis))
        where = np.flatnonzero(shares > 0.01)
        window.append(slice(where[0], where[-1] + 1) if len(where) else slice(None))
    return image[tuple(window)]


def _cells(image: np.ndarray) -> np.ndarray:
    side = CELLS if len(image) >= FLAT else FLAT_CELLS
    result = image.astype(np.float64)
    for axis, length in enumerate(image.shape):
        count = min(side, length)
        edges = np.arange(count) * length // count
        sizes = np.diff(np.append(edges, length)).reshape([-1 if a == axis else 1 for a in range(3)])
        result = np.add.reduceat(result, edges, axis=axis) / sizes
    return result
