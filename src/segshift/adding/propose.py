"""What an entry of ``datasets.yaml`` would say of data that was looked at."""

import re
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from segshift import plugins, splits
from segshift.adding.look import Found
from segshift.entries import SPLITS, Config
from segshift.errors import SegShiftError

UNEVEN = 0.01  # relative difference of pixel sizes from which slices are resampled
SHARES = {"test": 0.2, "validation": 0.1}  # of the patients


@dataclass
class Proposal:
    """An entry, the lists of patients that it names, and its anatomy where there is none yet."""

    name: str
    entry: dict[str, Any]
    lists: dict[str, Any] | None = None
    anatomy: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def name_of(folder: str) -> str:
    """A folder's name as an entry's: ``Dataset005_Prostate`` is ``prostate``."""
    plain = re.sub(r"^(dataset|task)\d+_", "", folder.lower())
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "mine"


def propose(
    found: Found,
    config: Config,
    name: str,
    folder: str,
    plane: str,
    anatomy: str | None,
    modality: str | None,
    named: dict[int, str],
    seed: int,
) -> Proposal:
    """An entry for what was found.

    Args:
        found: the data.
        config: all that is there already.
        name: of the new entry; a new anatomy has it too.
        folder: where the data is, as the entry says it.
        plane: of slices.
        anatomy: an entry of ``anatomies.yaml``, or a new one.
        modality: what the entry says, or None.
        named: class names of label values, as far as they were said.
        seed: of the split.

    Raises:
        SegShiftError: label values that are no classes of the anatomy, or too few patients to split.
    """
    notes: list[str] = []
    names = _names(found) | named
    anatomy = anatomy or name
    if anatomy in config.anatomies:
        classes, new = config.anatomies[anatomy].classes, None
        labels = _into(found, classes, names, anatomy)
    else:
        classes = _classes(found, names)
        labels = None if found.values == list(range(len(found.values))) else _map(found, names)
        new = {"classes": classes}
        if len(classes) < 2:
            raise SegShiftError(f"{found.folder}: no label holds anything but {found.values}")
    if modality is None:
        modality = _modality(found)
        if modality == "unknown":
            notes.append("modality is unknown; say it with --modality, or in the entry")
    reader = dict(found.reader)
    steps = _steps(found, config, anatomy, reader, notes)
    lists = _lists(found, seed, notes)
    entry = {
        "module": found.module,
        "anatomy": anatomy,
        "modality": modality,
        "plane": plane,
        "folder": folder,
        **({"splits": f"splits/{name}.yaml"} if lists else {}),
        **reader,
        **({"labels": labels} if labels else {}),
        **({"preprocess": steps} if steps else {}),
    }
    return Proposal(name, entry, lists, new, notes)


# ---- classes -----------------------------------------------------------------------------------------------


def _names(found: Found) -> dict[int, str]:
    """Class names that the data itself gives."""
    reader = plugins.load("datasets", found.module)
    return reader.names(found.folder) if hasattr(reader, "names") else {}


def _name(value: int, names: dict[int, str]) -> str:
    return names.get(value, "background" if value == 0 else f"label {value}")


def _map(found: Found, names: dict[int, str]) -> dict[int, str]:
    return {value: _name(value, names) for value in sorted({0, *found.values})}


def _classes(found: Found, names: dict[int, str]) -> list[str]:
    return list(dict.fromkeys(_map(found, names).values()))


def _into(found: Found, classes: list[str], names: dict[int, str], anatomy: str) -> dict[int, str] | None:
    """Raw value -> class of an anatomy that is there; None where values are its classes' numbers."""
    if not names:
        if found.values[-1] < len(classes):
            return None
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
        held = ", ".join(map(str, found.values))
        raise SegShiftError(
            f"{found.folder}: the labels hold {held}, and {anatomy} has the classes {listed}; "
            f"say which is which: --classes {found.values[-1]}='{classes[-1]}' …"
        )
    mapped = _map(found, names)
    for value, name in mapped.items():
        if name not in classes:
            raise SegShiftError(
                f"{found.folder}: the label {value} is {name!r}, and {anatomy} has the classes "
                f"{', '.join(classes)}; say which it is: --classes {value}='…'"
            )
    same = all(classes.index(name) == value for value, name in mapped.items())
    return None if same else mapped


