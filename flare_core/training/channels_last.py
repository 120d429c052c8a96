"""Instance norm and 1 x 1 x 1 convolution that leave a batch's channels innermost.

Serves the training loop, for float32 on a processor. PyTorch normalizes instances with channels outermost, and on one
thread convolves with 1 x 1 x 1 so: it copies a batch's features there and back around each of them, forward and
backward. Here the first is a batch norm of one sample at a time and the second a matrix product, which need no copy.
Results are the same but for rounding. (Neither was measured in bfloat16 or on a GPU: there nothing changes.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

LAYOUT = torch.channels_last_3d
"""Memory layout of weights and patches: on a CPU a narrow network's step takes 0.6 of the default's time."""


class _NormOfSamples(torch.autograd.Function):
    """Instance norm of (B, C, X, Y, Z), then a factor and a summand a channel."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> torch.Tensor:
        x = x.contiguous(memory_format=LAYOUT)
        out, (means, inverses) = torch.empty_like(x), x.new_empty(2, len(x), len(weight))
        for sample, *found in zip(x.split(1), out.split(1), means, inverses, strict=True):
            torch.native_batch_norm(sample, weight, bias, None, None, True, 0.0, eps, out=tuple(found))
        ctx.save_for_backward(x, weight, means, inverses)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, means, inverses = ctx.saved_tensors
        samples = zip(gradient.contiguous(memory_format=LAYOUT).split(1), x.split(1), means, inverses, strict=True)
        parts = [
            torch.ops.aten.native_batch_norm_backward(
                from_above, sample, weight, None, None, mean, inverse, True, ctx.eps, [True, True, True]
            )
            for from_above, sample, mean, inverse in samples
        ]
        of_x, of_weight, of_bias = zip(*parts, strict=True)
        return torch.cat(of_x), sum(of_weight), sum(of_bias), None


class InstanceNorm(nn.InstanceNorm3d):
    """`nn.InstanceNorm3d` with weights and without running statistics, in float32 or float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, X, Y, Z) to the same shape.

        Raises:
            ValueError: if channels have one voxel, or are not as many as the weights, as in `nn.InstanceNorm3d`.
            IndexError: if the batch is empty, as there.
        """
        if x.dim() != 5 or x.shape[1] != self.num_features or not len(x) or x.shape[2:].numel() < 2:
            return super().forward(x)
        return _NormOfSamples.apply(x, self.weight, self.bias, self.eps)


class PointwiseConvolution(nn.Conv3d):
    """`nn.Conv3d` of 1 x 1 x 1 with a bias, in float32 or float64.

    Its outputs have channels outermost, as the losses read logits.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X, Y, Z); an empty batch stays empty."""
        weight = self.weight.flatten(1).expand(len(x), -1, -1)
        return torch.baddbmm(self.bias[:, None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


def with_channels_last(module: nn.Module) -> nn.Module:
    """Let the norms and convolutions of a module that can keep channels innermost do so; return the module.

    Weights and their names stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.InstanceNorm3d and layer.affine and not layer.track_running_stats:
            layer.__class__ = InstanceNorm
        elif type(layer) is nn.Conv3d and layer.bias is not None and _is_pointwise(layer):
            layer.__class__ = PointwiseConvolution
    return module


def _is_pointwise(layer: nn.Conv3d) -> bool:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
    return shape == ((1, 1, 1), (1, 1, 1), (0, 0, 0), 1)
