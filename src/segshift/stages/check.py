"""`segshift check`: build every combination of the grid once, without weights, before the first job starts,
and compare the datasets that are prepared.

A pair that cannot work stops here, in seconds, and not in the queue of a cluster. Everything is built on
PyTorch's meta device, so that the largest network costs no memory.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from segshift import grid as grids
from segshift import modules
from segshift.errors import SegShiftError
from segshift.paths import Results
from segshift.settings import code_files

if TYPE_CHECKING:
    from segshift import model as models

SECTIONS = ("backbone", "tuning", "head", "classes")


def run(config: str, results: Results) -> None:
    """Compare prepared datasets, and build each distinct (backbone, tuning, head) of the cells that can be
    made; a grid that passed is remembered.

    Raises:
        SegShiftError: a patient or scan in two places; or a combination that does not work, with a cell of
            it.
    """
    grid = grids.read(config)
    data(grid, results)
    distinct: dict[str, dict[str, Any]] = {}
    for model in grid.jobs.values():
        settings = grid.settings(model.cell)
        text = grids.render({section: settings[section] for section in SECTIONS})
        distinct.setdefault(text, settings)
    files = [file for one in distinct.values() for file in code_files(one)]
    passed = hashlib.sha256("".join([*sorted(distinct), modules.code_digest(files)]).encode()).hexdigest()
    memory = results.root / ".checked"
    if memory.exists() and memory.read_text() == passed:
        return
    for settings in distinct.values():
        build(settings)
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(passed)
    print(f"{len(distinct)} combinations of backbone, tuning and head: all can be built", flush=True)


def data(grid: grids.Grid, results: Results) -> None:
    """Look for patients and scans that are in two places, over all datasets that are prepared.

    Raises:
        SegShiftError: a patient or scan in two splits, or in one's training and a sibling's test; siblings of
            unequal plane or classes.
    """
    from segshift.preparation import leakage

    found = leakage.prepared(results.root / "data", grid.datasets())
    for name, manifest in found.items():
        leakage.check_manifest(name, manifest)
        for other in grid.together(name):
            if other in found and name < other:
                leakage.check_manifests(name, manifest, other, found[other])
    if found:
        count = sum(len(one["volumes"]) for each in found.values() for one in each["splits"].values())
        print(f"{len(found)} prepared datasets, {count} volumes: no patient and no scan in two places")


def build(settings: dict[str, Any]) -> models.Segmenter:
    """A cell's model on the meta device.

    Raises:
        SegShiftError: it cannot be built; names the cell.
    """
    from segshift import model as models  # here, since a grid that passed before needs no torch
    from segshift.layers.without_values import without_memory

    bare = {**settings, "backbone": {**settings["backbone"], "weights": None}}
    bare["head"] = {key: value for key, value in settings["head"].items() if key != "init"}
    if side := settings["tuning"].get("side"):
        bare["tuning"] = {**settings["tuning"], "side": {**side, "weights": None}}
    try:
        with without_memory():
            (model,) = models.build([bare], Results())
    except SegShiftError as error:
        raise SegShiftError(f"{settings['cell']} cannot be built: {error}") from None
    return model
