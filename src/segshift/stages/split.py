"""``segshift split DATASET …``: draw who is in which split, by the rule in the entry's file of splits, once.

Domains that hold the same people share one file, so only patients that all the named domains have are drawn;
the others are listed as unused. The lists are added to the file, which keeps its rule and comments.
"""

from pathlib import Path
from typing import Any

from segshift import grid as grids
from segshift import plugins, splits
from segshift.adding import write
from segshift.entries import SPLITS
from segshift.errors import SegShiftError
from segshift.preparation.cases import find_cases, map_labels, name_of
from segshift.volumes import Case


def run(datasets: list[str], config_folder: Path, raw: Path, labelled: bool = False) -> None:
    """Draw and write the lists of one file.

    Args:
        datasets: entries that name the same file of splits.
        config_folder: the configuration.
        raw: the folder that holds all raw data.
        labelled: read every volume, and leave out patients of whom one shows no class but background.

    Raises:
        SegShiftError: entries without or with different files, a file that has its lists or no rule, or too
            few patients.
    """
    grid = grids.read(config_folder)
    entries = {name: grid.config.datasets[name] for name in datasets}
    files = {name: entry.splits for name, entry in entries.items()}
    if None in files.values():
        name = next(name for name, file in files.items() if file is None)
        raise SegShiftError(
            f"{config_folder}/datasets.yaml: {name} names no file of `splits`; its files tell them"
        )
    if len(set(files.values())) > 1:
        listed = ", ".join(f"{name} {file}" for name, file in files.items())
        raise SegShiftError(
            f"these datasets have different files of splits ({listed}); split one after the other"
        )
    file = config_folder / files[datasets[0]]
    if set(splits.read(file)) & set(SPLITS):
        raise SegShiftError(f"{file} lists its patients already; remove the lists to draw them again")
    there: dict[str, set[str]] = {}
    unlabelled: set[str] = set()
    for name, entry in entries.items():
        settings = grid.dataset_settings(name)
        cases = find_cases(settings, raw / (entry.folder or name))
        bare = {case.patient for case in cases if labelled and not _shows(case, settings)}
        there[name] = {case.patient for case in cases}
        unlabelled |= bare
    everywhere = set.intersection(*there.values()) - unlabelled
    missing = sorted(set.union(*there.values()) - everywhere)
    try:
        lists = splits.draw(everywhere, splits.rule(file))
    except SegShiftError as error:
        raise SegShiftError(f"{file}: {error}") from None
    if missing:
        lists["unused"] = sorted([*lists.get("unused", []), *missing])
        why = f"not in all of {', '.join(datasets)}" + (" or without a label" if labelled else "")
        print(f"{why}, so unused: {', '.join(missing)}")
    write.append(file, splits.text(lists))
    sharing = [
        name for name, entry in grid.config.datasets.items() if entry.splits == entries[datasets[0]].splits
    ]
    if others := [name for name in sharing if name not in datasets]:
        print(f"note: {', '.join(others)} shares this file and was not looked at")
    print(f"written: {file} ({', '.join(f'{split} {len(names)}' for split, names in lists.items())})")


def _shows(case: Case, settings: dict[str, Any]) -> bool:
    """True if a volume shows any class but background."""
    try:
        label = plugins.load("datasets", settings["reader"]["module"]).read(case).label
        return bool(map_labels(label, settings).any())
    except SegShiftError as error:
        raise SegShiftError(f"{name_of(case)}: {error}") from None
