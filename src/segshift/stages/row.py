"""`segshift train CELL… --row FILE`: what a workflow asks for, so that its trainings find their work done.

Of the cells, those that can share a pass are trained together; all else is left, and said: a job of its own
trains it, alone. So nothing that goes wrong here may end a workflow's other jobs.
"""

from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import torch

from segshift import rows, tracking
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.paths import Results, locate
from segshift.stages import train
from segshift.stages.train import Todo


def run(
    cells: list[str],
    wanted: Path,
    root: str = "results",
    device: str = "auto",
    workers: int = 0,
    adapt: bool = False,
    heads: int = 0,
) -> int:
    """Train what can be trained together.

    Args:
        cells: of a row.
        wanted: a file that lists the paths of cells that are to be trained, one a line; others are left.
        root: the results folder.
        device: auto, cpu or cuda.
        workers: processes that read slices.
        adapt: the cells are adaptations.
        heads: at most so many at once; 0: all.

    Returns:
        0, also where something was left; ``train.RESUMABLE`` if a signal interrupted it.

    Raises:
        SegShiftError: there is no such file.
    """
    try:
        asked = set(wanted.read_text().split())
    except FileNotFoundError:
        raise SegShiftError(f"--row {wanted}: there is no such list of cells; a workflow writes it") from None
    located = [one for one in dict.fromkeys(locate(cell, root) for cell in cells) if one[1] in asked]
    if len(located) < 2:
        print("one is trained alone", flush=True)
        return 0
    train.resumable_from_now_on()
    found = find_device(device)
    with ExitStack() as stack:
        groups: dict[str, list[Todo]] = defaultdict(list)
        for results, path in located:
            try:
                one = train.claim(stack, results, path, adapt, skip=True)
            except (SegShiftError, OSError) as error:
                print(f"{error}; it is left to a job of its own", flush=True)
                continue
            if one and (key := rows.key(one.settings)):
                groups[key].append(one)
        for group in groups.values():
            for part in rows.chunks(group, _at_once(group, heads)):
                if len(part) > 1 and (code := _fit(part, located[0][0], found, workers)):
                    return code
    return 0


def _fit(part: list[Todo], results: Results, device: torch.device, workers: int) -> int:
    """Train some together; what fails is left."""
    failed: dict[str, str] = {}
    try:
        code = train.fit(part, results, device, workers, failed)
    except train.Apart as apart:
        print(f"{apart}; what cannot is left to a job of its own", flush=True)
        groups = [[one for one in part if one.settings["cell"] in cells] for cells in apart.groups]
        codes = (_fit(group, results, device, workers) for group in groups if len(group) > 1)
        return next((code for code in codes if code), 0)
    except Exception as error:
        print(f"{type(error).__name__}: {error}; each is left to a job of its own", flush=True)
        return 0
    for cell, sentence in failed.items():
        print(f"{cell}: {sentence}; it is left to a job of its own", flush=True)
    return code


def _at_once(group: list[Todo], heads: int) -> int:
    """How many at once: a row that died without a word twice may have been too large for the machine's
    memory, so a quarter of it goes on, and after a third time each model alone."""
    deaths = max(_deaths(one.folder) for one in group)
    most = min(heads or len(group), len(group))
    return {0: most, 1: most, 2: max(1, most // 4)}.get(deaths, 1)


def _deaths(folder: Path) -> int:
    """How many of a model's newest attempts, one after the other, have written no last word."""
    number = 0
    for attempt in reversed(tracking.read(folder)):
        if attempt.status:
            break
        number += 1
    return number
