"""Everything outside the brain becomes 0, by a mask that came with the data."""

from segshift.errors import SegShiftError, unknown
from segshift.volumes import Volume

MASKS = ("brain", "label")


def apply(volume: Volume, *, mask: str = "brain") -> Volume:
    """Set the image to 0 outside a mask. Labels stay.

    0 is the darkest value only after a step that brings the image to [0, 1].

    Args:
        volume: any.
        mask: ``brain``, the mask that the reader found, or ``label``, all of the label's foreground, for
            labels that cover the whole brain; then an image without label cannot be segmented.

    Raises:
        SegShiftError: an unknown mask, none, or an empty one.
    """
    if mask not in MASKS:
        raise unknown("skull_strip: unknown mask", mask, MASKS)
    source = volume.mask if mask == "brain" else volume.label
    if source is None:
        lacks = "the reader found no brain mask" if mask == "brain" else "there is no label"
        raise SegShiftError(f"skull_strip: mask is {mask}, but {lacks}")
    inside = source > 0
    if not inside.any():
        raise SegShiftError(f"skull_strip: the mask {mask} is empty")
    image = volume.image.copy()
    image[~inside] = 0
    return volume.with_(image=image)
