"""`segshift train CELL… --row FILE`: what a workflow asks for, so that its trainings find their work done.

Of the cells, those that can share a pass are trained together; all else is left, and said: a job of its own
trains it, alone. So nothing that goes wrong here may end a workflow's other jobs.
"""

import sys
import traceback
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import torch

from segshift import rows
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.paths import Results, locate
from segshift.stages import train
from segshift.stages.train import Todo
from segshift.steering import journals

GIVEN_UP = 3  # so many attempts without a last word, and a model is left to a job of its own


def run(
    cells: list[str],
    wanted: Path,
    root: str = "results",
    device: str = "auto",
    workers: int = 0,
    adapt: bool = False,
    heads: int = 0,
    attempt: int = 1,
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
        attempt: how often the workflow has tried it, with this time; at the last time all is left, so that a
            row which dies again and again, for whatever reason, keeps no model from being trained.

    Returns:
        0, also where something was left; ``train.RESUMABLE`` if a signal interrupted it.

    Raises:
        SegShiftError: there is no such file.
    """
    if attempt >= rows.TRIES:
        print(f"tried {attempt - 1} times without success; each is left to a job of its own", flush=True)
        return 0
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
        groups: dict[str | None, list[tuple[Todo, int]]] = defaultdict(list)
        for results, path in located:
            try:
                one = train.claim(stack, results, path, adapt, skip=True)
                deaths = journals.without_end(one.folder, GIVEN_UP) if one else 0
            except (SegShiftError, OSError) as error:
                print(f"{error}; it is left to a job of its own", flush=True)
                continue
            if deaths >= GIVEN_UP:
                print(
                    f"{path}: {deaths} attempts ended without a word; a job of its own tries it", flush=True
                )
            elif one and (reason := rows.alone(one.settings)):
                print(f"{path}: {reason}; it is left to a job of its own", flush=True)
            elif one:
                groups[rows.key(one.settings)].append((one, deaths))
        for group in groups.values():
            for part in rows.chunks([one for one, _ in group], _at_once([dead for _, dead in group], heads)):
                code = _fit(part, located[0][0], found, workers) if len(part) > 1 else 0
                train.release()
                if code:
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
        if not isinstance(error, SegShiftError):  # a mistake of ours must be seen, though nobody waits for it
            traceback.print_exc(file=sys.stdout)
        text = f"{type(error).__name__}: {error}; each is left to a job of its own"
        print(text, flush=True)
        for one in part:
            with (one.folder / train.LOG).open("a") as log:
                print(text, file=log)
        return 0
    for cell, sentence in failed.items():
        print(f"{cell}: {sentence}; it is left to a job of its own", flush=True)
    return code


def _at_once(deaths: list[int], heads: int) -> int:
    """How many at once of models whose last so many attempts died without a word: a row that did so twice may
    have been too large for the machine's memory, so a quarter of it goes on."""
    most = min(heads or len(deaths), len(deaths))
    return max(1, most // 4) if max(deaths) == GIVEN_UP - 1 else most
