"""Files found by a pattern with names in braces, such as ``{split}/{patient}/{id}_T1.nii.gz``."""

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from segshift.errors import SegShiftError, unknown

SPLITS = ("train", "validation", "test")
NAME = re.compile(r"\{([a-z_]+)\}")


def names(pattern: str) -> list[str]:
    """The names in braces, in order, each once."""
    return list(dict.fromkeys(NAME.findall(pattern)))


def fill(pattern: str, values: dict[str, str]) -> str:
    """The pattern with values in place of names."""
    return NAME.sub(lambda match: values[match[1]], pattern)


def find(folder: Path, pattern: str, **fixed: str) -> list[tuple[dict[str, str], Path]]:
    """What matches, sorted by path with numbers by their value: the value of each name, and the path.

    A name stands for anything but a slash, the same everywhere; ``fixed`` ones are known beforehand.
    """
    pattern = pattern.rstrip("/")
    regular, wild, place = "", "", 0
    for match in NAME.finditer(pattern):
        text, name = pattern[place : match.start()], match[1]
        regular += re.escape(text)
        wild += glob.escape(text)
        if name in fixed:
            regular += re.escape(fixed[name])
            wild += glob.escape(fixed[name])
        else:
            regular += f"(?P={name})" if f"(?P<{name}>" in regular else f"(?P<{name}>[^/]+)"
            wild += "*"
        place = match.end()
    whole = re.compile(regular + re.escape(pattern[place:]))
    found = []
    for path in folder.glob(wild + glob.escape(pattern[place:])):
        if match := whole.fullmatch(path.relative_to(folder).as_posix()):
            found.append((match.groupdict() | fixed, path))
    return sorted(found, key=lambda each: natural(each[1].as_posix()))


def natural(text: str) -> list[tuple[int, int | str]]:
    """A key to sort by in which 2 comes before 10."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def pairs(
    folder: Path, images: str, labels: str, split_names: dict[str, str] | None, skip_unlabelled: bool = False
) -> list[tuple[dict[str, str], Path, Path]]:
    """Images with their labels; ``split`` among the values is the split's own name, where there is one.

    Raises:
        SegShiftError: a missing folder, pattern without ``{id}`` or label, an unknown split, a name that
            only the labels' pattern has, or nothing found.
    """
    if "id" not in names(images) or "id" not in names(labels):
        raise SegShiftError(f"the patterns {images!r} and {labels!r} must both hold {{id}}")
    for name in names(labels):
        if name not in names(images):
            raise SegShiftError(f"label_files {labels!r} holds {{{name}}}, which image_files does not")
    for split in split_names or {}:
        if split not in SPLITS:
            raise unknown("reader split_names: unknown split", split, SPLITS)
    if not folder.is_dir():
        raise SegShiftError(f"no such folder: {folder}")
    found = []
    for split in SPLITS if "split" in names(images) else (None,):
        stands_for = {"split": (split_names or {}).get(split, split)} if split else {}
        matched = find(folder, images, **stands_for)
        some = [(values, image, folder / fill(labels, values)) for values, image in matched]
        # a pattern such as {id}.nii.gz also matches the labels of {id}_seg.nii.gz
        all_labels = {label for _, _, label in some}
        for values, image, label in some:
            if image in all_labels:
                continue
            if label.exists():
                found.append((values | ({"split": split} if split else {}), image, label))
            elif not skip_unlabelled:
                raise SegShiftError(f"no such file: {label}, the label of {image.name}")
    if not found:
        what = "file with a label" if skip_unlabelled else "file"
        raise SegShiftError(f"{folder} holds no {what} that matches {images!r}")
    return found


def patient(values: dict[str, str], pattern: str | None) -> str:
    """Whose a file is: what the regular expression finds in the id, else ``{patient}``, else the id.

    Raises:
        SegShiftError: the expression finds nothing, or is none.
    """
    if pattern is None:
        return values.get("patient", values["id"])
    return searched("patient", pattern, values["id"])


def searched(what: str, pattern: str, text: str) -> str:
    """The first group of a regular expression in a text.

    Raises:
        SegShiftError: it finds nothing, or is none; ``what`` names the parameter.
    """
    try:
        match = re.search(pattern, text)
    except re.error as error:
        raise SegShiftError(f"{what}: {pattern!r} is no regular expression: {error}") from None
    if not match or not match.groups() or match[1] is None:
        raise SegShiftError(f"{what}: {pattern!r} finds no group in the id {text!r}")
    return match[1]


def unique(ids: Iterable[str]) -> str | None:
    """The first of some ids that occurs twice, if any does."""
    seen: set[str] = set()
    return next((one for one in ids if one in seen or seen.add(one)), None)
