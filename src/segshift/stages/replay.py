"""`segshift replay CELL`: train a finished cell again beside the old one, and say whether both agree.

The replay has a results folder of its own, `results/replays/<cell>`, with links to the same data and weights
(and, of an adaptation, to the same source model), so that nothing of the old one is touched. On a CPU both
must have the same bits. A GPU adds in no fixed order, and training amplifies the last bit: there the best
validation Dice must agree within ``DICE`` points, or, where nothing was selected by it, the weights within
``WEIGHTS`` of their norm.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from segshift import model as models
from segshift import tracking
from segshift.errors import SegShiftError
from segshift.inference import CHECKPOINTS
from segshift.paths import Results, locate
from segshift.settings import read_settings
from segshift.stages import train

DICE, WEIGHTS = 0.5, 0.01
LINKED = ("data", "weights")
SOURCE = ("settings.yaml", "model.ckpt", "run.json")
MADE_WITH = ("code", "versions", "device", "hardware", "cpu_threads")


@dataclass
class Comparison:
    """Two checkpoints of one role. ``weights`` is |old − new| / |old| over all tensors, ``largest`` the
    largest single difference, ``dice`` that of the validation Dice that selected them, in points."""

    role: str
    same_bits: bool
    weights: float
    largest: float
    dice: float | None


def run(
    cell: str, root: str = "results", device: str | None = None, workers: int = 0, tolerance: float = DICE
) -> int:
    """Train the cell again and compare; the verdict is printed and kept as `replay.json` beside the replay.

    Args:
        cell: its folder or path.
        root: the results folder.
        device: default: that of the first training.
        workers: processes that read slices.
        tolerance: on a GPU, of the best validation Dice, in points.

    Returns:
        0, or the code of an interrupted training, which the same command takes up again.

    Raises:
        SegShiftError: the cell is not finished, or old and new do not agree.
    """
    results, path = locate(cell, root)
    folder = results.run(path)
    record = tracking.read_record(folder)
    if record is None:
        raise SegShiftError(f"{path} is not finished, so there is nothing to compare with; train it first")
    settings = read_settings(folder)
    models.read_checkpoint(folder / "model.ckpt", settings)
    again = _prepare(results, path, "adaptation" in settings)
    where = device or str(record["device"]).partition(":")[0]
    code = train.run([path], str(again.root), where, workers, adapt="adaptation" in settings)
    if code:
        return code
    replayed = tracking.read_record(again.run(path))
    comparisons = compare(folder, again.run(path), settings)
    verdict = _judge(comparisons, record, replayed, tolerance)
    _write(again.root / "replay.json", {"cell": path, **verdict, "made_with": _changed(record, replayed)})
    _tell(path, comparisons, record, replayed, again)
    if not verdict["agrees"]:
        raise SegShiftError(f"{path}: the replay does not agree: {verdict['sentence']}")
    print(f"{path}: the replay agrees: {verdict['sentence']}", flush=True)
    return 0


def _prepare(results: Results, path: str, adapted: bool) -> Results:
    """The replay's own results folder. One that was interrupted is taken up, one that ended is made anew."""
    again = Results(results.root / "replays" / path.replace("/", "__"))
    if (again.run(path) / "run.json").exists():
        shutil.rmtree(again.root)
    again.run(path).mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        _link(again.root / name, results.root / name)
    if adapted:
        source = "/".join(path.split("/")[:5])
        for name in SOURCE:
            _link(again.run(source) / name, results.run(source) / name)
    shutil.copyfile(results.run(path) / "settings.yaml", again.run(path) / "settings.yaml")
    return again


def _link(link: Path, to: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(to.resolve())


def compare(old: Path, new: Path, settings: dict[str, Any]) -> list[Comparison]:
    """The checkpoints of two folders, role by role."""
    selected = [tracking.read_record(folder)["best"]["dice"] for folder in (old, new)]
    found = []
    for role in CHECKPOINTS:
        files = [folder / f"{role}.ckpt" for folder in (old, new)]
        if not files[0].exists():
            continue
        ours, theirs = (models.read_checkpoint(file, settings)["weights"] for file in files)
        gaps = {name: (ours[name].double() - theirs[name].double()) for name in ours}
        length = torch.stack([one.double().norm() for one in ours.values()]).norm()
        gap = torch.stack([one.norm() for one in gaps.values()]).norm()
        known = role == "model" and None not in selected
        found.append(
            Comparison(
                role=role,
                same_bits=models.weights_digest(ours) == models.weights_digest(theirs),
                weights=float(gap / length) if length else float(gap),
                largest=max(float(one.abs().max()) for one in gaps.values() if one.numel()),
                dice=abs(selected[0] - selected[1]) if known else None,
            )
        )
    return found


def _judge(
    comparisons: list[Comparison], record: dict[str, Any], replayed: dict[str, Any], tolerance: float
) -> dict[str, Any]:
    """``agrees``, the sentence that says within what, and the numbers."""
    bits = all(one.same_bits for one in comparisons)
    on_cpu = record["device"] == replayed["device"] == "cpu"
    main = comparisons[0]
    if bits:
        agrees, sentence = True, "every checkpoint has the same bits"
    elif on_cpu:
        different = ", ".join(one.role for one in comparisons if not one.same_bits)
        agrees, sentence = False, f"on a CPU the bits must be the same, and those of {different} are not"
    elif main.dice is not None:
        agrees = main.dice <= tolerance
        sentence = f"the best validation Dice differs by {main.dice:.4f} points (tolerance {tolerance:g})"
    else:
        agrees = main.weights <= WEIGHTS
        sentence = f"the weights differ by {main.weights:.2e} of their norm (tolerance {WEIGHTS:g})"
    return {"agrees": agrees, "sentence": sentence, "checkpoints": [asdict(one) for one in comparisons]}


def _changed(record: dict[str, Any], replayed: dict[str, Any]) -> dict[str, list[Any]]:
    """What the two were made with, where it differs: the reason to look at first."""
    changed = {}
    for key in MADE_WITH:
        old, new = record.get(key), replayed.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names = [name for name in old | new if old.get(name) != new.get(name)]
            changed |= {name: [old.get(name), new.get(name)] for name in names}
        elif old != new:
            changed[key] = [old, new]
    return changed


def _tell(
    path: str, comparisons: list[Comparison], record: dict[str, Any], replayed: dict[str, Any], again: Results
) -> None:
    for one in comparisons:
        dice = "" if one.dice is None else f", best validation Dice by {one.dice:.4f} points"
        same = "the same bits" if one.same_bits else f"weights differ by {one.weights:.2e} of their norm, "
        same += "" if one.same_bits else f"by {one.largest:.2e} at most{dice}"
        print(f"  {one.role}: {same}")
    for name, (old, new) in _changed(record, replayed).items():
        print(f"  made with another {name}: {old} then, {new} now")
    seconds = [one.get("device_seconds") for one in (record, replayed)]
    print(f"  {seconds[0]} device-seconds then, {seconds[1]} now; the replay is {again.run(path)}")


def _write(file: Path, content: dict[str, Any]) -> None:
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(file)
