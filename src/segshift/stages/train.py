"""`segshift train CELL…`: train models, several at once where they share a frozen backbone; `adapt` is the
same loop."""

import gc
import json
import signal
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segshift import devices, losses, objectives, plugins, provenance, records, rows, training
from segshift import model as models
from segshift.cell import Cell
from segshift.contracts import is_frozen
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.finished_files import place
from segshift.lock import CellLock
from segshift.paths import Results, locate
from segshift.prepared import Prepared
from segshift.settings import code_digest, digest, read_settings
from segshift.slices import VolumeChunks

MODEL = ("model.ckpt", "run.json")  # what makes a folder a finished model's
RESUMABLE = 75  # exit code: interrupted, its state is saved (EX_TEMPFAIL)


class Todo(NamedTuple):
    """A model that is to be trained."""

    folder: Path
    settings: dict[str, Any]


def run(
    cells: list[str],
    root: str = "results",
    device: str = "auto",
    workers: int = 0,
    adapt: bool = False,
    heads: int = 0,
) -> int:
    """Train the given cells (folders or paths) from one pass; finished ones are left alone.

    Of several, one that another process trains is left to it, and one that fails does not disturb the others.

    Args:
        cells: what is trained.
        root: the results folder.
        device: auto, cpu or cuda.
        workers: processes that read slices.
        adapt: the cells are adaptations.
        heads: at most so many at once, one after the other; 0: all. It changes no bit.

    Returns:
        0, or ``RESUMABLE`` if a signal interrupted it.

    Raises:
        SegShiftError: bad input, another process trains the only cell, or some of several failed.
    """
    located = list(dict.fromkeys(locate(cell, root) for cell in cells))
    resumable_from_now_on()
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        found = [claim(stack, *one, adapt, skip=len(located) > 1) for one in located]
        todo = [one for one in found if one]
        same([one.settings for one in todo])
        for part in rows.chunks(todo, heads or len(todo)):
            code = fit(part, located[0][0], find_device(device), workers, failed)
            release()
            if code:
                return code
    if failed:
        raise SegShiftError(f"{len(failed)} of {len(todo)} failed: {', '.join(failed)}")
    return 0


def release() -> None:
    """Let go of models that were trained: they refer to themselves, and would stay beside the next ones."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def resumable_from_now_on() -> None:
    """A signal ends the process as one that may be started again, where there is no state worth saving."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda *_: sys.exit(RESUMABLE))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def claim(stack: ExitStack, results: Results, path: str, adapt: bool, skip: bool) -> Todo | None:
    """Lock a cell, unless there is nothing to do.

    Args:
        stack: holds the lock.
        results: the results folder.
        path: of the cell.
        adapt: it must be an adaptation.
        skip: one that another process trains is said and left to it.

    Raises:
        SegShiftError: it is of the other kind, or another process trains it.
    """
    folder = results.run(path)
    settings = read_settings(folder)
    if adapt != ("adaptation" in settings):
        raise SegShiftError(
            f"{path} names no adaptation; say segshift train"
            if adapt
            else f"{path} is an adaptation; say segshift adapt"
        )
    try:
        stack.enter_context(CellLock(folder))
    except SegShiftError as error:
        if not skip:
            raise
        print(f"{error}; it is left to it", flush=True)
        return None
    return None if _finished(results, folder, settings) else Todo(folder, settings)


def identity(results: Results, settings: dict[str, Any]) -> dict[str, Any]:
    """Digests of all that decides a model: settings, code, data, weights, and where an adaptation starts."""
    datasets = [settings[part]["dataset"] for part in ("source", "target") if part in settings]
    data = {}
    for name in datasets:
        prepared = Prepared(results.data(name))
        if prepared.classes != settings["classes"]:
            raise SegShiftError(
                f"{name} is prepared with the classes {prepared.classes}, not {settings['classes']}"
            )
        data[name] = prepared.sha256
    found = {"settings": digest(settings), "code": code_digest(settings), "data": data}
    found["files"] = records.files(results, settings["weights"])  # compared with the files as they are read
    if "adaptation" in settings:  # the same settings start elsewhere once the source model is another
        _, trained = _source(results, settings)
        found["start"] = models.weights_digest(trained["weights"])
    return found


