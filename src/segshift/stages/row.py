"""`segshift train CELL… --row FILE`: what a workflow asks for, so that its other jobs find their work done.

Of the cells, those that can share a pass are trained together, and then scored; all else is left, and said:
a job of its own does it, alone. So nothing that goes wrong here may end a workflow's other jobs.
"""

import sys
import traceback
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import torch

from segshift import finished_files, rows
from segshift import model as models
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.paths import Results, locate
from segshift.settings import read_settings
from segshift.stages import evaluate, train
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
    config: str | None = None,
) -> int:
    """Train what can be trained together, and score it.

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
        config: the configuration whose experiments say what is scored; None: nothing is.

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
        done: list[Todo] = []
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
            elif _is_there(folder := results.run(path)):  # at an earlier attempt of the row
                done.append(Todo(folder, read_settings(folder)))
        for group in groups.values():
            for part in rows.chunks([one for one, _ in group], _at_once([dead for _, dead in group], heads)):
                failed: dict[str, str] = {}
                code = _fit(part, located[0][0], found, workers, failed) if len(part) > 1 else 0
                train.release()
                if code:
                    return code
                done += [one for one in part if one.settings["cell"] not in failed and _is_there(one.folder)]
        if config:
            _score(done, located[0][0], config, device, heads)
    return 0


def _is_there(folder: Path) -> bool:
    return (finished_files.folder(folder) / "run.json").exists()


def _score(todo: list[Todo], results: Results, config: str, device: str, heads: int) -> None:
    """Score finished models from one pass, at most so many at once; what goes wrong is left."""
    train.resumable_from_now_on()  # a training noted signals, to stop at its next step
    groups: dict[str | None, list[Todo]] = defaultdict(list)
    for one in todo:
        groups[rows.key(one.settings)].append(one)
    groups.pop(None, None)
    for group in groups.values():
        if models.keeps_everything(group[0].settings):
            continue  # a random backbone stands in each checkpoint
        for part in rows.chunks(group, heads or len(group)):
            if len(part) < 2:
                continue
            try:
                evaluate.together(part, results, config, device)
            except Exception as error:
                if not isinstance(error, SegShiftError):
                    traceback.print_exc(file=sys.stdout)
                print(f"{type(error).__name__}: {error}; each is scored by a job of its own", flush=True)
            train.release()


def _fit(
    part: list[Todo], results: Results, device: torch.device, workers: int, failed: dict[str, str]
) -> int:
    """Train some together; what fails is left, and put into ``failed`` by its cell."""
    own: dict[str, str] = {}
    try:
        code = train.fit(part, results, device, workers, own)
    except train.Apart as apart:
        print(f"{apart}; what cannot is left to a job of its own", flush=True)
        groups = [[one for one in part if one.settings["cell"] in cells] for cells in apart.groups]
        codes = (_fit(group, results, device, workers, failed) for group in groups if len(group) > 1)
        return next((code for code in codes if code), 0)
    except Exception as error:
        if not isinstance(error, SegShiftError):  # a mistake of ours must be seen, though nobody waits for it
            traceback.print_exc(file=sys.stdout)
        text = f"{type(error).__name__}: {error}; each is left to a job of its own"
        print(text, flush=True)
        failed |= dict.fromkeys((one.settings["cell"] for one in part), text)
        for one in part:
            with (one.folder / rows.LOG).open("a") as log:
                print(text, file=log)
        return 0
    for cell, sentence in own.items():
        print(f"{cell}: {sentence}; it is left to a job of its own", flush=True)
    failed |= own
    return code


def _at_once(deaths: list[int], heads: int) -> int:
    """How many at once of models whose last so many attempts died without a word: a row that did so twice may
    have been too large for the machine's memory, so a quarter of it goes on."""
    most = min(heads or len(deaths), len(deaths))
    return max(1, most // 4) if max(deaths) == GIVEN_UP - 1 else most
