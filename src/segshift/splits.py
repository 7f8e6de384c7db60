"""Files below ``config/splits/``: which patients are in which split, and which raw label is which class.

A file of splits lists the patients of ``train``, ``validation`` and ``test``, and in ``unused`` those that
are in none. Where nobody knows the names beforehand it says how many there will be,
``draw: {seed: 42, train: 20, validation: 5, test: 20}`` (one number may be ``rest``), and ``segshift split``
adds the lists, drawn from the patients that are there. A file of labels lists the raw values of each class,
``cerebral gray: [3, 42, 1000-1035]``.

Plain Python, for the grid reads it.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from segshift.entries import SPLITS
from segshift.errors import SegShiftError, unknown

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
UNUSED = "unused"
DRAW = "draw"
REST = "rest"


def read_yaml(file: Path) -> Any:
    """The content of a YAML file; an empty one is an empty dict.

    Raises:
        SegShiftError: it is missing, or is not YAML; the line is named.
    """
    try:
        return yaml.load(file.read_text(), LOADER) or {}
    except FileNotFoundError:
        raise SegShiftError(f"{file} is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SegShiftError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None


def read(file: Path) -> dict[str, Any]:
    """The lists of a file of splits, or, before they are drawn, its ``draw`` alone.

    Raises:
        SegShiftError: a key or number that it may not have, or an item that is no list of patients.
    """
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise SegShiftError(f"{file} does not hold {{split: [patient, …]}}")
    for key in content:
        if key not in (*SPLITS, UNUSED, DRAW):
            raise unknown(f"{file}: split", key, (*SPLITS, UNUSED))
    if not set(content) & set(SPLITS) and DRAW in content:
        return {DRAW: _rule(content[DRAW], file)}
    for split in (*SPLITS, UNUSED):
        if not isinstance(content.get(split) or [], list):
            raise SegShiftError(f"{file}: {split} is {content[split]!r}, not a list of patients")
    lists = {split: [str(patient) for patient in content.get(split) or []] for split in SPLITS}
    return lists | ({UNUSED: [str(one) for one in content[UNUSED]]} if content.get(UNUSED) else {})


def rule(file: Path) -> dict[str, Any]:
    """What a file says of drawing: ``seed`` and the number of patients of each split.

    Raises:
        SegShiftError: it says nothing of it, or nonsense.
    """
    content = read_yaml(file)
    if DRAW not in content:
        raise SegShiftError(f"{file} has no `draw: {{seed: …, train: …, validation: …, test: …}}`")
    return _rule(content[DRAW], file)


def draw(patients: Iterable[str], rule: dict[str, Any]) -> dict[str, list[str]]:
    """Who is in which split: patients in the order of sha256(seed, name), the first ones into ``test``.

    Independent of the order in which they are given and, mostly, of who else is there.

    Raises:
        SegShiftError: there are fewer than the rule asks for.
    """
    patients = sorted(set(patients))
    asked = {split: rule[split] for split in SPLITS}
    numbers = {split: number for split, number in asked.items() if number != REST}
    left = len(patients) - sum(numbers.values())
    if left < (1 if REST in asked.values() else 0):
        wanted = ", ".join(f"{number} {split}" for split, number in asked.items())
        raise SegShiftError(f"there are {len(patients)} patients; {wanted} are asked for")
    order = sorted(patients, key=lambda name: hashlib.sha256(f"{rule['seed']} {name}".encode()).digest())
    found, first = {}, 0
    for split in reversed(SPLITS):
        number = left if asked[split] == REST else asked[split]
        found[split] = sorted(order[first : first + number])
        first += number
    lists = {split: found[split] for split in SPLITS}
    return lists | ({UNUSED: sorted(order[first:])} if order[first:] else {})


def text(lists: dict[str, list[str]]) -> str:
    """Lists as YAML, a few patients a line."""
    return yaml.safe_dump(lists, default_flow_style=None, sort_keys=False, width=100, allow_unicode=True)


def label_map(file: Path) -> dict[int, str]:
    """Raw value -> class name, of a file that lists the values of each class.

    Raises:
        SegShiftError: what is listed is no value nor range of values, or stands under two classes.
    """
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise SegShiftError(f"{file} does not hold {{class: [raw value, …]}}")
    found: dict[int, str] = {}
    for name, values in content.items():
        for value in values if isinstance(values, list) else [values]:
            first, _, last = str(value).partition("-")
            if not (first.isdigit() and (last or first).isdigit()):
                raise SegShiftError(f"{file}: {name}: {value!r} is neither a value nor a range such as 20-24")
            for number in range(int(first), int(last or first) + 1):
                if found.setdefault(number, name) != name:
                    raise SegShiftError(f"{file}: {number} is both {found[number]} and {name}")
    return found


def _rule(content: Any, file: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SegShiftError(f"{file}: draw: {content!r} does not say seed, train, validation and test")
    for key in content:
        if key not in ("seed", *SPLITS):
            raise unknown(f"{file}: draw", key, ("seed", *SPLITS))
    for key in ("seed", *SPLITS):
        value = content.get(key)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if not (whole or (value == REST and key != "seed")):
            raise SegShiftError(f"{file}: draw: {key} is {value!r}, not a number or, for one split, {REST}")
    if sum(content[split] == REST for split in SPLITS) > 1:
        raise SegShiftError(f"{file}: draw: only one split can have the {REST}")
    return dict(content)
