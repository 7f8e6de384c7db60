"""Which files are the masks that another tool made of a dataset's volumes.

A file is named after its volume. Of a dataset that was read from pictures a mask may also be one picture for
each of its image files, named as that is.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segshift.errors import SegShiftError
from segshift.layers import canvas, pictures
from segshift.preparation import cases
from segshift.prepared import SPLITS, Prepared
from segshift.splits import LOADER

LISTED = 10  # names in an error
NOT_IN_NAMES = re.compile(r"[^\w.-]", re.ASCII)  # of files

Images = Callable[[], Mapping[str, Sequence[Path]]]  # the image files of each volume, in order, by its id


def settings_of(prepared: Prepared) -> dict[str, Any]:
    """What a dataset was prepared from."""
    return yaml.load(prepared.manifest["settings"], LOADER)


def file_names(prepared: Prepared) -> dict[str, dict[str, str]]:
    """The name of each volume's files, without ending, by split and id.

    It is the id with letters, digits, ``_``, ``-`` and ``.``; where training and validation, which lie in one
    folder, have ids in common, the split stands before it.

    Raises:
        SegShiftError: two volumes of a split have the same name.
    """
    ids = {split: [volume.id for volume in prepared.volumes(split)] for split in SPLITS}
    names = {split: {one: NOT_IN_NAMES.sub("_", one) for one in own} for split, own in ids.items()}
    if set(names["train"].values()) & set(names["validation"].values()):
        for split in ("train", "validation"):
            names[split] = {one: f"{split}_{name}" for one, name in names[split].items()}
    for split, own in names.items():
        if len(set(own.values())) < len(own):
            raise SegShiftError(f"{prepared.folder.name}: two volumes of {split} have the same file name")
    return names


def of_pictures(prepared: Prepared) -> bool:
    """True if a dataset's raw files are pictures."""
    return settings_of(prepared)["reader"]["module"] == "png"


def images(prepared: Prepared, split: str, raw: Path) -> dict[str, list[Path]]:
    """The raw image files of each volume of a split, in the order of its slices.

    Args:
        prepared: a dataset that was read from pictures.
        split: whose volumes.
        raw: the folder with its raw files.

    Raises:
        SegShiftError: they are not those that were prepared.
    """
    settings = settings_of(prepared)
    found = cases.split_cases(cases.find_cases(settings, raw), settings.get("splits"))[split]
    files = {case.id: case.where["images"] for case in found}
    if lost := sorted(files.keys() ^ {volume.id for volume in prepared.volumes(split)}):
        raise SegShiftError(
            f"{prepared.folder.name}: {lost[0]} of {split} was not prepared, or its raw file is gone"
        )
    return files


def find(
    folder: Path, names: Mapping[str, str], images: Images | None = None
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """The files of each volume's mask, by its id, and names of masks that are of none of them.

    Args:
        folder: where they are.
        names: of files, by id; of a split, see ``file_names``.
        images: of a dataset that was read from pictures; asked where a volume has no file of its own name.

    Raises:
        SegShiftError: there is no such folder, masks are missing, a volume has two, two images that masks are
            named after have one name, or a picture has another size than its image; all are named.
    """
    if not folder.is_dir():
        raise SegShiftError(f"there is no folder {folder}")
    endings = (*canvas.MASKS, *(canvas.PICTURE_MASKS if images else ()))
    there = _by_name(folder, endings)
    found = {one: (_one(folder, there[name]),) for one, name in names.items() if name in there}
    slices = images() if images and len(found) < len(names) else {}
    missing = []
    for one in names.keys() - found.keys():
        files, lost = _slices(folder, slices.get(one, ()), there)
        if files and not lost:
            found[one] = files
        else:
            missing += [f"{name} of {names[one]}" for name in lost] if files else [names[one]]
    used = Counter(file for files in found.values() for file in files)
    for stem, count in Counter(image.stem for own in slices.values() for image in own).items():
        if count > 1 and stem in there:
            raise SegShiftError(
                f"{folder}: {count} images are called {stem}, so that nobody can tell whose mask "
                f"{there[stem][0].name} is; make one TIFF a volume"
            )
    extra = [file.name for name in sorted(there) for file in there[name] if file not in used]
    if missing:
        raise _missing(folder, sorted(missing), list(names.values()), extra, endings)
    if twice := [file.name for file, count in used.items() if count > 1]:
        raise SegShiftError(f"{folder}: {twice[0]} is named after a volume and after a slice of another one")
    return {one: found[one] for one in names}, extra


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, list[Path]]:
    there: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and (end := canvas.suffix(file, endings)):
            there.setdefault(file.name[: -len(end)], []).append(file)
    return there


def _one(folder: Path, files: Sequence[Path]) -> Path:
    if len(files) > 1:
        raise SegShiftError(f"{folder}: {' and '.join(file.name for file in files)} are one volume's")
    return files[0]


def _slices(
    folder: Path, images: Sequence[Path], there: Mapping[str, Sequence[Path]]
) -> tuple[tuple[Path, ...], list[str]]:
    """The pictures that are named as a volume's images, and the names of those that are not there."""
    files, lost = [], []
    for image in images:
        own = [file for file in there.get(image.stem, ()) if canvas.is_picture(file)]
        if not own:
            lost.append(image.stem)
            continue
        mask = _one(folder, own)
        sizes = [pictures.extent(file) for file in (mask, image)]
        if sizes[0] != sizes[1]:
            shown = [" × ".join(map(str, size)) for size in sizes]
            raise SegShiftError(
                f"{mask}: a mask that is a picture has the pixels of its image, and this one has {shown[0]} "
                f"(pages, rows, columns), {image.name} has {shown[1]}"
            )
        files.append(mask)
    return tuple(files), lost


def _missing(
    folder: Path, missing: list[str], wanted: list[str], extra: list[str], endings: tuple[str, ...]
) -> SegShiftError:
    more = f"; masks of no such volume are there: {_some(extra)}" if extra else ""
    if canvas.PICTURE_MASKS[0] not in endings:
        others = [file.name for own in _by_name(folder, canvas.PICTURE_MASKS).values() for file in own]
        more += f"; pictures, such as {others[0]}, hold no place among its images' voxels" if others else ""
    return SegShiftError(
        f"{folder}: {len(missing)} of {len(wanted)} masks are missing: {_some(missing)} "
        f"({', '.join(endings)}){more}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
