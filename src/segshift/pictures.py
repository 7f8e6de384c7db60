"""Slices as pictures: gray images with classes in colour, put side by side with captions. NumPy and Pillow.

All images are uint8 (H, W, 3). Colours are told apart by people who see colours differently as well.
"""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito (2008), without black; more classes get hues between them.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
MISSED, INVENTED, CONFUSED = (0, 114, 178), (230, 159, 0), (204, 121, 167)
ERRORS = "missed blue, invented orange, another class pink"
PANEL = 208  # pixels that a panel's longer side has at least
GAP, LINE = 8, 20


def palette(classes: int) -> np.ndarray:
    """Colours of the classes, uint8 (classes, 3); the background's is never drawn."""
    named = [tuple(int(one[at : at + 2], 16) for at in (1, 3, 5)) for one in COLOURS]
    more = max(classes - 1 - len(named), 0)
    for number in range(more):
        hue = colorsys.hsv_to_rgb(number / more, 0.9, 0.65 + 0.3 * (number % 2))
        named.append(tuple(int(255 * channel) for channel in hue))
    return np.array([(0, 0, 0), *named[: classes - 1]], dtype=np.uint8)


def gray(image: np.ndarray) -> np.ndarray:
    """A slice (H, W), or in colour (3, H, W), in [0, 1], enlarged to whole multiples of its pixels."""
    values = (np.clip(np.nan_to_num(image), 0, 1) * 255 + 0.5).astype(np.uint8)
    if values.ndim == 3:
        return enlarged(np.moveaxis(values, 0, -1))
    return np.repeat(enlarged(values)[..., None], 3, -1)


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """(H, W) repeated so often that the longer side has ``PANEL`` pixels, or nearly so."""
    times = max(1, round(PANEL / max(pixels.shape[:2])))
    return pixels.repeat(times, 0).repeat(times, 1)


def filled(image: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """A slice with its classes in colour over it: image (H, W) in [0, 1], label (H, W) class indices."""
    under, over = gray(image), palette(classes)[enlarged(label)]
    return np.where(enlarged(label)[..., None] > 0, (0.45 * under + 0.55 * over).astype(np.uint8), under)


def contoured(image: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """A slice with the borders of its classes drawn in, on their inner side."""
    under, large = gray(image), enlarged(label)
    padded = np.pad(large, 1, mode="edge")
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    border = (large > 0) & np.any([large != one for one in neighbours], axis=0)
    return np.where(border[..., None], palette(classes)[large], under)


def errors(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """A dimmed slice with wrong pixels in colour; see ``ERRORS``."""
    under = gray(image) // 2
    truth, prediction = enlarged(truth), enlarged(prediction)
    for wrong, colour in (
        ((truth > 0) & (prediction == 0), MISSED),
        ((truth == 0) & (prediction > 0), INVENTED),
        ((truth > 0) & (prediction > 0) & (truth != prediction), CONFUSED),
    ):
        under[wrong] = colour
    return under


def compared(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, classes: int) -> list[np.ndarray]:
    """Four panels: image, truth, prediction, error."""
    shown = [filled(image, label, classes) for label in (truth, prediction)]
    return [gray(image), *shown, errors(image, truth, prediction)]


COMPARED = ("image", "truth", "prediction", f"error: {ERRORS}")


def sheet(
    title: str, rows: Sequence[tuple[str, Sequence[np.ndarray]]], heads: Sequence[str] = ()
) -> Image.Image:
    """Rows of panels, each with a caption above it; ``heads`` are captions of the columns."""
    widths = [sum(panel.shape[1] + GAP for panel in panels) for _, panels in rows]
    heights = [LINE + max((panel.shape[0] for panel in panels), default=0) + GAP for _, panels in rows]
    font, small = ImageFont.load_default(15), ImageFont.load_default(12)
    words = max(font.getlength(text) for text in (title, *(caption for caption, _ in rows)))
    head = LINE if heads else 0
    size = (int(max(*widths, words)) + 2 * GAP, sum(heights) + LINE + 2 * GAP + head)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), title, "black", font)
    top = GAP + LINE
    if heads:
        left = GAP
        for text, panel in zip(heads, rows[0][1], strict=True):
            pen.text((left, top), text, "black", small)
            left += panel.shape[1] + GAP
        top += LINE
    for (caption, panels), height in zip(rows, heights, strict=True):
        pen.text((GAP, top), caption, "dimgray", small)
        left = GAP
        for panel in panels:
            canvas.paste(Image.fromarray(panel), (left, top + LINE))
            left += panel.shape[1] + GAP
        top += height
    return canvas


def bars(names: Sequence[str], columns: dict[str, Sequence[float]], width: int = 300) -> np.ndarray:
    """A row of bars for each name and a column for each kind of share, 0 to 1, with its percentage."""
    font = ImageFont.load_default(12)
    left = int(max(font.getlength(name) for name in names)) + 3 * GAP
    canvas = Image.new("RGB", (left + len(columns) * (width + GAP), LINE * (len(names) + 1)), "white")
    pen = ImageDraw.Draw(canvas)
    colours = palette(len(names))
    for row, name in enumerate(names, 1):
        pen.rectangle((0, LINE * row + 4, 10, LINE * row + 14), tuple(colours[row - 1].tolist()))
        pen.text((16, LINE * row + 2), name, "black", font)
    for column, (head, shares) in enumerate(columns.items()):
        start = left + column * (width + GAP)
        pen.text((start, 2), head, "black", font)
        for row, share in enumerate(shares, 1):
            length = round(float(share) * (width - 60))
            pen.rectangle((start, LINE * row + 3, start + length, LINE * row + 15), "#7f9fbf")
            pen.text((start + length + 4, LINE * row + 2), f"{100 * share:.2f} %", "black", font)
    return np.asarray(canvas)


def save(picture: Image.Image, file: Path) -> None:
    """Write a PNG by rename; the same picture gives the same bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    picture.save(part, format="PNG")
    part.replace(file)