def _source(results: Results, settings: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The checkpoint that an adaptation starts from: its file and content.

    A row of adaptations follows a row of trainings while a workflow still puts their models in place.
    """
    folder = results.run(settings["cell"]).parents[1]
    file = folder / "model.ckpt"
    if not file.exists() and (ready := folder / "resume" / "ready" / "model.ckpt").exists():
        file = ready
    return file, models.read_checkpoint(file, read_settings(folder))


def _finished(results: Results, folder: Path, settings: dict[str, Any]) -> bool:
    """Is there a finished model of this identity, in place or beside it in ``resume/ready``?

    One that was made by older code is finished too: a GPU-week is never lost to an edit, ``segshift rerun``
        renews.
    """
    ready = folder / "resume" / "ready"
    complete = [one for one in (ready, folder) if all((one / name).exists() for name in MODEL)]
    if not complete:
        return False
    content = models.read_any_checkpoint(complete[0] / "model.ckpt")
    wanted = identity(results, settings)
    # Where neither entry nor record knows a digest, its file is gone: what it was stands in the checkpoint.
    wanted["files"] = {name: digest or content["files"].get(name) for name, digest in wanted["files"].items()}
    code = wanted.pop("code")
    if {key: content.get(key) for key in wanted} != wanted:
        return False
    older = "" if content["code"] == code else " (by older code; segshift rerun makes it again)"
    together = json.loads((complete[0] / "run.json").read_text()).get("together")
    where = f", trained with {_others(together)}: what it said is in {rows.LOG}" if together else ""
    print(f"{settings['cell']}: is finished{older}{where}", flush=True)
    place(folder)
    return True


def fit(
    todo: list[Todo], results: Results, device: torch.device, workers: int, failed: dict[str, str]
) -> int:
    """Train models to their end, several from one pass.

    Args:
        todo: what is trained; of several, ``same`` was asked before.
        results: where data and weights are.
        device: where it is trained.
        workers: processes that read slices.
        failed: of several, one that fails is put in here by its cell, with its sentence.

    Returns:
        0, or ``RESUMABLE`` if a signal interrupted it.

    Raises:
        Apart: they cannot share a pass.
        SegShiftError: what is wrong with the only one, or with all.
    """
    started = int(time.time() * 1000)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first = todo[0].settings
    prepared = Prepared(results.data(first.get("target", first["source"])["dataset"]))
    devices.set_up(first["training"])
    cells = _cells(todo, results, device, failed)
    try:
        training.fit(cells, prepared, workers)
    except training.Interrupted as interrupted:
        for cell in (cell for cell in cells if not cell.failed):
            cell.journal.end("KILLED", str(interrupted))
        print(f"{interrupted}; the same command goes on from there", flush=True)
        return RESUMABLE
    except BaseException as error:
        stopped = isinstance(error, SystemExit | KeyboardInterrupt)  # by a signal before the first step
        for cell in cells:
            if cell.journal and not cell.failed:
                cell.journal.end("KILLED" if stopped else "FAILED", f"{type(error).__name__}: {error}")
        raise
    more = {"started": started, "ended": int(time.time() * 1000), "versions": provenance.versions()}
    more |= provenance.machine(device) | provenance.peak_memory(device)
    if len(cells) > 1:
        more["together"] = len(cells)  # peak memory is of all of them, on a CPU of the whole process
    for cell in cells:
        if not cell.failed:
            try:
                cell.finish(more)
            except Exception as error:  # such as a full disk: the others are finished all the same
                if len(cells) == 1:
                    raise
                cell.fail(error)
        if cell.failed:
            failed[cell.settings["cell"]] = cell.failed
    return 0


def _cells(todo: list[Todo], results: Results, device: torch.device, failed: dict[str, str]) -> list[Cell]:
    """Models on their device, ready to be trained; of several, without those that cannot be built."""
    settings = [one.settings for one in todo]
    broken: dict[str, Exception] = {}
    built = models.build(settings, results, broken if len(todo) > 1 else None)
    whole = [one for one in todo if one.settings["cell"] not in broken]
    if not whole:
        raise next(iter(broken.values()))
    _share(built, [one.settings for one in whole], results)
    _calibrate(built, whole[0].settings, results)
    layout = torch.channels_last if settings[0]["training"].get("channels_last") else torch.preserve_format
    cells: list[Cell] = []
    for one, model in zip(whole, built, strict=True):
        try:
            # a module changes its layout in place only before its tensors have names in a checkpoint
            cells.append(_cell(*one, model.to(device, memory_format=layout), results))
        except Exception as error:
            if len(todo) == 1:
                raise
            broken[one.settings["cell"]] = error
    if not cells:
        for one in todo:
            _tell(one, 0, broken[one.settings["cell"]], failed)
        raise next(iter(broken.values()))
    if len(cells) > 1 and not is_frozen(cells[0].model.backbone):  # an adaptation may have freed parts of it
        raise Apart(f"{cells[0].settings['cell']}: its backbone learns: train it apart", [])
    if len(cells) > 1 and _estimates(cells[0]):
        raise Apart(f"{cells[0].settings['cell']}: what it draws depends on it alone: train it apart", [])
    for one in todo if len(todo) > 1 else []:
        _tell(one, len(cells), broken.get(one.settings["cell"]), failed)
    for cell in cells if len(todo) > 1 else []:
        cell.log = cell.folder / rows.LOG
    return cells


def _estimates(cell: Cell) -> bool:
    """True if what a model draws depends on its own pseudo-labels."""
    return cell.objective.estimates and cell.settings["training"].get("sampling") == "rare_class"


def _others(together: int) -> str:
    return "one other" if together == 2 else f"{together - 1} others"


def _tell(one: Todo, together: int, error: Exception | None, failed: dict[str, str]) -> None:
    """A cell's own log says with how many it is trained, or why it is not."""
    how = f"from one pass with {_others(together)}" if together > 1 else "alone, the others cannot be built"
    text = f"{one.settings['cell']}: trained {how}"
    if error:
        text = f"segshift train: {error}"
        failed[one.settings["cell"]] = f"{type(error).__name__}: {error}"
        print(text, flush=True)
        if not isinstance(error, SegShiftError):
            traceback.print_exception(error, file=sys.stdout)
    with (one.folder / rows.LOG).open("a") as log:
        print(text, file=log)


class Apart(SegShiftError):
    """Models that cannot share a pass, though their settings look like it; ``groups`` of cells that can."""

    def __init__(self, sentence: str, groups: list[list[str]]) -> None:
        super().__init__(sentence)
        self.groups = groups


def same(settings: list[dict[str, Any]]) -> None:
    """Can cells share a pass, as far as their settings say?

    Raises:
        SegShiftError: they differ in what all see.
    """
    for one in settings[1:]:
        if name := rows.difference(settings[0], one):
            raise SegShiftError(f"{one['cell']} and {settings[0]['cell']} differ in {name}: train them apart")


def _copies(settings: list[dict[str, Any]], results: Results) -> set[str]:
    """Digests of the random backbones that adaptations find in the checkpoints that they start from."""
    adapted = [one for one in settings if "adaptation" in one]
    return {
        models.weights_digest({k: v for k, v in trained["weights"].items() if not k.startswith("head.")})
        for _, trained in (_source(results, one) for one in adapted)
    }


def _share(built: list[models.Segmenter], settings: list[dict[str, Any]], results: Results) -> None:
    """Can these models stand on one backbone, each with the bits of its solo run?

    Raises:
        Apart: something in it learns, or would be in their checkpoints though only another needs it.
    """
    first, reason, groups = settings[0], "", []
    if len(settings) > 1 and not is_frozen(built[0].backbone):
        reason = f"their backbone learns (tuning {settings[1]['tuning']['module']})"
    elif len(settings) > 1 and models.keeps_everything(first) and len(_copies(settings, results)) > 1:
        reason = "they start from different copies of the random backbone"
    elif models.keeps_everything(first) and len(depths := {max(model.taps) for model in built}) > 1:
        reason = "their checkpoints hold the random backbone, of which they need different parts"
        cells = [(one["cell"], max(model.taps)) for one, model in zip(settings, built, strict=True)]
        groups = [[cell for cell, deepest in cells if deepest == depth] for depth in sorted(depths)]
    if reason:
        text = f"{first['cell']} and {settings[1]['cell']} cannot share a pass, {reason}: train them apart"
        raise Apart(text, groups)


def _calibrate(built: list[models.Segmenter], settings: dict[str, Any], results: Results) -> None:
    """A random twin's batch-norm statistics, from the source's training slices. An adapted one has its
    source's."""
    if not settings["backbone"].get("calibrate") or "adaptation" in settings:
        return
    source = Prepared(results.data(settings["source"]["dataset"]))
    chunks = VolumeChunks(source, "train", built[0].crop)
    taps = sorted({tap for model in built for tap in model.taps})
    models.calibrate(built[0].backbone, taps, (chunks[index].images for index in range(len(chunks))))


def _cell(folder: Path, settings: dict[str, Any], model: models.Segmenter, results: Results) -> Cell:
    kept = models.kept(model, settings)
    loss = losses.criterion(settings["training"], settings["classes"])
    if adaptation := settings.get("adaptation"):
        file, trained = _source(results, settings)
        name = settings["source"]["dataset"]
        models.check_data(trained, name, Prepared(results.data(name)).sha256)
        models.check_files(trained, settings, results)
        models.load_state(model, trained["weights"], settings, file)
        takes_loss = "loss" in plugins.modules.parameters("adaptations", adaptation["module"])[0]
        objective = plugins.build("adaptations", adaptation, model, **({"loss": loss} if takes_loss else {}))
    else:
        objective = objectives.Supervised(model, loss)
    objective.classes = settings["classes"]
    return Cell(folder, settings, model, kept, objective, identity(results, settings))
