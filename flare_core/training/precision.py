"""Learn in bfloat16 where the processor is fast at it, except where its convolutions have wrong gradients.

Serves the training loop. oneDNN 3.12 (torch 2.13) leaves part of a bfloat16 convolution's weight gradient unwritten
where the kernel is deeper than the grid it reads, as a 3 x 3 x 3 kernel is on 2 x 2 x 2 voxels: what lay in memory
before, be it 0 or 1e34, becomes the gradient. Seen with AVX512-BF16; the outputs, the other gradients, float32 and the
other two axes are right (tests/training/test_precision.py).
"""

from __future__ import annotations

import torch
from torch import nn


class _Convolution(nn.Conv3d):
    """Computes in float32 where the kernel is deeper than the grid."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not 1 < features.shape[2] < self.kernel_size[0]:
            return super().forward(features)
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


def with_right_gradients(module: nn.Module) -> nn.Module:
    """Let every convolution of a module compute in float32 where bfloat16 gradients would be wrong; return the module.

    Weights, their names and the results in float32 stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.Conv3d:
            layer.__class__ = _Convolution
    return module
