"""Slices as pictures, PNG or TIFF, one image and one label a file: the layout of the lab's spine data.

What is one volume is said by ``depth`` (so many files in the order of their names), by ``volume`` (a
regular expression, or a column of ``table``), or by nothing: then each image is a volume of its own. A TIFF
of several pages is as many slices. Colour images keep their three channels. The files hold no place in space,
so the affine only scales: voxel (z, y, x) lies at (x · pixel, y · pixel, z · thickness) mm.
"""

import csv
from itertools import groupby
from pathlib import Path

import numpy as np

from segshift.errors import SegShiftError, unknown
from segshift.layers import patterns
from segshift.layers.pictures import pages, size
from segshift.volumes import Case, Volume, integers


def cases(
    folder: Path,
    *,
    image_files: str,
    label_files: str,
    depth: int | None = None,
    volume: str | None = None,
    table: str | None = None,
    patient: str | None = None,
    pixel: float = 1.0,
    thickness: float = 1.0,
    scale: float | None = None,
    split_names: dict[str, str] | None = None,
    unlabelled: str = "error",
) -> list[Case]:
    """The volumes of all images that match the pattern; slices by name, numbers in it by their value.

    Args:
        folder: the patterns are relative to it.
        image_files: path with ``{id}`` for the slice and, if folders tell it, ``{split}``, such as
            ``images/{split}/{id}.png``; other names in braces, such as ``{patient}``, stand for anything.
        label_files: the same for labels, with names that ``image_files`` has too.
        depth: slices of every volume. Volumes are then called ``<split>_<index>``.
        volume: regular expression, searched in the id of a slice; its first group is the volume. With
            ``table``, the column that says it.
        table: a CSV file below ``folder``, one row a slice, with the columns ``id`` and ``volume``, and, if
            there are any, ``patient`` and ``split``; images that it does not list are left out.
        patient: regular expression, searched in the volume's name; its first group is the patient. Default:
            what ``table`` or ``{patient}`` says, else the volume.
        pixel: side of a pixel, mm.
        thickness: distance of slices, mm.
        scale: image values are divided by it; default: the largest that the file's type can hold.
        split_names: what ``{split}`` stands for where it is not the split's own name.
        unlabelled: ``error``, or ``skip`` to leave out images without a label.

    Raises:
        SegShiftError: a missing folder, label or table, nothing found, a number of slices that is no multiple
            of ``depth``, an id in which ``volume`` finds nothing, or a volume of two patients or splits.
    """
    if sum(each is not None for each in (depth, table or volume)) > 1:
        raise SegShiftError(
            "reader png: `depth` and `volume` or `table` both say what is one volume; keep one"
        )
    if unlabelled not in ("error", "skip"):
        raise unknown("reader png: unlabelled", unlabelled, ("error", "skip"))
    files = patterns.pairs(Path(folder), image_files, label_files, split_names, unlabelled == "skip")
    slices = [{"image": image, "label": label, **values} for values, image, label in files]
    if table is not None:
        slices = _listed(slices, Path(folder) / table, volume or "volume")
    elif depth is not None:
        slices = _by_depth(slices, depth, Path(folder))
    else:
        for one in slices:
            one["volume"] = patterns.searched("volume", volume, one["id"]) if volume else one["id"]
    how = {"pixel": pixel, "thickness": thickness, "scale": scale}
    slices = sorted(slices, key=_place)  # stable: slices of a volume stay in the order of their names
    grouped = [list(members) for _, members in groupby(slices, key=_place)]
    return [_case(members[0]["volume"], members, patient, how) for members in grouped]


def read(case: Case) -> Volume:
    """One volume: image [z, y, x], or [z, y, x, 3] if its files are in colour.

    Raises:
        SegShiftError: a missing, truncated or other file; slices of different size, type or channels; a label
            in colour, or of another size than its image.
    """
    where = case.where
    images, labels = [], []
    for file, label_file in zip(where["images"], where["labels"], strict=True):
        image, label = pages(file, colour=True), pages(label_file, colour=False)
        if image.shape[:3] != label.shape:
            shapes = f"{size(image)} and {size(label)}"
            raise SegShiftError(f"{file} and its label {label_file.name} differ in size: {shapes}")
        if images and (image.shape[1:], image.dtype) != (images[0].shape[1:], images[0].dtype):
            kinds = [f"{size(one)} {one.dtype}" for one in (image, images[0])]
            raise SegShiftError(
                f"{file} is {kinds[0]}, {where['images'][0].name} of its volume is {kinds[1]}"
            )
        images.append(image)
        labels.append(label)
    image, label = np.concatenate(images), np.concatenate(labels)
    scale = where["scale"] or (np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1)
    image = (image / scale).astype(np.float32)
    spacing = (float(where["thickness"]), float(where["pixel"]), float(where["pixel"]))
    affine = np.zeros((4, 4))
    affine[[2, 1, 0, 3], [0, 1, 2, 3]] = [*spacing, 1]
    return Volume(image, integers(label, f"{where['labels'][0].parent}, {case.id}"), spacing, affine)


