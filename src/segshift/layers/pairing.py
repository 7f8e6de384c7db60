"""Which files of an unknown folder are scans, which are their labels, and the patterns that say so."""

import re
from pathlib import Path

from segshift.errors import SegShiftError
from segshift.layers import patterns

#: by which the name of a label, or a folder of labels, is told from that of a scan
LABEL = r"labels?|labelstr|seg|segs|segmentations?|masks?|gt|annotations?|tissue|truth"
WORD = re.compile(rf"(?:^|(?<=[_\-. ]))({LABEL})(?=$|[_\-. ])", re.I)
BETWEEN = "_-. "
SPLIT_FOLDERS = {
    "train": ("train", "training", "tr"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing", "ts"),
}


def guess(folder: Path, suffixes: tuple[str, ...]) -> dict | None:
    """``image_files``, ``label_files`` and perhaps ``split_names`` of a folder; None where no label is found.

    Raises:
        SegShiftError: a label fits several scans, or none; the choices are named.
    """
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _ends(path.name, suffixes)]
    files = [path.relative_to(folder) for path in found if not path.name.startswith(".")]
    labels = [file for file in files if _is_label(file, suffixes)]
    scans = [file for file in files if file not in set(labels)]
    if not labels or not scans:
        return None
    label = labels[0]
    name = _id(label, suffixes)
    fitting = [scan for scan in scans if _fits(_stem(scan, suffixes), name)]
    same_split = [scan for scan in fitting if _split_parts(scan) == _split_parts(label)]
    fitting = same_split or fitting
    if len(fitting) != 1:
        what = f"several scans: {', '.join(map(str, fitting[:4]))}" if fitting else "none of the scans"
        raise SegShiftError(
            f"{folder / label} fits {what}; say what is what with --images and --labels, such as "
            "--images '{id}_T1.nii.gz' --labels '{id}_seg.nii.gz'"
        )
    made = {
        "image_files": _pattern(fitting[0], name, suffixes),
        "label_files": _pattern(label, name, suffixes),
    }
    if "split" in patterns.names(made["image_files"]):
        there = {part.lower(): part for scan in scans for part in scan.parts[:-1]}
        named = {split: there[one] for split, known in SPLIT_FOLDERS.items() for one in known if one in there}
        made["split_names"] = {split: part for split, part in named.items() if split != part}
    return {key: value for key, value in made.items() if value}


def _ends(name: str, suffixes: tuple[str, ...]) -> str | None:
    return next((end for end in sorted(suffixes, key=len, reverse=True) if name.lower().endswith(end)), None)


def _stem(file: Path, suffixes: tuple[str, ...]) -> str:
    return file.name[: -len(_ends(file.name, suffixes) or "") or None]


def _is_label(file: Path, suffixes: tuple[str, ...]) -> bool:
    return any(WORD.search(part) for part in (*file.parts[:-1], _stem(file, suffixes)))


def _id(label: Path, suffixes: tuple[str, ...]) -> str:
    return WORD.sub("", _stem(label, suffixes)).strip(BETWEEN)


def _fits(stem: str, name: str) -> bool:
    if not stem.startswith(name):
        return stem.endswith(name) and stem[-len(name) - 1] in BETWEEN
    return stem == name or stem[len(name)] in BETWEEN


def _split_parts(file: Path) -> list[str]:
    known = [name for names in SPLIT_FOLDERS.values() for name in names]
    return [part.lower() for part in file.parts[:-1] if part.lower() in known]


def _pattern(file: Path, name: str, suffixes: tuple[str, ...]) -> str:
    """The path with ``{id}`` for the id and ``{split}`` for a split's folder."""
    known = [one for names in SPLIT_FOLDERS.values() for one in names]
    folders = [
        "{split}" if part.lower() in known else "{id}" if part == name else part for part in file.parts[:-1]
    ]
    return "/".join([*folders, file.name.replace(name, "{id}", 1)])
