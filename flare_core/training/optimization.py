"""How long and with which steps a network learns.

Eighth step of the data flow: optimizer, learning-rate schedule, batch and length as one value.

References:
    nvauto, section 2.2 and Table 3; Project-MONAI/research-contributions, segresnet template (warm-up from a tenth of
    the rate, stepped per epoch; 46 validation points on a sine schedule); nnU-Net v2 (SGD, poly schedule).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from flare_core.inference.sliding_window import SlidingWindow
from flare_core.inference.whole_volume import WholeVolume


@dataclass(frozen=True)
class AdamW:
    """Decoupled weight decay Adam."""

    learning_rate: float
    weight_decay: float

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer over `parameters`."""
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with Nesterov momentum (nnU-Net)."""

    learning_rate: float
    momentum: float
    weight_decay: float

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer over `parameters`."""
        return torch.optim.SGD(
            parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay, nesterov=True
        )


@dataclass(frozen=True)
class WarmupCosine:
    """Rise linearly from a tenth of the rate during `warmup_epochs`, then fall to zero along a half cosine."""

    warmup_epochs: int
    start: float = 0.1

    def factor(self, epoch: int, epochs: int) -> float:
        """Return the factor on the learning rate during `epoch` (0-based) of `epochs`."""
        if epoch < self.warmup_epochs:
            return self.start + (1 - self.start) * epoch / self.warmup_epochs
        progress = (epoch - self.warmup_epochs) / max(1, epochs - self.warmup_epochs)
        return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class Poly:
    """Fall as (1 - share of the epochs that are over) ** power (nnU-Net)."""

    power: float = 0.9

    def factor(self, epoch: int, epochs: int) -> float:
        """Return the factor on the learning rate during `epoch` (0-based) of `epochs`."""
        return (1 - epoch / epochs) ** self.power


@dataclass(frozen=True)
class Optimization:
    """Length and steps of one training.

    Attributes:
        optimizer, schedule: see above.
        epochs: number of epochs; the rate and the checkpoint change between epochs.
        batch: patches a step, over all processes.
        steps_per_epoch: optimizer steps an epoch; None means once through the training cases.
        gradient_clip: largest norm of the gradient; None leaves it.
    """

    optimizer: AdamW | SGD
    schedule: WarmupCosine | Poly
    epochs: int
    batch: int
    steps_per_epoch: int | None = None
    gradient_clip: float | None = None

    def steps(self, cases: int, per_case: int = 1) -> int:
        """Return the steps of an epoch over `cases` training cases (at least one) with `per_case` patches each."""
        return self.steps_per_epoch or max(1, math.ceil(cases * per_case / self.batch))


@dataclass(frozen=True)
class Validation:
    """When the network is validated, and which checkpoint is kept.

    Attributes:
        points: number of validations, spread as a sine: sparse at the start, dense at the end.
        window: window scheme of the validation.
        keep: `best` mean Dice over annotated targets, or `last` epoch (nnU-Net).
    """

    points: int
    window: SlidingWindow | WholeVolume
    keep: str = "best"

    def epochs(self, epochs: int) -> frozenset[int]:
        """Return the 0-based epochs after which to validate; the last one is always among them."""
        if self.points < 1:
            raise ValueError(f"a training is validated at least once, got points={self.points}")
        ends = {round(epochs * math.sin(math.pi / 2 * i / self.points)) for i in range(1, self.points + 1)}
        return frozenset(max(0, end - 1) for end in ends)
