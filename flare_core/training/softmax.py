"""What the losses ask of a softmax over channels, computed a run of voxels at a time.

Seventh step of the data flow. From the probabilities of 14 channels a loss wants one number a voxel and one a channel;
operation by operation it would write a dozen arrays as large as the logits to get there and back. Here a run of voxels
stays in the processor's cache: logits are read, their gradient is written, and nothing else is kept in between.
"""

from __future__ import annotations

from typing import Any

import torch

NEVER = -1e4
"""Logit, or what is added to it, of a channel that a sample does not teach: probability 0 beside any other."""

CACHED = 1 << 17
"""Logits of a run on a processor; a GPU takes all voxels at once."""


class _SoftmaxSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: torch.Tensor, target: torch.Tensor, silence: torch.Tensor, power: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        precision = torch.promote_types(logits.dtype, torch.float32)
        log_right = logits.new_empty(target.shape, dtype=precision)
        sums = logits.new_zeros(logits.shape[:2], dtype=torch.float64)
        for run in _runs(logits):
            log_probabilities = (logits[:, :, run] + silence).log_softmax(1)
            log_right[:, run] = log_probabilities.gather(1, target[:, None, run])[:, 0]
            sums += log_probabilities.exp_().pow_(power).sum(2)
        ctx.save_for_backward(logits, target, silence)
        ctx.power = power
        return log_right, sums.to(precision)

    @staticmethod
    def backward(ctx: Any, of_right: torch.Tensor, of_sums: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        logits, target, silence = ctx.saved_tensors
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for run in _runs(logits):
            probabilities = (logits[:, :, run] + silence).softmax(1)
            slope = of_sums[:, :, None] * (2 * probabilities if ctx.power == 2 else 1)  # of each probability
            common = (slope * probabilities).sum(1, keepdim=True) + of_right[:, None, run]
            part = (slope - common) * probabilities
            gradient[:, :, run] = part.scatter_add_(1, target[:, None, run], of_right[:, None, run])
        gradient[silence[:, :, 0].nonzero(as_tuple=True)] = 0  # rows, not a mask as large as the logits
        return gradient, None, None, None


def softmax_sums(
    logits: torch.Tensor, target: torch.Tensor, taught: torch.Tensor | None = None, *, power: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logarithm of every right channel's probability, and each channel's probabilities added up.

    Args:
        logits: (B, C, N), any float type; computed in float32 at least. B and N may be 0.
        target: (B, N) int64 channels.
        taught: (B, C) bool: a channel that is not taught has probability 0 and gets no gradient. None: all are.
        power: 1 adds up probabilities, 2 their squares.
    Returns:
        (B, N) and (B, C), both with a gradient; sums over no voxels are 0.
    """
    silence = torch.zeros(logits.shape[:2], device=logits.device)
    if taught is not None:
        silence.masked_fill_(~taught, NEVER)
    return _SoftmaxSums.apply(logits, target, silence[:, :, None], power)


def _runs(logits: torch.Tensor) -> list[slice]:
    """Return slices that cover all voxels."""
    samples, channels, voxels = logits.shape
    length = max(1, (CACHED // max(1, samples * channels)) if logits.device.type == "cpu" else voxels)
    return [slice(start, start + length) for start in range(0, voxels, length)]
