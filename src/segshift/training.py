"""Training: a run is weights, optimizers and one integer.

The engine holds a list of cells that may share the pass through a frozen backbone; each ends with the bits of
its solo run. All randomness is a function of (seed, step) or (seed, epoch, position), schedules are functions
of the step, and state is written between steps only, so a killed run goes on to the same bits. Source
training and every adaptation are objectives in this one loop.
"""

import logging
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segshift import devices, snapshots, watch
from segshift.cell import Cell
from segshift.contracts import Batch, set_mode
from segshift.errors import SegShiftError
from segshift.layers.pseudo_labels import per_class
from segshift.lightning_import import LightningEnvironment, LightningModule, Trainer
from segshift.loading import Loader
from segshift.prepared import Prepared
from segshift.rows import sampling_seed
from segshift.sampling import key
from segshift.shared_pass import SharedPass
from segshift.slices import (
    CHUNK,
    Chunk,
    Drawn,
    Positions,
    TrainingSlices,
    VolumeChunks,
    augmented,
    channels,
    crop,
    tensors,
)
from segshift.validation import Tally

SAVE_EVERY = 60.0  # seconds between saves within an epoch; no number depends on it
POINTS = 200  # of a training curve
# Warnings of Lightning that are about decisions made here.
SILENCED = (
    "configure_optimizers",
    "does not have many workers",
    "`_DataLoader",
    "LeafSpec",
    "The `srun` command is available",
    "GPU available but not used",
    r"module\(s\) in eval mode",
)


class Interrupted(Exception):
    """A signal asked the training to stop; its state is saved."""


