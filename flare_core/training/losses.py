"""The losses: Dice-focal, and its sum over the levels of deep supervision.

Seventh step of the data flow. A loss takes logits and channels and returns one number; its fields are the published
hyper-parameters.

References:
    nvauto, section 2.2 and equation 1; Lin et al. 2018 (focal loss); MONAI `DiceFocalLoss` and `DeepSupervisionLoss`
    (equal values: tests/training/test_losses.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

NEVER = -1e4
"""Logit of a channel that a sample does not teach: probability 0 beside any other."""


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
        logits, target = logits.float().flatten(2), channels.long().flatten(1)
        if taught is not None and not taught.all():
            logits = logits.masked_fill(~taught[:, :, None], NEVER)
        weights = torch.ones(logits.shape[1], device=logits.device)
        for channel, weight in self.channel_weights:
            weights[channel] = weight
        log_probabilities = logits.log_softmax(1)
        log_right = log_probabilities.gather(1, target[:, None])[:, 0]
        dice = self._dice(log_probabilities.exp(), log_right.exp(), target)
        dice = (dice * weights).sum(1).mean() / weights.sum()
        weights = self._focal_weights(weights)
        if self.focal_over == "voxels":
            focal = (_power(1 - log_right.exp(), self.gamma) * -log_right * weights[target]).mean()
        elif self.focal_over == "channels":
            focal = self._focal_over_channels(logits, target, weights)
        else:
            raise ValueError(f"focal_over is 'channels' or 'voxels', got {self.focal_over!r}")
        return dice + focal

    def _focal_weights(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weights (C,) of the focal term, given those of both terms."""
        return weights

    def _dice(self, probabilities: torch.Tensor, right: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the Dice loss (B, C); sums per channel are scattered from the right channel, no one-hot copy.

        They add up to millions of voxels one after the other: in float32 a 224^3 patch would be off by 10 %.
        """
        sums = probabilities.new_zeros(probabilities.shape[:2], dtype=torch.float64)
        overlap = sums.scatter_add(1, target, right.double()).float()
        size = sums.scatter_add(1, target, torch.ones_like(right, dtype=torch.float64)).float()
        return 1 - 2 * overlap / ((probabilities * probabilities).sum(2) + size + self.smooth)

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


def _power(base: torch.Tensor, exponent: float) -> torch.Tensor:
    """Return base ** exponent; the usual exponent 2 as a product, which is many times faster."""
    return base * base if exponent == 2 else base**exponent


@dataclass(frozen=True)
class DeepSupervision:
    """Sum a loss over the output levels with weights 1, 1/2, 1/4, ... (not normalized).

    Attributes:
        loss: the loss of one level; coarser levels see the target shrunk by nearest neighbor.
    """

    loss: DiceFocal

    def __call__(
        self, outputs: Sequence[torch.Tensor], channels: torch.Tensor, taught: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the weighted sum over `outputs`, finest first (a single tensor is one level)."""
        levels = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        total = levels[0].new_zeros((), dtype=torch.float32)
        for level, logits in enumerate(levels):
            target = channels
            if logits.shape[2:] != channels.shape[1:]:
                shrunk = F.interpolate(channels[:, None].float(), size=logits.shape[2:], mode="nearest-exact")
                target = shrunk[:, 0].long()
            total = total + self.loss(logits, target, taught) / 2**level
        return total
