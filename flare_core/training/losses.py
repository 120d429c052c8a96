"""The losses: Dice-focal, Dice-cross-entropy, and their sum over the levels of deep supervision.

Seventh step of the data flow. A loss takes logits and channels and returns one number; its fields are the published
hyper-parameters.

References:
    nvauto, section 2.2 and equation 1; Lin et al. 2018 (focal loss); MONAI `DiceFocalLoss`, `DiceCELoss` and
    `DeepSupervisionLoss` (equal values: tests/training/test_losses.py); nnU-Net v2 (Dice and cross-entropy, weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.nn.functional import all_reduce

from flare_core.training.softmax import NEVER, softmax_sums


@dataclass(frozen=True)
class DiceFocal:
    """Soft Dice loss plus focal loss.

    Dice is taken per sample and channel (background included, squared predictions) and averaged; a channel that is
    absent from the target counts as loss 1 without a gradient. The focal term follows one of two readings:

    - `channels` (MONAI's `DiceFocalLoss`): each channel is a binary question on the sigmoid of its own logit, averaged
      over channels and voxels;
    - `voxels` (Lin et al. with a softmax): only the right channel's probability counts, averaged over voxels.

    Attributes:
        gamma: focusing exponent.
        focal_over: `channels` or `voxels`.
        channel_weights: pairs (channel, weight) in both terms, 1 for channels not named (the paper's section 4 tried 10
            for the tumor).
        smooth: keeps the Dice of an absent channel defined.
    """

    gamma: float = 2.0
    focal_over: str = "channels"
    channel_weights: tuple[tuple[int, float], ...] = ()
    smooth: float = 1e-5

    def __call__(
        self, logits: torch.Tensor, channels: torch.Tensor, taught: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of a batch.

        Args:
            logits: float tensor of shape (B, C, X, Y, Z).
            channels: integer tensor of shape (B, X, Y, Z) with values 0..C - 1.
            taught: bool tensor of shape (B, C); a channel that is not taught gets no gradient from its sample, as if
                the network had no such channel. None: all are.
        Returns:
            Scalar tensor >= 0.
        """
        logits, target = logits.flatten(2), channels.long().flatten(1)
        weights = torch.ones(logits.shape[1], device=logits.device)
        for channel, weight in self.channel_weights:
            weights[channel] = weight
        log_right, squares = softmax_sums(logits, target, taught, power=2)
        dice = self._dice(squares, log_right.exp(), target)
        dice = (dice * weights).sum(1).mean() / weights.sum()
        weights = self._focal_weights(weights)
        if self.focal_over == "voxels":
            focal = (_power(1 - log_right.exp(), self.gamma) * -log_right * weights[target]).mean()
        elif self.focal_over == "channels":
            if taught is not None and not taught.all():
                logits = logits.masked_fill(~taught[:, :, None], NEVER)
            focal = self._focal_over_channels(logits.float(), target, weights)
        else:
            raise ValueError(f"focal_over is 'channels' or 'voxels', got {self.focal_over!r}")
        return dice + focal

    def _focal_weights(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights (C,) of the focal term, given those of both terms."""
        return weights

    def _dice(self, squares: torch.Tensor, right: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the Dice loss (B, C)."""
        overlap, size = channel_sums(right, target, squares.shape[1])
        return 1 - 2 * overlap / (squares + size + self.smooth)

    def _focal_over_channels(self, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Return the mean binary focal loss: every logit as a wrong channel, then the right ones set right."""

        def wrong(logit: torch.Tensor) -> torch.Tensor:
            return _power(torch.sigmoid(logit), self.gamma) * F.softplus(logit)

        right = logits.gather(1, target[:, None])[:, 0]
        corrected = ((wrong(-right) - wrong(right)) * weights[target]).sum()
        return ((wrong(logits) * weights[:, None]).sum() + corrected) / logits.numel()


@dataclass(frozen=True)
class DiceWeightedFocal(DiceFocal):
    """The same with further class weights in the focal term alone, for trainings of minutes.

    Where a rare channel's probability is near 0 the Dice term has next to no gradient; only the focal term can wake it.

    Attributes:
        focal_weights: pairs (channel, factor), 1 for channels not named.
    """

    focal_weights: tuple[tuple[int, float], ...] = ()

    def _focal_weights(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights (C,) of the focal term."""
        weights = weights.clone()
        for channel, weight in self.focal_weights:
            weights[channel] *= weight
        return weights


@dataclass(frozen=True)
class DiceCrossEntropy:
    """Soft Dice loss plus cross-entropy, as nnU-Net and MONAI's `DiceCELoss` have it.

    Attributes:
        batch_dice: add up over the whole batch before dividing (nnU-Net where its plan says so); else per sample.
        background: count the background's Dice.
        squared: square predictions in the Dice's denominator (MONAI's `squared_pred`).
        smooth_numerator, smooth_denominator: keep the Dice of an absent channel defined; with both alike its Dice is 1.
    """

    batch_dice: bool = False
    background: bool = False
    squared: bool = False
    smooth_numerator: float = 1e-5
    smooth_denominator: float = 1e-5

    def __call__(
        self, logits: torch.Tensor, channels: torch.Tensor, taught: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss of a batch: 1 - mean Dice (nnU-Net leaves out the 1) + mean cross-entropy.

        Args:
            logits: float tensor of shape (B, C, X, Y, Z).
            channels: integer tensor of shape (B, X, Y, Z) with values 0..C - 1.
            taught: bool tensor of shape (B, C), see `DiceFocal`.
        Returns:
            Scalar tensor >= 0.
        """
        logits, target = logits.flatten(2), channels.long().flatten(1)
        log_right, predicted = softmax_sums(logits, target, taught, power=2 if self.squared else 1)
        overlap, size = channel_sums(log_right.exp(), target, logits.shape[1])
        if self.batch_dice:
            overlap, size, predicted = _over_batch(torch.stack([overlap, size, predicted]))
        dice = (2 * overlap + self.smooth_numerator) / (predicted + size + self.smooth_denominator)
        return 1 - dice[:, 0 if self.background else 1 :].mean() - log_right.mean()


def _over_batch(sums: torch.Tensor) -> torch.Tensor:
    """Add up (K, B, C) over the batch to (K, 1, C), over that of all processes where several share it."""
    total = sums.sum(1, keepdim=True)
    if torch.is_grad_enabled() and dist.is_initialized():
        return all_reduce(total)  # with gradients: each process has those of its own patches
    return total


def channel_sums(right: torch.Tensor, target: torch.Tensor, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return per sample and channel the right channel's probability added up, and the voxels, each (B, C) float32.

    Sums are scattered, without a one-hot copy, in float64: they add up to millions of voxels one after the other, and
    in float32 a 224^3 patch would be off by 10 %.

    Args:
        right: (B, N) probability of the right channel.
        target: (B, N) integer channels.
        channels: C.
    """
    sums = right.new_zeros((len(right), channels), dtype=torch.float64)
    overlap = sums.scatter_add(1, target, right.double())
    size = sums.scatter_add(1, target, torch.ones_like(right, dtype=torch.float64))
    return overlap.float(), size.float()


def _power(base: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return base ** exponent; the usual exponent 2 as a product, which is many times faster."""
    return base * base if exponent == 2 else base**exponent


def shrunk(channels: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return channels (B, X, Y, Z) on a coarser grid by nearest neighbor, as int64 (the same grid: unchanged)."""
    if tuple(channels.shape[1:]) == tuple(shape):
        return channels.long()
    return F.interpolate(channels[:, None].float(), size=tuple(shape), mode="nearest-exact")[:, 0].long()


@dataclass(frozen=True)
class DeepSupervision:
    """Sum a loss over the output levels with weights 1, 1/2, 1/4, ...

    Attributes:
        loss: the loss of one level; coarser levels see the target shrunk by nearest neighbor.
        drop_coarsest: give the coarsest level no weight (nnU-Net); a single level keeps its weight.
        normalized: divide the weights by their sum (nnU-Net); else they are summed as they are (MONAI).
    """

    loss: DiceFocal | DiceCrossEntropy
    drop_coarsest: bool = False
    normalized: bool = False

    def weights(self, levels: int) -> list[float]:
        """Return the weight of each level, finest first."""
        weights = [0.5**level for level in range(levels)]
        if self.drop_coarsest and levels > 1:
            weights[-1] = 0.0
        total = sum(weights) if self.normalized else 1.0
        return [weight / total for weight in weights]

    def __call__(
        self,
        outputs: Sequence[torch.Tensor],
        channels: torch.Tensor | Sequence[torch.Tensor],
        taught: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the weighted sum over `outputs`, finest first (a single tensor is one level).

        `channels` is the target on the finest grid, or a list with one target a level.
        """
        levels = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        targets = [channels] * len(levels) if isinstance(channels, torch.Tensor) else channels
        total = levels[0].new_zeros((), dtype=torch.float32)
        for logits, target, weight in zip(levels, targets, self.weights(len(levels)), strict=True):
            if weight:
                total = total + weight * self.loss(logits, shrunk(target, logits.shape[2:]), taught)
        return total
