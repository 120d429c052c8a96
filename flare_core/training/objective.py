"""What a batch teaches: the supervised loss, and the protocol that the other objectives follow.

Seventh step of the data flow. The loop knows nothing of papers: it asks the stage's objective for a lesson, and the
lesson for the loss of every batch. Mean teacher (`mean_teacher.py`) and self-distillation (`smit.py`) keep a second
network inside their lesson.

References:
    StMt, section 2.3 (one loss a kind of case, weights 1, 1, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from flare_core.recipe import Stage
    from flare_core.training.batch import Batch

Forward = Callable[..., Any]
"""`forward(*inputs, module=None)` runs the network that learns, or another one, in the training's precision."""


class Lesson:
    """What an objective does during one training; the base does nothing besides its loss."""

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for an epoch, counted from 0."""

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch (a scalar with a gradient)."""
        raise NotImplementedError

    def after_backward(self, epoch: int) -> None:
        """Change gradients before the step, `epoch` counts from 0."""

    def after_step(self, epoch: int, epochs: int) -> None:
        """Follow the network after a step."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next step depends on, as tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state again."""


@dataclass(frozen=True)
class Supervised:
    """The stage's loss against the batch's labels.

    Attributes:
        group_weights: where the stage's cases come in groups (`selection.InEqualNumbers`), the weight of each group's
            own loss; none: one loss over the whole batch.
    """

    group_weights: tuple[float, ...] = ()

    def lesson(self, stage: Stage, module: torch.nn.Module) -> Lesson:
        """Return the lesson of one training."""
        return _SupervisedLesson(self, stage)


class _SupervisedLesson(Lesson):
    def __init__(self, objective: Supervised, stage: Stage) -> None:
        self.weights, self.criterion = objective.group_weights, stage.loss

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        outputs = forward(batch.image)
        if not self.weights:
            return self.criterion(outputs, batch.channels, batch.taught)
        levels = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        # An index instead of `split` would have a gradient as large as the level, for each group.
        samples = [level.split(1) for level in levels]
        total = levels[0].new_zeros((), dtype=torch.float32)
        for group, weight in enumerate(self.weights):
            rows = batch.groups == group
            if rows.any():
                part = [torch.cat([level[row] for row in rows.nonzero()[:, 0]]) for level in samples]
                total = total + weight * self.criterion(part, batch.channels[rows], batch.taught[rows])
        return total
