"""``segshift add-dataset FOLDER``: look at data, say what it holds, and write its entry.

Every volume is read once. Where the files tell no split, one is drawn by patient. The entry is text at the
end of ``datasets.yaml``, the lists a file below ``splits/``; with ``--dry-run`` both are shown and nothing is
written.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segshift import grid as grids
from segshift.adding import cost, write
from segshift.adding import look as looking
from segshift.adding.look import Found
from segshift.adding.propose import Proposal, name_of, propose
from segshift.entries import NAME, SPLITS, Config
from segshift.errors import SegShiftError
from segshift.grid import Grid, Model
from segshift.paths import Results


@dataclass
class Options:
    """What a user may say beforehand; all else is found or proposed.

    ``reader`` are parameters of the reader, ``classes`` names of label values, ``model`` is
    ``backbone/tuning/head`` of the cost.
    """

    name: str | None = None
    anatomy: str | None = None
    modality: str | None = None
    plane: str | None = None
    module: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    classes: dict[int, str] = field(default_factory=dict)
    seed: int = 42
    model: str | None = None


def run(
    folder: Path,
    config_folder: Path,
    results: Results,
    raw: Path,
    options: Options,
    dry_run: bool = False,
) -> None:
    """Look, propose, and write or show.

    Args:
        folder: the data.
        config_folder: what is added to.
        results: finished cells are a basis of the cost.
        raw: what ``folder`` of an entry is relative to.
        options: what is known beforehand.
        dry_run: write nothing, and say what training on it would cost.

    Raises:
        SegShiftError: the first volume that cannot be read, a name that is taken, label values that are no
            classes, too few patients, or a configuration that would not be right.
    """
    config = grids.read(config_folder).config
    name = options.name or name_of(folder.resolve().name)
    if not NAME.fullmatch(name):
        raise SegShiftError(f"the name {name!r} is a folder's too and may hold a-z, 0-9 and _ only")
    if name in config.datasets:
        raise SegShiftError(
            f"{config_folder}/datasets.yaml has an entry {name} already; choose another --name"
        )
    module, reader = looking.recognize(folder, options.module, options.reader)
    plane = options.plane or _plane(config, options.anatomy) or looking.plane_of(folder, module, reader)
    found = looking.look(folder, module, reader, plane, _tell)
    print("\n".join(looking.lines(found)))
    where = _below(folder, raw)
    asked = (options.anatomy, options.modality, options.classes, options.seed)
    proposal = propose(found, config, name, where, plane, *asked)
    for note in proposal.notes + _alone(found):
        print(f"  note: {note}")
    added = write.texts(proposal, str(folder), options.seed)
    if dry_run:
        after = Grid(write.check(config_folder, added))
        for file, text in added.items():
            print(f"\nwould be added to {config_folder / file}:\n{text}", end="")
        print("\n" + "\n".join(_cost(after, results, found, proposal, options.model)))
        return
    for file in write.write(config_folder, added):
        print(f"written: {file}")
    print(
        f"next: an experiment with `source: [{name}]` in {config_folder / 'experiments.yaml'}, then snakemake"
    )


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text[:78]:78}", end="", file=sys.stderr, flush=True)


def _plane(config: Config, anatomy: str | None) -> str | None:
    """That of the anatomy's datasets: siblings must agree."""
    return next((entry.plane for entry in config.datasets.values() if entry.anatomy == anatomy), None)


def _below(folder: Path, raw: Path) -> str:
    folder, raw = folder.resolve(), raw.resolve()
    return folder.relative_to(raw).as_posix() if folder.is_relative_to(raw) else folder.as_posix()


def _alone(found: Found) -> list[str]:
    """Pictures of which nobody said what belongs together."""
    if found.module != "png" or {"depth", "volume", "table"} & set(found.reader):
        return []
    return [
        "every image is a volume and a patient of its own; if several are of one patient, say so with "
        "--depth, --volume or --patient, else a patient can be in two splits"
    ]


def _cost(grid: Grid, results: Results, found: Found, proposal: Proposal, wanted: str | None) -> list[str]:
    """The cost of the first model of the experiments, or of the one that was named."""
    if wanted:
        parts = wanted.split("/")
    elif grid.jobs:
        first = next(iter(grid.jobs.values()))
        parts = [first.backbone, first.tuning, first.head]
    else:
        return ["cost: no experiment names a model; say one with --model backbone/tuning/head"]
    for part, axis in zip(parts, ("backbones", "tunings", "heads"), strict=False):
        if part not in getattr(grid.config, axis):
            raise SegShiftError(f"--model {wanted}: {axis}.yaml has no {part}")
    if len(parts) != 3:
        raise SegShiftError(f"--model {wanted} is not backbone/tuning/head")
    lists = proposal.lists or found.splits()
    slices = sum(one.shape[0] for one in found.volumes if one.case.patient in set(lists[SPLITS[0]]))
    model = Model(proposal.name, *parts, grid.config.project.seeds[0])
    return cost.estimate(grid, results, model, slices, _size(found, proposal)).lines()


def _size(found: Found, proposal: Proposal) -> tuple[int, int]:
    """Rows and columns of a prepared slice."""
    steps = [step for step in proposal.entry.get("preprocess", []) if isinstance(step, dict)]
    for step in reversed(steps):
        if size := step.get("crop_pad", {}).get("size"):
            return (size, size) if isinstance(size, int) else tuple(size)
    first = found.volumes[0]
    for step in steps:
        if pixel := step.get("resample", {}).get("pixel"):
            return tuple(
                round(n * side / pixel) for n, side in zip(first.shape[1:], first.spacing[1:], strict=True)
            )
    return first.shape[1], first.shape[2]
