"""Picture files (PNG, TIFF) as arrays, through Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from segshift.errors import SegShiftError

BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def pages(file: Path, colour: bool) -> np.ndarray:
    """[page, y, x], or [page, y, x, 3] of a colour image.

    A transparency is left out. With ``colour`` False, as for labels, a palette's indices are the numbers, and
    three equal channels are one.

    Raises:
        SegShiftError: a missing, truncated or other file, pages of different size, or a label in colour.
    """
    if not file.is_file():
        raise SegShiftError(f"no such file: {file}")
    try:
        with Image.open(file) as opened:
            pages = [_array(page, colour) for page in ImageSequence.Iterator(opened)]
    except BROKEN as error:
        kind = file.suffix[1:].upper() or "an image"
        raise SegShiftError(
            f"{file} cannot be read as {kind}, it is truncated or of another format: {error}"
        ) from error
    if len({page.shape for page in pages}) > 1:
        raise SegShiftError(f"{file} has pages of different size")
    array = np.stack(pages)
    if colour or array.ndim == 3:
        return array
    if (array != array[..., :1]).any():
        raise SegShiftError(f"{file} is a colour image; a label holds class numbers in one channel")
    return array[..., 0]


def extent(file: Path) -> tuple[int, int, int]:
    """Pages, rows and columns of the first one; nothing but headers is read.

    Raises:
        SegShiftError: a missing, truncated or other file.
    """
    try:
        with Image.open(file) as opened:
            return getattr(opened, "n_frames", 1), opened.height, opened.width
    except BROKEN as error:
        raise SegShiftError(f"{file} cannot be read as a picture: {error}") from error


def _array(page: Image.Image, colour: bool) -> np.ndarray:
    if page.mode in ("P", "PA") and colour:
        page = page.convert("RGB")
    elif page.mode == "1":
        page = page.convert("L")
    array = np.asarray(page)
    if page.mode in ("LA", "PA"):
        return array[..., 0]
    if page.mode in ("RGBA", "CMYK", "YCbCr", "HSV", "LAB"):
        array = np.asarray(page.convert("RGB"))
    return array


def size(array: np.ndarray) -> str:
    """Width and height of pages, for people."""
    return f"{array.shape[2]} × {array.shape[1]}" + (" in colour" if array.ndim == 4 else "")
