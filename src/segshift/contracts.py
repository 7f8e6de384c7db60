"""What a backbone, a head and an adaptation promise each other.

A plug-in is one module, one file, in one of five folders:

* ``backbones/<m>.py``: ``build(*, image_size, **parameters) -> Backbone``; ``load(backbone, state)``, strict;
  ``LEARNS = {key: values}`` if a part of it counts as head (``of_head``) in entries with these values, unless
  the head takes one map.
* ``tunings/<m>.py``: ``build(backbone, *, side=None, **parameters) -> Backbone``: what may learn, and how.
* ``heads/<m>.py``: ``taps(backbone) -> list[int]``; ``build(maps, classes, **parameters) -> Head``; where it
  starts from weights, ``load(head, states)``; ``ANY_NUMBER = True`` if an entry's ``blocks`` may be more or
  fewer than ``taps`` gives, ``ONE_MAP = True`` if ``taps`` gives one of however many there are.
* ``adaptations/<m>.py``: ``build(model, **parameters) -> Objective``; ``ESTIMATES = True`` if its objective's
  ``estimates`` is.
* ``datasets/<m>.py``: ``cases(folder, **parameters) -> list[Case]``; ``read(case) -> Volume``.

Each may carry ``EXAMPLE = {...}``: parameters of its tiniest instance, for the product contract test.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Map(NamedTuple):
    """One feature map, known before any forward pass.

    ``stride`` is in pixels of the backbone's input, ``grid`` is (height, width) in tokens or pixels; ``bias``
    says whether the last convolution of a network of its own (head ``own``) has one.
    """

    channels: int
    stride: int
    grid: tuple[int, int]
    bias: bool = True


class Backbone(nn.Module, ABC):
    """Images to feature maps. A tuned backbone is a backbone.

    Subclasses set the attributes below and implement ``forward``. The token layout (class and register
    tokens, [B, N, D] or [B, h, w, D]) is the backbone's business; modules in ``after`` see patch tokens only.
    """

    image_size: int  # it resizes to this and normalizes by itself
    maps: list[Map]  # of every block or stage, shallow to deep; a neck's map comes last
    early: int  # the map that HQ heads take beside the last
    last: int  # the map that single-map heads take
    neck: int | None = None  # index of a neck's map, where there is one
    blocks: Sequence[nn.Module] = ()  # for module surgery (LoRA, BitFit)

    def __init__(self) -> None:
        super().__init__()
        # "i" -> module applied to the patch tokens (B, N, D) after block i. Only where `hooks` says so.
        self.after = nn.ModuleDict()

    #: Width of the patch tokens of each block if modules can be hung into `after`, else None.
    hooks: list[int] | None = None

    def use(self, taps: Sequence[int]) -> None:
        """Called once with the head's taps, after tuning: make or keep only what these maps need."""

    @abstractmethod
    def forward(self, images: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> one (B, C_i, h_i, w_i) per tap, in the order of ``taps``."""


class Head(nn.Module, ABC):
    """Feature maps to logits."""

    loss_weights: tuple[float, ...] = (1.0,)  # one per output
    whole_network = False  # True: the head is the end of a network of its own; adapting it adapts all of it

    @abstractmethod
    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps in the order of ``taps`` -> logits (B, classes, h, w), in training and evaluation alike."""

    def predict(self, outputs: list[Tensor]) -> Tensor:
        """The logits that count: for metrics, pseudo-labels and entropy."""
        return outputs[-1]


@dataclass
class Batch:
    """A batch on its way through training; shapes with B slices of H × W pixels.

    ``images`` (B, 1, H, W) in [0, 1] after all augmentation; ``plain`` the same before photometric
    distortion; ``labels`` (B, H, W) int64; ``labelled`` (B,) bool: whether an objective may look at that
    slice's label; ``maps`` the backbone's feature maps of ``images``, where the engine already has them (a
    frozen backbone).
    """

    images: Tensor
    plain: Tensor
    labels: Tensor
    labelled: Tensor
    maps: list[Tensor] | None = None


class Objective(ABC):
    """What a training minimizes. Source training is the objective ``supervised``; each adaptation is another.

    ``model`` is a ``segshift.model.Segmenter``. ``keep`` says which epoch's weights become ``model.ckpt``:
    ``best`` validation Dice, or the ``last``; with ``last``, no label of the validation split is looked at.
    """

    keep: str = "best"
    guard = False  # stop where it collapses and keep the source model; see docs/adaptation.md
    splits: tuple[str, ...] = ("train",)  # whose images are learned from; labels are of "train" alone
    labelled_slices: int | None = None  # of each labelled volume only so many first slices; None: all
    own_view = False  # its loss looks at other images than the batch's, so their features are no use
    estimates = False  # rare class sampling counts pseudo-labels where there are no labels
    estimated: Tensor | None = None  # then: pixels of each class in each slice, (slices, classes)
    classes: Sequence[str] = ()  # their names, for the journal

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def labelled(self, patients: list[str], seed: int) -> list[str]:
        """The patients (of those given, the training split's) whose labels may be used. Default: all."""
        return list(patients)

    def used(self, patients: list[str], labelled: list[str]) -> list[str]:
        """The patients whose slices are drawn at all. Default: all."""
        return list(patients)

    @abstractmethod
    def loss(self, batch: Batch, step: int) -> tuple[Tensor | None, dict[str, float]]:
        """The loss of a batch (None: this batch teaches nothing) and numbers for the journal."""

    def after_step(self) -> None:  # noqa: B027, most need nothing
        """Called after each optimizer step (for moving averages)."""

    def propose(self, images: Tensor, maps: list[Tensor] | None = None) -> tuple[Tensor, Tensor] | None:
        """Pseudo-labels (B, H, W) of slices, -1 where not kept, and predictions; None: it has none.

        ``maps``: features of these images, where the backbone is frozen and they are at hand.
        """
        return None

    def state(self) -> dict[str, Tensor]:
        """What else must survive an interruption (a teacher's weights)."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027, most have no state
        """The inverse of ``state``."""


def freeze(module: nn.Module) -> nn.Module:
    """Mark a root as frozen: no gradients, and evaluation mode for good, its batch norms' statistics too.

    What is hung into it afterwards (adapters) is not frozen if it carries ``learns = True``, see
    ``set_mode``. A part that carries ``of_head = True`` counts as head though it stands in a backbone (random
    layers at its exit): it learns under every tuning and in every adaptation.
    """
    module.requires_grad_(False)
    module.frozen = True
    module.eval()
    for part in module.modules():
        if getattr(part, "of_head", False):
            part.requires_grad_(True)
            part.learns = True
    return module


def set_mode(module: nn.Module, training: bool) -> None:
    """Training or evaluation mode, with frozen roots left in evaluation mode."""

    def visit(part: nn.Module, frozen: bool) -> None:
        frozen = (frozen or _marked(part, "frozen")) and not _marked(part, "learns")
        mode = training and not frozen
        if part.training != mode:  # asked before each step, and seldom another
            part.training = mode
        for child in part.children():
            visit(child, frozen)

    visit(module, False)


def _marked(part: nn.Module, name: str) -> bool:
    """A mark of a part or its class; ``getattr`` would look for a missing one among all parameters."""
    return vars(part).get(name, getattr(type(part), name, False))


def is_frozen(module: nn.Module) -> bool:
    """True if nothing in it learns: no parameter asks for a gradient and no buffer follows the data."""
    return not any(parameter.requires_grad for parameter in module.parameters()) and not _follows(
        module, False
    )


def _follows(module: nn.Module, frozen: bool) -> bool:
    frozen = (frozen or _marked(module, "frozen")) and not _marked(module, "learns")
    if not frozen and isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
        return True
    return any(_follows(child, frozen) for child in module.children())


def trained_state(module: nn.Module, everything: bool = False) -> dict[str, Tensor]:
    """What a checkpoint holds: all that learns, and buffers outside frozen roots (batch-norm statistics).

    With ``everything``, what is frozen too: for a network whose weights stand in no file (a random twin).
    A tensor that stands under several names (Rein's shared layers) is saved once, under its first name.
    The tensors are the module's own, so they follow it while it learns.
    """
    state = {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad or everything
    }

    def visit(part: nn.Module, prefix: str, frozen: bool) -> None:
        frozen = (frozen or _marked(part, "frozen")) and not _marked(part, "learns")
        if everything or not frozen:
            for name, buffer in part.named_buffers(recurse=False):
                if name not in part._non_persistent_buffers_set:
                    state[prefix + name] = buffer.detach()
        for name, child in part.named_children():
            visit(child, f"{prefix}{name}.", frozen)

    visit(module, "", False)
    return state


@torch.no_grad()
def load_trained_state(module: nn.Module, state: dict[str, Tensor], everything: bool = False) -> None:
    """The inverse of ``trained_state``; strict.

    Raises:
        ValueError: keys are missing, unexpected or of another shape; all of them are listed.
    """
    own = trained_state(module, everything)
    check_keys(own, state)
    for name, tensor in own.items():
        tensor.copy_(state[name])


def check_keys(expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Compare two state dicts by keys and shapes.

    Raises:
        ValueError: listing every missing, unexpected and misshaped key.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    misshaped = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    problems = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("misshaped", misshaped))
        if names
    ]
    if problems:
        raise ValueError("; ".join(problems))
