"""A second set of weights that a model is taught by: its moving average, or a copy from time to time."""

import copy

import torch
from torch import Tensor, nn

from segshift.contracts import is_frozen, trained_state


class Teacher:
    """A segmenter like another, in evaluation mode, that learns nothing by itself.

    A frozen backbone is shared; what learns, and the buffers beside it, are its own.

    Attributes:
        model: the teacher, ready to predict.
    """

    def __init__(self, student: nn.Module) -> None:
        backbone = getattr(student, "backbone", None)
        shared = backbone is not None and is_frozen(backbone)
        self.model = copy.deepcopy(student, {id(backbone): backbone} if shared else {})
        self.own, self.student = trained_state(self.model), trained_state(student)
        self.model.requires_grad_(False).eval()
        self.updates = 0

    @torch.no_grad()
    def copy(self) -> None:
        """Become the student as it is now."""
        for name, own in self.own.items():
            own.copy_(self.student[name])

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """One step of the moving average: own = α own + (1 - α) student.

        α = min(1 - 1/(k + 1), decay) at the k-th update, so that a young teacher is the mean of all students
        so far and not for long what it started from (Tarvainen and Valpola 2017, Mean Teacher, section 3.1;
        Hoyer et al. 2022, DAFormer, eq. 5). Batch-norm statistics follow alike; counters are copied.
        """
        self.updates += 1
        rate = min(1 - 1 / (self.updates + 1), decay)
        for name, own in self.own.items():
            if own.is_floating_point():
                own.lerp_(self.student[name], 1 - rate)
            else:
                own.copy_(self.student[name])

    def state(self) -> dict[str, Tensor]:
        """What must survive an interruption."""
        return {f"teacher.{name}": own for name, own in self.own.items()} | {
            "teacher.updates": torch.tensor(self.updates)
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of ``state``."""
        for name, own in self.own.items():
            own.copy_(state[f"teacher.{name}"])
        self.updates = int(state["teacher.updates"])