class Training(LightningModule):
    """Lightning runs the loop and moves data; steps, state and randomness are ours.

    Args:
        cells: the models in training; data, seed, batch size, epochs and sampling are one for all of them.
        prepared: the dataset that is learned from.
        workers: processes that read slices; the result does not depend on it.
    """

    def __init__(self, cells: list[Cell], prepared: Prepared, workers: int = 0) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False
        self.cells, self.workers = cells, workers
        self.models = nn.ModuleList(cell.model for cell in cells)
        self.settings = settings = cells[0].settings
        self.recipe = settings["training"].get("augment") or {}
        patients = list(dict.fromkeys(volume.patient for volume in prepared.volumes("train")))
        seed = sampling_seed(settings)
        labelled = cells[0].objective.labelled(patients, seed)
        used = cells[0].objective.used(patients, labelled)
        objective = cells[0].objective
        self.train_slices = TrainingSlices(
            prepared, used, labelled, self.recipe, seed, objective.splits,
            objective.labelled_slices,
        )  # fmt: skip
        self.multiple = cells[0].model.crop
        self.validation = VolumeChunks(prepared, "validation", self.multiple)
        training = settings["training"]
        how, batch_size = training.get("sampling", "uniform"), training["batch_size"]
        counted = how == "class_count" or (how == "rare_class" and not objective.estimates)
        if counted and not self.train_slices.labelled.all():
            raise SegShiftError(
                f"{settings['cell']}: sampling: {how} counts labels of patients whose labels must not "
                "be looked at; say sampling: uniform"
            )
        size = batch_size * training.get("accumulate", 1)
        rare = {
            "temperature": training.get("sampling_temperature"),
            "minimum": training.get("sampling_pixels"),
        }
        rare = {name: value for name, value in rare.items() if value is not None}
        self.positions = Positions(self.train_slices, how, size, lambda: self.done, **rare)
        self.steps = self.positions.steps
        self.epochs = settings["training"]["epochs"]
        self.shared = SharedPass([cell.model for cell in cells], settings, cells[0].autocast)
        self.stop: int | None = None
        self.pictured, self.picture_epochs = snapshots.chosen(prepared), snapshots.epochs(self.epochs)
        watched = {volume.patient for volume in self.validation.volumes}
        self.lap = time.monotonic()
        for cell in cells:
            with self._apart(cell):
                cell.budget = watch.budget(cell.objective, len(labelled), len(watched))
                cell.begin(self.steps, labelled)
        self.at = self.done  # the step of the batch that comes next

    @property
    def done(self) -> int:
        """Finished steps: those of the cell that is furthest behind, of those that still have some to do."""
        begun = [cell.done for cell in self.cells if not cell.failed]
        return min((cell.done for cell in self.cells if cell.goes_on), default=begun[0] if begun else 0)

    def _due(self) -> list[Cell]:
        """The cells whose epoch just ended; another may have been further when all were killed."""
        living = [cell for cell in self.cells if not cell.failed and cell.done == self.at]
        if not self.at:  # before the first step, see ``_source``
            return [cell for cell in living if cell.objective.guard]
        return [cell for cell in living if cell.ended * self.steps < cell.done]

    @contextmanager
    def _apart(self, cell: Cell) -> Iterator[None]:
        """What goes wrong in a cell's own part ends that cell alone, unless it is the last one."""
        try:
            yield
        except Exception as error:
            if all(other.failed for other in self.cells if other is not cell):
                raise
            cell.fail(error)

    def _spent(self) -> float:
        """Seconds since this was asked last."""
        if self.device.type == "cuda":  # work that is only asked for would be charged to whom waits for it
            torch.cuda.synchronize(self.device)
        before, self.lap = self.lap, time.monotonic()
        return self.lap - before

    # ---- features --------------------------------------------------------------------------------------

    def _maps(self, split: str, images: Tensor, indices: list[int] | slice) -> list[Tensor] | None:
        if split == "train" and self.cells[0].objective.own_view:
            return None
        return self.shared.maps(split, images, indices)

    def fill_caches(self) -> None:
        """Compute all features once, where the settings ask for it."""
        kind = self.settings["training"].get("cache_features", "none")
        if kind == "none":
            return
        if self.cells[0].objective.own_view:
            raise SegShiftError(
                f"{self.settings['cell']}: cache_features: {kind} needs images that stay as they are, and "
                "the student sees a strong view of them; say cache_features: none, or student: weak"
            )
        set_mode(self.models, False)
        splits = {
            "train": (self._train_images(), len(self.train_slices)),
            "validation": (((c.first, c.images) for c in self.validation), self.validation.slices),
        }
        self.shared.fill(splits, self.device)

    def _train_images(self):
        for first in range(0, len(self.train_slices), CHUNK):
            indices = range(first, min(first + CHUNK, len(self.train_slices)))
            images = [torch.from_numpy(self.train_slices.image(index)[0]) for index in indices]
            yield first, crop(channels(torch.stack(images)), self.multiple)

    def _estimate(self) -> None:
        """Class counts of slices without labels, from pseudo-labels, anew at the start of each epoch."""
        objective = self.cells[0].objective
        if not objective.estimates or self.positions.how != "rare_class":
            return
        if len(self.cells) > 1:
            raise SegShiftError(f"{self.settings['cell']}: what it draws depends on it alone: train it apart")
        if self.done % self.steps == 0:
            objective.estimated = torch.from_numpy(self.train_slices.counts.astype(np.int64))
            for first, images in self._train_images():
                where = slice(first, first + len(images))
                cache = self.shared.caches.get("train")
                maps = self.shared.own(self.cells[0].model, cache and cache.take(where, self.device))
                pseudo, _ = objective.propose(images.to(self.device), maps)
                found = torch.stack([per_class(one, len(self.settings["classes"])) for one in pseudo]).cpu()
                known = torch.from_numpy(self.train_slices.labelled[where]).unsqueeze(1)
                objective.estimated[where] = torch.where(known, objective.estimated[where], found)
        self.train_slices.counts = objective.estimated.cpu().numpy()

    # ---- Lightning's hooks -----------------------------------------------------------------------------

    def configure_optimizers(self) -> None:
        """Each cell has its own."""

    def train_dataloader(self) -> DataLoader:
        self._estimate()
        self.at = self.done
        return Loader(self.train_slices, self.positions, self.workers, self.device)

    def val_dataloader(self) -> DataLoader:
        # for a GPU in memory that it copies from while it computes
        pin = self.device.type == "cuda"
        return DataLoader(self.validation, batch_size=None, num_workers=self.workers, pin_memory=pin)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return tensors(batch, device)

    def on_train_start(self) -> None:
        # Lightning's own handlers would stop between batches without our state; ours only set a flag.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._note)
        if self.done == 0 and any(cell.objective.guard for cell in self.cells):
            self._source()

    @torch.no_grad()
    def _source(self) -> None:
        """How good the models are that adaptations with ``guard`` start from."""
        self.on_validation_epoch_start()
        for index in range(len(self.validation)):
            self.validation_step(self.transfer_batch_to_device(self.validation[index], self.device, 0), index)
        for cell in self._due():
            found = self.tallies[cell].found()
            with self._apart(cell):
                cell.keep_source(found.dice, found.loss)

    def _note(self, number: int, frame: Any) -> None:
        self.stop = number

    def on_train_epoch_start(self) -> None:
        self._share([cell for cell in self.cells if cell.goes_on])

    def training_step(self, drawn: Drawn, index: int) -> None:
        step, self.at = self.at, self.at + 1
        # Another may have been further when all were killed, and the one that was behind may have failed.
        if taking := [cell for cell in self.cells if cell.goes_on and cell.done == step]:
            self._step(drawn, step, taking)
        if self.at % self.steps:
            self._between_steps()

    def _step(self, drawn: Drawn, step: int, cells: list[Cell]) -> None:
        """One step of some cells on one batch, whose pass they share, and the time that it takes."""
        images, plain, labels = augmented(drawn)
        if self.multiple > 1:
            same = plain is images
            images, labels = crop(images, self.multiple), crop(labels, self.multiple)
            plain = images if same else crop(plain, self.multiple)
        maps = self._maps("train", images, drawn.indices)
        together = self._spent() / len(cells)
        for cell in cells:
            with self._apart(cell):
                torch.manual_seed(key(cell.settings["seed"], "step", step))
                own = self.shared.own(cell.model, maps)
                cell.step(Batch(images, plain, labels, drawn.labelled, own), POINTS)
            cell.spent(together + self._spent(), len(images))

    def _share(self, cells: list[Cell]) -> None:
        """Time that went for some cells alike."""
        seconds = self._spent()
        for cell in cells:
            cell.spent(seconds / len(cells))

    def _between_steps(self) -> None:
        late = time.monotonic() - self.saved > SAVE_EVERY
        if late or self.stop:
            self.save()
        if self.stop:
            raise Interrupted(f"signal {self.stop} after step {self.done}")

    def on_validation_epoch_start(self) -> None:
        volumes = len(self.validation.volumes)
        self.tallies = {cell: Tally(cell, volumes) for cell in self._due()}

    def validation_step(self, chunk: Chunk, index: int) -> None:
        set_mode(self.models, False)
        if due := [cell for cell in self.tallies if not cell.failed]:
            where = slice(chunk.first, chunk.first + len(chunk.images))
            maps = self._maps("validation", chunk.images, where)
            pictured = self.pictured if self.at // self.steps in self.picture_epochs else {}
            self._share(due)
            for cell in due:
                with self._apart(cell):
                    self.tallies[cell].add(chunk, self.shared.own(cell.model, maps), pictured)
                cell.spent(self._spent())
        if self.stop:
            raise Interrupted(f"signal {self.stop} while validating after step {self.done}")

    def on_train_epoch_end(self) -> None:
        epoch = self.at // self.steps
        for cell in self._due():
            tally = self.tallies[cell]
            with self._apart(cell):
                cell.end_epoch(epoch, *tally.found(), tally.watch)
                if tally.shown:
                    cell.picture(tally.shown)
            cell.spent(self._spent())
        self.save()
        self.trainer.should_stop = not any(cell.goes_on for cell in self.cells)
        if self.stop:
            raise Interrupted(f"signal {self.stop} after epoch {epoch}")

    def save(self) -> None:
        """Write every cell's state."""
        living = [cell for cell in self.cells if not cell.failed]
        self._share(living)
        for cell in living:
            with self._apart(cell):
                cell.save()
        self.saved = time.monotonic()


