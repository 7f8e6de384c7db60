"""`segshift train CELL…`: train models, several at once where they share a frozen backbone; `adapt` is the
same loop."""

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from segshift import losses, objectives, plugins, provenance, records, training
from segshift import model as models
from segshift.cell import Cell
from segshift.contracts import is_frozen
from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.lock import CellLock
from segshift.paths import Results, locate
from segshift.placing import place
from segshift.prepared import Prepared
from segshift.settings import code_digest, digest, read_settings
from segshift.slices import VolumeChunks

MODEL = ("model.ckpt", "run.json")  # what makes a folder a finished model's
RESUMABLE = 75  # exit code: interrupted, its state is saved (EX_TEMPFAIL)


def run(
    cells: list[str], root: str = "results", device: str = "auto", workers: int = 0, adapt: bool = False
) -> int:
    """Train the given cells (folders or paths) together; finished ones are left alone.

    Returns:
        0, or ``RESUMABLE`` if a signal interrupted it.

    Raises:
        SegShiftError: bad input, or another process trains a cell.
    """
    located = [locate(cell, root) for cell in cells]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(RESUMABLE))  # until there is a state worth saving
    with ExitStack() as stack:
        todo = []
        for results, path in located:
            folder = results.run(path)
            settings = read_settings(folder)
            if adapt != ("adaptation" in settings):
                raise SegShiftError(
                    f"{path} names no adaptation; say segshift train"
                    if adapt
                    else f"{path} is an adaptation; say segshift adapt"
                )
            stack.enter_context(CellLock(folder))
            if not _finished(results, folder, settings):
                todo.append((folder, settings))
        return _fit(todo, located[0][0], find_device(device), workers) if todo else 0


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
    """The checkpoint that an adaptation starts from: its file and content."""
    folder = results.run(settings["cell"]).parents[1]
    file = folder / "model.ckpt"
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
    print(f"{settings['cell']}: is finished{older}", flush=True)
    place(folder)
    return True


def _fit(
    todo: list[tuple[Path, dict[str, Any]]], results: Results, device: torch.device, workers: int
) -> int:
    settings = [one for _, one in todo]
    _same(settings)
    started = int(time.time() * 1000)
    dataset = settings[0].get("target", settings[0]["source"])["dataset"]
    prepared = Prepared(results.data(dataset))
    torch.set_num_threads(settings[0]["training"].get("cpu_threads", 1))
    built = models.build(settings, results)
    _share(built, settings)
    _calibrate(built, settings[0], results)
    layout = torch.channels_last if settings[0]["training"].get("channels_last") else torch.preserve_format
    cells = [  # a module changes its layout in place only before its tensors have names in a checkpoint
        _cell(folder, one, model.to(device, memory_format=layout), results)
        for (folder, one), model in zip(todo, built, strict=True)
    ]
    try:
        training.fit(cells, prepared, workers)
    except training.Interrupted as interrupted:
        for cell in cells:
            cell.journal.end("KILLED", str(interrupted))
        print(f"{interrupted}; the same command goes on from there", flush=True)
        return RESUMABLE
    except BaseException as error:
        stopped = isinstance(error, SystemExit | KeyboardInterrupt)  # by a signal before the first step
        for cell in cells:
            if cell.journal:
                cell.journal.end("KILLED" if stopped else "FAILED", f"{type(error).__name__}: {error}")
        raise
    more = {"started": started, "ended": int(time.time() * 1000), "versions": provenance.versions()}
    more |= provenance.machine(device) | provenance.peak_memory(device)
    for cell in cells:
        cell.finish(more)
    return 0


def _same(settings: list[dict[str, Any]]) -> None:
    """Cells trained together share everything but head and learning rate."""
    shared = ("source", "target", "backbone", "tuning", "seed", "classes", "adaptation", "weights")
    for one in settings[1:]:
        for key in shared:
            if one.get(key) != settings[0].get(key) and key != "weights":
                raise SegShiftError(
                    f"{one['cell']} and {settings[0]['cell']} differ in {key}: train them apart"
                )
        for key in settings[0]["training"].keys() | one["training"].keys():
            if key != "learning_rate" and one["training"].get(key) != settings[0]["training"].get(key):
                raise SegShiftError(
                    f"{one['cell']} and {settings[0]['cell']} differ in {key}: train them apart"
                )


def _share(built: list[models.Segmenter], settings: list[dict[str, Any]]) -> None:
    """Can these models stand on one backbone, each with the bits of its solo run?

    Raises:
        SegShiftError: something in it learns, or would be in their checkpoints though only another needs it.
    """
    first, *others = settings
    for model, one in zip(built[1:], others, strict=True):
        if not is_frozen(model.backbone):
            reason = f"their backbone learns (tuning {one['tuning']['module']})"
        elif models.keeps_everything(one) and max(model.taps) != max(built[0].taps):
            reason = "their checkpoints hold the random backbone, of which they need different parts"
        else:
            continue
        raise SegShiftError(
            f"{first['cell']} and {one['cell']} cannot share a pass, {reason}: train them apart"
        )


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