def _modality(found: Found) -> str:
    if found.module != "nnunet":
        return "unknown"
    channels = plugins.load("datasets", "nnunet").description(found.folder)["channels"]
    channel = found.reader.get("channel", 0)
    return str(channel if channel in channels else channels[int(channel)])


# ---- steps -------------------------------------------------------------------------------------------------


def _steps(
    found: Found, config: Config, anatomy: str, reader: dict[str, Any], notes: list[str]
) -> list[str | dict[str, Any]]:
    """Pre-processing that brings every volume to [0, 1], one pixel size and one slice size."""
    steps: list[str | dict[str, Any]] = []
    low, high = min(one.low for one in found.volumes), max(one.high for one in found.volumes)
    if not (low >= 0 and high <= 1):
        if found.module == "hdf5_stack" and low >= 0 and high <= 255:
            reader["scale"] = 255
        else:
            steps.append("percentile")
    sides = [side for one in found.volumes for side in one.spacing[1:]]
    pixel = _pixel(config, anatomy) or float(f"{median(sides):.3g}")
    even = max(abs(side / pixel - 1) for side in sides) <= UNEVEN
    if not even:
        steps.append({"resample": {"pixel": pixel}})
    sizes = [
        tuple(
            round(n * side / pixel) if not even else n
            for n, side in zip(one.shape[1:], one.spacing[1:], strict=True)
        )
        for one in found.volumes
    ]
    if len(set(sizes)) > 1:
        rows, columns = (max(size[axis] for size in sizes) for axis in (0, 1))
        steps.append({"crop_pad": {"size": rows if rows == columns else [rows, columns]}})
        notes.append("slices differ in size: crop_pad pads all of them to the largest")
    return steps


def _pixel(config: Config, anatomy: str) -> float | None:
    """The pixel size that a sibling is resampled to."""
    for entry in config.datasets.values():
        for step in entry.preprocess if entry.anatomy == anatomy else ():
            if isinstance(step, dict) and "resample" in step:
                return float(step["resample"]["pixel"])
    return None


# ---- splits ------------------------------------------------------------------------------------------------


def _lists(found: Found, seed: int, notes: list[str]) -> dict[str, Any] | None:
    """Lists of patients where files tell no whole split, with the rule by which they were drawn."""
    told = found.splits()
    if all(told.get(split) for split in SPLITS) and "" not in told:
        return None
    everybody = len(found.patients)
    if everybody < 3:
        raise SegShiftError(
            f"{found.folder}: a split by patient needs at least 3 patients, and these are {everybody}: "
            f"{', '.join(found.patients)}; --patient says how a patient is told from a file's name"
        )
    test = told.get("test") or told.get("validation") or []
    validation = told.get("validation", []) if told.get("test") else []
    rest = sorted({*found.patients} - {*test} - {*validation})
    wanted = {
        split: 0 if given else max(1, round(SHARES[split] * everybody))
        for split, given in (("test", test), ("validation", validation))
    }
    rule = {"seed": seed, "train": splits.REST, "validation": wanted["validation"], "test": wanted["test"]}
    try:
        drawn = splits.draw(rest, rule)
    except SegShiftError as error:
        raise SegShiftError(f"{found.folder}: besides those that its files name, {error}") from None
    lists = {"train": drawn["train"], "validation": validation or drawn["validation"]}
    lists["test"] = test or drawn["test"]
    if test and not told.get("test"):
        notes.append("what its files call validation is the test split; validation is drawn from the rest")
    drew = [f"{number} {split}" for split, number in wanted.items() if number]
    notes.append(f"drawn by patient with seed {seed}: {', '.join(drew)}")
    return lists