def fit(cells: list[Cell], prepared: Prepared, workers: int = 0) -> None:
    """Train (or adapt) cells to their end, from wherever their saved states are.

    Raises:
        Interrupted: a signal came; the state is saved.
        SegShiftError: a loss is not finite, the features do not fit in memory, and the like.
    """
    _quiet()
    devices.set_up(cells[0].settings["training"])
    training = Training(cells, prepared, workers)
    if not any(cell.goes_on for cell in cells):
        return
    training.to(cells[0].device)
    _compile(cells)
    training.fill_caches()
    training.saved = time.monotonic()
    trainer = Trainer(
        max_epochs=training.epochs - training.done // training.steps,
        accelerator="gpu" if cells[0].device.type == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,  # the sampler's length says what is left of an epoch
        plugins=[
            LightningEnvironment()
        ],  # inside Slurm, Lightning would requeue jobs behind Snakemake's back
        inference_mode=False,
    )
    trainer.fit(training)


def _compile(cells: list[Cell]) -> None:
    """``torch.compile`` where the settings ask for it; a shared backbone once."""
    if cells[0].settings["training"].get("compile"):
        parts = [part for cell in cells for part in (cell.model.backbone, cell.model.head)]
        for part in {id(part): part for part in parts}.values():
            part.compile()


def _quiet() -> None:
    """Lightning explains itself at length; what matters to a user is printed by us."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in SILENCED:
        warnings.filterwarnings("ignore", f".*{text}.*")
