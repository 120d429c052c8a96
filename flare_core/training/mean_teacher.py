"""Mean teacher: the network learns from its own running average besides the real labels.

Seventh step of the data flow, for targets of which only a part is annotated (StMt's tumors).

References:
    StMt, section 2.3; lseventeen/Two-Stage-Hybrid-Supervision (decay 0.99 without ramp-up, the same augmented batch for
    both networks, hard labels at every level); Tarvainen and Valpola 2017.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from flare_core.training.losses import shrunk
from flare_core.training.objective import Forward, Lesson

if TYPE_CHECKING:
    from flare_core.recipe import Stage
    from flare_core.training.batch import Batch


@dataclass(frozen=True)
class MeanTeacher:
    """Loss against the real labels plus loss against the teacher's labels, in which real foreground is kept.

    Attributes:
        decay: share of the teacher that stays at every step.
        real_weight, pseudo_weight: of the two losses.
    """

    decay: float = 0.99
    real_weight: float = 1.0
    pseudo_weight: float = 1.0

    def lesson(self, stage: Stage, module: torch.nn.Module) -> Lesson:
        """Return the lesson of one training; its teacher starts as the network itself."""
        return _MeanTeacherLesson(self, stage, module)


class _MeanTeacherLesson(Lesson):
    def __init__(self, objective: MeanTeacher, stage: Stage, module: torch.nn.Module) -> None:
        self.objective, self.criterion, self.student = objective, stage.loss, module
        self.teacher = deepcopy(module).requires_grad_(False)

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        outputs = forward(batch.image)
        real = self.criterion(outputs, batch.channels, batch.taught)
        pseudo = self.criterion(outputs, self.pseudo_labels(forward, batch), batch.taught)
        return self.objective.real_weight * real + self.objective.pseudo_weight * pseudo

    @torch.no_grad()
    def pseudo_labels(self, forward: Forward, batch: Batch) -> list[torch.Tensor]:
        """Return the teacher's labels (B, x, y, z) of every output level, real foreground laid over them."""
        outputs = forward(batch.image, module=self.teacher)
        labels = []
        for logits in [outputs] if isinstance(outputs, torch.Tensor) else outputs:
            real = shrunk(batch.channels, logits.shape[2:])
            labels.append(torch.where(real > 0, real, logits.argmax(1)))
        return labels

    @torch.no_grad()
    def after_step(self, epoch: int, epochs: int) -> None:
        follow(self.teacher, self.student, self.objective.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state["teacher"])


@torch.no_grad()
def follow(teacher: torch.nn.Module, student: torch.nn.Module, decay: float) -> None:
    """Move every parameter of the teacher towards the student's: `decay` of itself, the rest of the student."""
    for own, other in zip(teacher.parameters(), student.parameters(), strict=True):
        own.mul_(decay).add_(other.detach(), alpha=1 - decay)