def describe(case: Case) -> dict[str, object]:
    """What the first file says: ``channels``, and what its numbers are (``type``)."""
    image = pages(case.where["images"][0], colour=True)
    return {"channels": 3 if image.ndim == 4 else 1, "type": str(image.dtype)}


def guess(folder: Path) -> dict | None:
    """Parameters for a folder of pictures: ``images`` beside ``labels``, split by folders or not."""
    for images, labels in (("images", "labels"), ("image", "label"), ("images", "masks")):
        if not ((folder / images).is_dir() and (folder / labels).is_dir()):
            continue
        for split in ("", "/{split}"):
            below = [p for p in (folder / images).glob("*/*" if split else "*") if p.is_file()]
            suffix = next((p.suffix for p in below if p.suffix.lower() in (".png", ".tif", ".tiff")), None)
            if suffix is None:
                continue
            found = {"image_files": f"{images}{split}/{{id}}{suffix}"}
            one = next(p for p in below if p.suffix == suffix)
            there = folder / labels / (one.parent.name if split else "")
            ends = sorted(p.name.removeprefix(one.stem) for p in there.glob(f"{one.stem}*"))
            if not ends:
                raise SegShiftError(f"{one} has no label in {there}: none begins with {one.stem}")
            found["label_files"] = f"{labels}{split}/{{id}}{ends[0]}"
            names = {p.name for p in (folder / images).iterdir() if p.is_dir()}
            if split and "validation" not in names and (other := names & {"val", "valid"}):
                found["split_names"] = {"validation": other.pop()}
            return found
    return None


def _place(one: dict) -> tuple:
    return one.get("split") or "", patterns.natural(one["volume"])


def _by_depth(slices: list[dict], depth: int, folder: Path) -> list[dict]:
    if not depth > 0:
        raise SegShiftError(f"reader png: depth {depth} must be a positive number of slices")
    for split, group in groupby(slices, key=lambda one: one.get("split")):
        members = list(group)
        if len(members) % depth:
            place = f"{folder}, split {split}" if split else folder
            raise SegShiftError(f"{place}: {len(members)} images are no multiple of depth {depth}")
        for index, one in enumerate(members):
            one["volume"] = f"{split or 'volume'}_{index // depth:03d}"
    return slices


def _listed(slices: list[dict], file: Path, volume: str) -> list[dict]:
    """Slices with what the table says of them."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            rows = list(reader)
    except FileNotFoundError:
        raise SegShiftError(f"no such file: {file}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SegShiftError(f"{file} cannot be read as CSV: {error}") from None
    for column in ("id", volume):
        if column not in (reader.fieldnames or ()):
            raise unknown(f"{file}: no column", column, reader.fieldnames or ())
    by_id = {one["id"]: one for one in slices}
    if twice := patterns.unique(one["id"] for one in slices):
        raise SegShiftError(f"{file}: two images have the id {twice}, so a row cannot tell them apart")
    found = []
    for row in rows:
        if row["id"] not in by_id:
            raise SegShiftError(f"{file} lists {row['id']}, but no image has this id")
        said = {name: row[name] for name in ("patient", "split") if row.get(name)}
        found.append(by_id[row["id"]] | said | {"volume": row[volume]})
    if twice := patterns.unique(row["id"] for row in rows):
        raise SegShiftError(f"{file} lists {twice} twice")
    return found


def _case(name: str, members: list[dict], patient: str | None, how: dict) -> Case:
    if "/" in name:
        raise SegShiftError(f"volume {name!r}: its name is a group's in HDF5 and may hold no slash")
    said = {}
    for key in ("patient", "split"):
        values = sorted({one[key] for one in members if key in one})
        if len(values) > 1:
            raise SegShiftError(f"volume {name} is of two {key}s, {values[0]} and {values[1]}")
        said[key] = values[0] if values else None
    files = {f"{kind}s": [one[kind] for one in members] for kind in ("image", "label")}
    who = patterns.searched("patient", patient, name) if patient else said["patient"] or name
    return Case(name, who, said["split"], files | how)
