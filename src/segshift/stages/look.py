"""``segshift look DATASET``: read all raw files of an entry, say what they hold and who is in which split."""

from pathlib import Path

from segshift import grid as grids
from segshift.adding import look as looking
from segshift.entries import SPLITS
from segshift.errors import SegShiftError
from segshift.preparation.cases import name_of, split_cases, value_map
from segshift.splits import DRAW


def run(dataset: str, config_folder: Path, raw: Path) -> None:
    """Print what an entry's reader finds; nothing is written.

    Raises:
        SegShiftError: a volume that cannot be read, a label value that is no class, or lists of patients that
            do not fit.
    """
    grid = grids.read(config_folder)
    settings = grid.dataset_settings(dataset)
    reader = dict(settings["reader"])
    module = reader.pop("module")
    if not raw.is_dir():
        raise SegShiftError(f"no such folder: {raw}")
    found = looking.look(raw, module, reader, settings["plane"])
    print("\n".join(looking.lines(found)))
    known = value_map(settings)
    for one in found.volumes:
        for value in one.voxels:
            if value not in known:
                listed = ", ".join(map(str, sorted(known)))
                raise SegShiftError(
                    f"{name_of(one.case)}: the label holds {value}, which is no class; known values: {listed}"
                )
    lists = settings["splits"]
    if lists and DRAW in lists:
        rule = ", ".join(f"{lists[DRAW][split]} {split}" for split in SPLITS)
        print(f"{dataset}: {rule}, not drawn yet: segshift split {dataset}")
        return
    by_split = split_cases([one.case for one in found.volumes], lists)
    counts = (
        f"{split} {len(members)} of {len({case.patient for case in members})} patients"
        for split, members in by_split.items()
    )
    print(f"{dataset}: {', '.join(counts)}")
