"""A model in training: what learns, its optimizer and schedule, what was selected so far, and its folder's
files.

``resume/`` in a model's folder holds, while it is trained, ``state.ckpt`` and the selected weights of the
best epochs; afterwards ``ready/``, see ``placing``.
"""

import json
import math
import os
import shutil
import socket
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segshift import losses, optimizers, snapshots
from segshift import model as models
from segshift.contracts import Batch, Objective
from segshift.curves import Curves
from segshift.errors import SegShiftError
from segshift.finished_files import link, make_ready, place
from segshift.model import Segmenter
from segshift.optimizers import learning_rate
from segshift.tracking import Journal
from segshift.watch import Watch

# Beside tensors; what a saved state remembers.
STATE = ("done", "ended", "seconds", "run", "selected", "collapsed", "guarded")


class Cell:
    """One model in training.

    Args:
        folder: the model's folder.
        settings: its settings.yaml.
        model: built, on its device, with its starting weights.
        tensors: what its checkpoint holds, by name: the model's own tensors.
        objective: what it minimizes.
        identity: digests of settings, code, data and weights; a saved state of others is set aside.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], model: Segmenter, tensors: dict[str, Tensor],
        objective: Objective, identity: dict[str, Any],
    ) -> None:  # fmt: skip
        self.folder, self.settings, self.model, self.objective = folder, settings, model, objective
        self.tensors, self.identity = tensors, identity
        self.device = next(iter(model.parameters())).device
        training = settings["training"]
        self.learning = [p for p in model.parameters() if p.requires_grad]
        if not self.learning:
            raise SegShiftError(f"{settings['cell']}: no parameter learns")
        self.optimizer = optimizers.build(self.learning, training)
        self.criterion = losses.criterion(training, settings["classes"])
        self.autocast = models.autocast(training, self.device)
        self.curves = Curves()
        self.done, self.ended, self.seconds, self.run = 0, 0, 0.0, ""  # finished steps, finished epochs
        self.budget = ""  # whose labels of the target an adaptation looks at, in words
        self.collapsed: list[int] = []  # epochs
        self.guarded = ""  # why ``guard`` ended it
        self.journal: Journal | None = None
        self.failed = ""  # why it goes on no more, though others of its row do
        self.log: Path | None = None  # where its words go too, beside those of its row
        self.selected: dict[str, dict[str, Any]] = {}
        self.resume = folder / "resume"

    @property
    def over(self) -> bool:
        """Nothing is left to do: all steps are done, or early stopping or the guard ended it."""
        if self.guarded:
            return True
        patience = self.settings["training"].get("early_stopping")
        if patience and self.ended and self.done == self.ended * self.steps:
            return self.ended - self.selected["model"]["epoch"] >= patience or self.done >= self.total
        return self.done >= self.total

    @property
    def goes_on(self) -> bool:
        """There are steps that it has still to do."""
        return not self.failed and not self.over

    def say(self, text: str) -> None:
        """Tell whoever reads the log."""
        print(text, flush=True)
        if self.log:
            with self.log.open("a") as log:
                print(text, file=log)

    def fail(self, error: Exception) -> None:
        """End this model alone; others that are trained with it go on."""
        self.failed = f"{type(error).__name__}: {error}"
        if self.journal:
            self.journal.end("FAILED", self.failed)
        if not isinstance(error, SegShiftError):  # a mistake of ours: where it is
            self.say("".join(traceback.format_exception(error)).rstrip())
        self.say(f"segshift train: {error}" if isinstance(error, SegShiftError) else self.failed)
        self.optimizer = None  # its memory is for the others
        for parameter in self.learning:
            parameter.grad = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    # ---- start and resume ------------------------------------------------------------------------------

    def begin(self, steps: int, labelled: list[str]) -> None:
        """Take up a saved state, if there is one of this identity, and open the journal of this attempt."""
        self.steps = steps
        self.total = steps * self.settings["training"]["epochs"]
        self.labelled = labelled
        if self.settings["training"].get("early_stopping") and self.objective.keep != "best":
            raise SegShiftError(
                f"{self.settings['cell']}: early_stopping looks at validation labels, which this adaptation "
                "must not; say early_stopping: null for it"
            )
        self._load()
        self.begun, self.before = time.monotonic(), self.done
        if not self.done:  # of an earlier training
            shutil.rmtree(self.folder / "snapshots", ignore_errors=True)
        self.journal = Journal(self.folder)
        self.run = self.run or f"{int(time.time() * 1000):x}{os.getpid():x}"
        self.journal.start(self.run, self._parameters(), _tags(self.device))
        if self.done:
            self.say(f"{self.settings['cell']}: goes on after step {self.done} of {self.total}")

    def _parameters(self) -> dict[str, Any]:
        return {**self.settings["training"], "steps": self.total, **self.count()}

    def count(self) -> dict[str, int]:
        """Parameters that learn (of these, the head's), and that do not."""
        learning = sum(p.numel() for p in self.learning)
        head = sum(p.numel() for p in self.model.head.parameters() if p.requires_grad)
        frozen = sum(p.numel() for p in self.model.parameters()) - learning
        return {"trainable": learning, "trainable_head": head, "frozen": frozen}

    def _load(self) -> None:
        file = self.resume / "state.ckpt"
        if not file.exists():
            return
        try:
            state = torch.load(file, map_location=self.device, weights_only=True)
            fits = state["identity"] == self.identity
        except Exception as error:  # a torn file, for whatever reason, must not end a training
            self.say(f"{file} cannot be read ({error}) and is set aside")
            fits = False
        if not fits:
            aside = self.resume.with_name(f"resume.{int(time.time() * 1000)}")
            aside.mkdir()
            for part in self.resume.glob("*.ckpt"):
                part.rename(aside / part.name)
            what = "a saved state of other settings, code or data"
            self.say(f"{self.settings['cell']}: {what} was set aside in {aside}")
            return
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(state["tensors"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.load_state(state["objective"])
        self.curves.load_state(state["curves"])
        for name in STATE:
            setattr(self, name, state[name])

    def save(self) -> None:
        """Write the state by rename, then remove selected weights that it no longer names."""
        self.resume.mkdir(parents=True, exist_ok=True)
        state = {"identity": self.identity, "optimizer": self.optimizer.state_dict(), "tensors": self.tensors}
        state |= {name: getattr(self, name) for name in STATE}
        state |= {"objective": self.objective.state(), "curves": self.curves.state()}
        models.save(state, self.resume / "state.ckpt")
        named = {self._selected_file(role).name for role in self.selected}
        for file in self.resume.glob("*-*.ckpt"):
            if file.name not in named:
                file.unlink()

    # ---- a step ----------------------------------------------------------------------------------------

    def step(self, batch: Batch, points: int) -> None:
        """One step of the optimizer, on a batch that is passed through the model in parts of ``batch_size``.

        Raises:
            SegShiftError: the loss is not finite.
        """
        rate = learning_rate(self.done, self.total, self.settings["training"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        taught, numbers = self._backward(batch)
        if taught:
            numbers["gradient_norm"] = float(self._clip())
            self.optimizer.step()
            self.objective.after_step()
        self.optimizer.zero_grad(set_to_none=True)  # others of its row need the memory
        self.curves.add(numbers | {"learning_rate": rate})
        if self.done % max(1, self.total // points) == 0 or self.done + 1 == self.total:
            values = {f"train/{name}": value for name, value in numbers.items()}
            self.journal.log(self.done, values | {"train/learning_rate": rate})
        self.done += 1

    def spent(self, seconds: float, images: int = 0) -> None:
        """So much of the device's time was its own, or its share; ``images``: of a step on so many slices."""
        self.seconds += seconds
        if images:
            self.curves.timed(images, seconds)

    def _backward(self, batch: Batch) -> tuple[bool, dict[str, float]]:
        """Gradients of a batch, part by part; did anything teach, and the parts' numbers, weighted by size.

        The loss is the mean over the batch where it is a mean over slices; parts that teach nothing add
        nothing.
        """
        numbers, taught = Curves(), False
        size, whole = self.settings["training"]["batch_size"], len(batch.images)
        for start in range(0, whole, size):
            one = batch if whole <= size else part(batch, slice(start, start + size))
            share = len(one.images) / whole
            with self.autocast():
                loss, said = self.objective.loss(one, self.done)
            numbers.add(said)
            if loss is not None:
                if not torch.isfinite(loss):
                    cell = self.settings["cell"]
                    raise SegShiftError(f"{cell}: the loss is {loss.item()} at step {self.done}")
                (loss if one is batch else loss * share).backward()
                numbers.add({"loss": loss.item()}, share)
                taught = True
        return taught, numbers.means()

    def _clip(self) -> Tensor:
        """Norm of the gradient of all that learns, before it is clipped where the settings say so."""
        if limit := self.settings["training"].get("clip_gradients"):
            return nn.utils.clip_grad_norm_(self.learning, limit)
        return nn.utils.get_total_norm([p.grad for p in self.learning if p.grad is not None])

    def validation_loss(self, outputs: list[Tensor], labels: Tensor) -> float:
        """The training loss on validation slices; source training and adaptations by labels alike."""
        return float(
            losses.weighted(outputs, self.model.head.loss_weights, lambda one: self.criterion(one, labels))
        )

    # ---- selection and the end -------------------------------------------------------------------------

    def end_epoch(
        self, epoch: int, dice: float | None, loss: float | None, by_class: list[float | None] | None,
        class_losses: list[float | None] | None, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        """Keep this epoch's weights where they are the best so far. Epochs count from 1."""
        if self.objective.keep == "best":
            self._keep("model", epoch, -1.0 if dice is None else dice, dice, loss)
            if "adaptation" not in self.settings:
                # nan is neither better nor worse than anything: it would be kept, or keep all others out
                self._keep("lowest_loss", epoch, -math.inf if math.isnan(loss) else -loss, dice, loss)
            names = self.settings["classes"]
            values = {"validation/loss": loss, "validation/dice": dice}
            for what, of, found in (("dice", names[1:], by_class), ("loss", names, class_losses)):
                values |= {f"validation/{what}/{name}": one for name, one in zip(of, found, strict=True)}
        else:
            values = {}
        if watch:
            found = watch.values(self.settings["classes"], labels=self.objective.keep == "best")
            values |= {f"validation/{name}": value for name, value in found.items()}
            self._watched(epoch, watch)
        values |= self.curves.end()
        self.journal.log(self.done - 1, {name: value for name, value in values.items() if value is not None})
        self.ended = epoch
        left = (self.total - self.done) * (time.monotonic() - self.begun) / max(self.done - self.before, 1)
        shown = "" if dice is None else f" validation Dice {dice:.2f}, loss {loss:.4f},"
        epochs = self.total // self.steps
        self.say(f"{self.settings['cell']}: epoch {epoch} of {epochs},{shown} {left:.0f} s left")

    def picture(self, shown: dict[str, tuple[Any, Any, Any]]) -> None:
        """Write the picture of the epoch that just ended: by caption image, truth and prediction."""
        name = f"{self.settings['cell']}, epoch {self.ended} of {self.total // self.steps}"
        file = snapshots.write(self.folder, self.ended, name, shown, len(self.settings["classes"]))
        self.journal.event(
            "picture", step=self.done - 1, key="validation/slices", file=f"snapshots/{file.name}"
        )

    def keep_source(self, dice: float | None, loss: float | None) -> None:
        """With ``guard``: the source model is the best so far, and stays at hand."""
        self._keep("source", 0, 0.0, dice, loss)
        self._keep("model", 0, -1.0 if dice is None else dice, dice, loss)

    def _watched(self, epoch: int, watch: Watch) -> None:
        """Report a collapse; with ``guard``, end there with the source model."""
        if not watch.collapsed:
            return
        self.collapsed.append(epoch)
        self.say(f"{self.settings['cell']}: collapsed at epoch {epoch}: one class everywhere")
        if self.objective.guard:
            self.guarded = f"collapsed at epoch {epoch}, the source model is kept"
            self.journal.event("guard", why=self.guarded)
            file = self._selected_file("source")
            self.selected["model"] = {**self.selected["source"], "score": math.inf}
            if not (kept := self._selected_file("model")).exists():
                link(file, kept)

    def _keep(self, role: str, epoch: int, score: float, dice: float | None, loss: float | None) -> None:
        if role in self.selected and score <= self.selected[role]["score"]:
            return
        checkpoint = self._checkpoint(epoch)
        digest = models.weights_digest(checkpoint["weights"])
        self.selected[role] = {"epoch": epoch, "score": score, "dice": dice, "loss": loss, "digest": digest}
        self.resume.mkdir(parents=True, exist_ok=True)
        models.save(checkpoint, self._selected_file(role))

    def _selected_file(self, role: str) -> Path:
        # The epoch is in the name, so that a state always finds the weights of its own time.
        return self.resume / f"{role}-{self.selected[role]['epoch']}.ckpt"

    def _checkpoint(self, epoch: int) -> dict[str, Any]:
        weights = {name: tensor.cpu().clone() for name, tensor in self.tensors.items()}
        return {"cell": self.settings["cell"], "epoch": epoch, "weights": weights, **self.identity}

    def finish(self, more: dict[str, Any]) -> None:
        """Put the selected weights and run.json in place, each by rename; run.json comes last."""
        epochs = self.done // self.steps
        if "adaptation" in self.settings:
            role = "last" if self.objective.keep == "best" else "model"
            self._keep(role, epochs, 0.0, None, None)
        best = self.selected["model"]
        record = {
            "run": self.run,
            "cell": self.settings["cell"],
            "parameters": self.count(),
            "model": best["digest"],
            **self.identity,
            "seed": self.settings["seed"],
            "labelled": self.labelled,
            "epochs": epochs,
            "best": {key: best[key] for key in ("epoch", "dice", "loss")},
            **(
                {"budget": self.budget, "collapsed": self.collapsed, "guard": self.guarded}
                if "adaptation" in self.settings
                else {}
            ),
            "device": str(self.device),
            "device_seconds": round(self.seconds, 1),
            **more,
            "configuration": self.settings,
        }
        files = {f"{role}.ckpt": self._selected_file(role) for role in self.selected.keys() - {"source"}}
        make_ready(self.folder, files, json.dumps(record, indent=1) + "\n")
        self.journal.end("FINISHED")
        place(self.folder)


def part(batch: Batch, where: slice) -> Batch:
    """Some slices of a batch; where ``plain`` is ``images``, it stays so."""
    images = batch.images[where]
    return replace(
        batch,
        images=images,
        plain=images if batch.plain is batch.images else batch.plain[where],
        labels=batch.labels[where],
        labelled=batch.labelled[where],
        maps=None if batch.maps is None else [one[where] for one in batch.maps],
    )


def _tags(device: torch.device) -> dict[str, str]:
    """Where an attempt ran."""
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": socket.gethostname(), "device": str(device)} | ({"job": job} if job else {})
