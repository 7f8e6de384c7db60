"""`segshift predict CELL scan.nii.gz -o mask.nii.gz`: segment scans and pictures, one or a folder of them.

A scan goes through the pre-processing of the dataset that the model learned from last, and the prediction
goes back as native scores do, see ``raw_grid.py``. Values of the mask are class indices in the order of the
model's classes, which are printed. Of several models the class probabilities are averaged.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segshift.devices import device as find_device
from segshift.errors import SegShiftError
from segshift.layers import canvas
from segshift.layers.scan_folders import Job, jobs
from segshift.predicting import Predictor

SHARES = "_probabilities.nii.gz"
RECORD = "predictions.json"  # in a folder of masks: which models made them
EVERY = 10.0  # seconds between two lines about one scan


def run(
    cell: str,
    image: Path,
    output: Path,
    root: str = "results",
    device: str = "auto",
    channel: int | None = None,
    mask: Path | None = None,
    ensemble: Sequence[str] = (),
    probabilities: bool = False,
    overwrite: bool = False,
    scale: str | None = None,
) -> None:
    """Segment one scan, or all in a folder.

    Args:
        cell: a model's folder or path.
        image: the scan: NIfTI, MGZ, NRRD, MetaImage, a folder of DICOM slices, or a picture; or a folder of
            such.
        output: the mask, in the format that its name says; of a folder, the folder of the masks.
        root: the results folder, where ``cell`` is a path.
        device: ``auto``, ``cpu`` or ``cuda``.
        channel: which channel of a 4D scan, or of nnU-Net's files, counted from 0; default: the one that the
            dataset's reader takes.
        mask: of the brain, for a model whose dataset has a step that wants one; of a folder, a folder with
            masks of the same names.
        ensemble: more models, by cell, or by seed of ``cell``.
        probabilities: write them too, as ``<mask>_probabilities.nii.gz``.
        overwrite: of a folder, make masks again that are there.
        scale: ``min_max`` or ``percentile``, for a model whose dataset has no step that scales values.

    Raises:
        SegShiftError: no such cell or image, an image of no known format, empty or with NaN, a mask that
            is missing or does not fit it, or a name of no known format. In a folder the others go on.
    """
    if not image.exists():
        raise SegShiftError(f"no such file: {image}")
    single = not image.is_dir() or canvas.suffix(output, canvas.MASKS) is not None
    if single:
        canvas.check_name(image, output)
        if output.resolve() == image.resolve():
            raise SegShiftError(f"the mask {output} would replace the scan")
    elif output.is_file():
        raise SegShiftError(f"{output} is a file; a folder of scans becomes a folder of masks")
    predictor = Predictor([cell, *_others(cell, ensemble)], root, find_device(device), channel, scale)
    work = _Work(predictor, mask, probabilities)
    if single:
        output.parent.mkdir(parents=True, exist_ok=True)
        work.one(Job(image.name, image, output))
    else:
        channels = {predictor.channel_of(one.data) for one in predictor.alike}
        number = channels.pop() if len(channels) == 1 else None
        found = jobs(image, output, number if isinstance(number, int) else None)
        work.all(found, output, overwrite)
    print("; ".join(f"{index} {name}" for index, name in enumerate(predictor.classes)))


def _others(cell: str, ensemble: Sequence[str]) -> list[str]:
    """Cells of an ensemble; a number is a seed of the first one."""
    parts = Path(cell).parts
    seed = len(parts) - (3 if len(parts) > 6 and not parts[-1].isdigit() else 1)
    return [str(Path(*parts[:seed], one, *parts[seed + 1 :])) if one.isdigit() else one for one in ensemble]


@dataclass
class _Work:
    """Segments one input after another; only one is in memory."""

    predictor: Predictor
    mask: Path | None
    probabilities: bool
    started: float = field(default_factory=time.monotonic)

    def one(self, job: Job) -> None:
        if job.problem:
            raise SegShiftError(job.problem)
        mask = self.mask
        if mask and mask.is_dir() and not (mask := mask / job.image.name).exists():
            raise SegShiftError(f"no such file: {mask}, the mask of {job.image.name}")
        found = self.predictor.predict(job.image, mask, self.probabilities, _Telling(job.name))
        if found.shares is not None:  # before the mask: where that is, all is
            found.canvas.write_shares(found.shares, _shares(job.output))
        found.canvas.write(found.labels, job.output)

    def all(self, found: list[Job], output: Path, overwrite: bool) -> None:
        self._record(output, overwrite)
        failed, made = {}, 0
        for number, job in enumerate(found, 1):
            before = f"[{number}/{len(found)}] {job.name}: "
            if self._there(job) and not overwrite:
                print(f"{before}{job.output.name} is there already, skipped", flush=True)
                continue
            start = time.monotonic()
            try:
                self.one(job)
            except SegShiftError as error:  # one scan's trouble must not cost the others
                failed[job.name] = str(error)
                print(f"{before}failed: {error}", flush=True)
                continue
            made += 1
            left = (time.monotonic() - self.started) / (made + len(failed)) * (len(found) - number)
            told = f"{before}{job.output.name} in {time.monotonic() - start:.1f} s"
            print(told + (f", the others in about {_span(left)}" if number < len(found) else ""), flush=True)
        if failed:
            raise SegShiftError(
                f"{len(failed)} of {len(found)} scans could not be segmented: " + "; ".join(failed.values())
            )

    def _there(self, job: Job) -> bool:
        return job.output.exists() and (not self.probabilities or _shares(job.output).exists())

    def _record(self, folder: Path, overwrite: bool) -> None:
        """Note whose masks a folder holds; those of other models are not continued."""
        ours: dict[str, Any] = {"models": self.predictor.digests, "classes": self.predictor.classes}
        ours |= {"channel": self.predictor.channel}
        ours |= {"scale": self.predictor.scale} if self.predictor.scale else {}
        file = folder / RECORD
        if not overwrite and file.exists() and _read(file) != ours:
            raise SegShiftError(
                f"{folder} holds masks that other models, another channel or scale made, see {RECORD}; "
                "choose another folder, or --overwrite"
            )
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{RECORD}.part"
        part.write_text(json.dumps(ours, indent=1) + "\n")
        part.replace(file)


class _Telling:
    """Says from time to time how far a scan is."""

    def __init__(self, name: str) -> None:
        self.name, self.start, self.last = name, time.monotonic(), time.monotonic()

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if now - self.last >= EVERY and share < 1:
            self.last = now
            left = (now - self.start) * (1 - share) / share
            print(f"{self.name}: {share:.0%}, ready in about {_span(left)}", flush=True)


def _shares(mask: Path) -> Path:
    """The file of probabilities beside a mask."""
    return mask.with_name(mask.name.removesuffix(canvas.suffix(mask) or "") + SHARES)


def _span(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError:
        return None
