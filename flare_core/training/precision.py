"""Learn in bfloat16 where the processor is fast at it, except where its convolutions have wrong gradients.

Serves the training loop. Where a kernel is longer than a side of the grid that it reads, as a 3 x 3 x 3 kernel is on
2 x 2 x 2 voxels, oneDNN 3.12 (torch 2.13, AVX512-BF16) may leave part of a bfloat16 convolution's weight gradient
unwritten: what lay in memory before, be it 0 or 1e34, becomes the gradient. With a stride it may also write where it
should not, and the process ends. Outputs, the image's gradient and float32 are right, and so is bfloat16 elsewhere, as
far as tried: sides of 1 to 5, kernels of 1 and 3, strides of 1 and 2 (some are in tests/training/test_precision.py).
"""

from __future__ import annotations

import torch
from torch import nn


class _Convolution(nn.Conv3d):
    """Computes in float32 on a processor where a side of the grid is shorter than the kernel."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        fits = all(side >= length for side, length in zip(features.shape[2:], self.kernel_size, strict=True))
        if fits or features.device.type != "cpu":
            return super().forward(features)
        with torch.autocast("cpu", enabled=False):
            return super().forward(features.float())


def with_right_gradients(module: nn.Module) -> nn.Module:
    """Let every convolution of a module compute in float32 where bfloat16 gradients may be wrong; return the module.

    Weights, their names and the results in float32 stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.Conv3d:
            layer.__class__ = _Convolution
    return module
