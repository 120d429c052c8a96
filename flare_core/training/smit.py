"""Masked image prediction and self-distillation: how Swin-X's backbone learns without labels.

Seventh step of the data flow. The student sees two views of a case with most cubes hidden, the teacher, its running
average, sees them whole. The student predicts the hidden voxels (MIP), the teacher's tokens of hidden cubes (MPD), and
the teacher's summary of the other view (ITD).

References:
    Jiang et al. 2022 (SMIT); The-Veeraraghavan-Lab/SMIT, train_self_supervised.py (constants; its schedule for the
    teacher's decay never leaves 0.996); Caron et al. 2021 (centering, temperatures); swinx, section 2.3.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from flare_core.training.mean_teacher import follow
from flare_core.training.objective import Forward, Lesson

if TYPE_CHECKING:
    from flare_core.recipe import Stage
    from flare_core.training.batch import Batch


@dataclass(frozen=True)
class MaskedSelfDistillation:
    """The three losses of SMIT.

    Attributes:
        mask_ratio: share of the cubes that are hidden, rounded up.
        weights: of MIP, MPD and ITD.
        student_temperature: divides the student's scores.
        teacher_temperature: first and last value for the teacher's scores. For the whole view it rises linearly during
            the first `warm_epochs`, the last of which has the last value; for tokens in as many epochs after these.
        warm_epochs: see above.
        center_momentum: share of the old center when the mean of the teacher's scores is followed.
        decay: share of the teacher that stays at every step.
        frozen_epochs: epochs in which the prototypes of the heads do not learn.
    """

    mask_ratio: float = 0.7
    weights: tuple[float, float, float] = (1.0, 0.1, 0.1)
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    warm_epochs: int = 30
    center_momentum: float = 0.9
    decay: float = 0.996
    frozen_epochs: int = 1

    def temperatures(self, epoch: int) -> tuple[float, float]:
        """Return the teacher's temperatures for whole views and for tokens in an epoch (0-based)."""
        (first, last), last_step = self.teacher_temperature, max(1, self.warm_epochs - 1)
        shares = [min(1.0, max(0.0, (epoch - delay) / last_step)) for delay in (0, self.warm_epochs)]
        return tuple(first + (last - first) * share for share in shares)

    def masks(self, batch: int, shape: tuple[int, int, int], seed: int) -> torch.Tensor:
        """Return random masks (batch, *shape) with equally many hidden cubes each."""
        count = math.prod(shape)
        generator = torch.Generator().manual_seed(seed)
        ranks = torch.rand(batch, count, generator=generator).argsort(1).argsort(1)
        return (ranks < math.ceil(self.mask_ratio * count)).view(batch, *shape)

    def lesson(self, stage: Stage, module: torch.nn.Module) -> Lesson:
        """Return the lesson of one training; its teacher starts as the network itself."""
        return _SmitLesson(self, module)


class _SmitLesson(Lesson):
    def __init__(self, objective: MaskedSelfDistillation, module: torch.nn.Module) -> None:
        self.objective, self.student, self.epoch = objective, module, 0
        self.teacher = deepcopy(module).requires_grad_(False)
        prototypes = module.token_head.prototypes
        self.centers = {name: prototypes.new_zeros(len(prototypes)) for name in ("tokens", "whole")}

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def loss(self, forward: Forward, batch: Batch) -> torch.Tensor:
        if batch.image.shape[1] != 2:
            raise ValueError(f"expected two views a case, got {batch.image.shape[1]}; use the sampling TwoViews")
        views = batch.image.flatten(0, 1)[:, None]  # view 2 i and view 2 i + 1 are of the same case
        cubes = tuple(side // self.student.cube for side in views.shape[2:])
        masks = self.objective.masks(len(views), cubes, batch.seed).to(views.device)
        student = forward(views, masks)
        with torch.no_grad():
            teacher = forward(views, module=self.teacher)
        losses = hidden_error(student.image, views, masks), *self._distillation(student, teacher, masks.flatten(1))
        self._follow_centers(teacher)
        return sum(weight * loss for weight, loss in zip(self.objective.weights, losses, strict=True))

    def _distillation(self, student: Any, teacher: Any, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the losses over hidden tokens of the same view and over whole other views."""
        whole, tokens = self.objective.temperatures(self.epoch)
        cool = self.objective.student_temperature
        wanted = ((teacher.tokens.float() - self.centers["tokens"]) / tokens).softmax(-1)
        patch = cross_entropy(student.tokens, wanted, cool)[masks].mean()
        wanted = ((teacher.whole.float() - self.centers["whole"]) / whole).softmax(-1)
        other = wanted.view(-1, 2, wanted.shape[-1]).flip(1).flatten(0, 1)
        return patch, cross_entropy(student.whole, other, cool).mean()

    @torch.no_grad()
    def _follow_centers(self, teacher: Any) -> None:
        """Move the centers towards the mean of the teacher's scores, over all processes."""
        for name, center in self.centers.items():
            mean = getattr(teacher, name).float().flatten(0, -2).mean(0)
            if dist.is_initialized():
                dist.all_reduce(mean)
                mean /= dist.get_world_size()
            center.mul_(self.objective.center_momentum).add_(mean, alpha=1 - self.objective.center_momentum)

    def after_backward(self, epoch: int) -> None:
        if epoch < self.objective.frozen_epochs:
            for head in (self.student.token_head, self.student.whole_head):
                head.prototypes.grad = None

    def after_step(self, epoch: int, epochs: int) -> None:
        follow(self.teacher, self.student, self.objective.decay)

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": self.teacher.state_dict(), "centers": self.centers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.teacher.load_state_dict(state["teacher"])
        for name, center in self.centers.items():
            center.copy_(state["centers"][name])


def hidden_error(predicted: torch.Tensor, views: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error over hidden voxels; images (B, 1, X, Y, Z), masks on a grid of cubes."""
    hidden = torch.nn.functional.interpolate(masks[:, None].float(), size=views.shape[2:], mode="nearest")
    return ((predicted.float() - views).abs() * hidden).sum() / hidden.sum()


def cross_entropy(scores: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the cross-entropy of scores (..., K) with wanted probabilities (..., K), shape (...)."""
    return -(wanted * (scores.float() / temperature).log_softmax(-1)).sum(-1)
