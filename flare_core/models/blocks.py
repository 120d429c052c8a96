"""The parts that nnU-Net's U-Nets are built from: convolutions with their norm, residual blocks, encoder, decoder.

Sixth step of the data flow. Submodules carry the names that nnU-Net version 2 gives them (`decoder.transpconvs.0`,
`encoder.stages.0.0.convs.0.conv`, ...), so that its weights load here name by name; kernels and strides are along
X, Y, Z, where nnU-Net's are along Z, Y, X (`flare_core.inference.nnunet_checkpoint` turns the weights around).

References:
    Isensee et al. 2021 (nnU-Net); Isensee et al. 2024 (residual encoder); He, T. et al. 2019 (ResNet-D skip);
    MIC-DKFZ/dynamic-network-architectures 0.4 (names, order, initialization).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

Triple = tuple[int, int, int]
SLOPE = 0.01
"""Negative slope of every leaky ReLU, and the one that He initialization reckons with."""


class ConvNorm(nn.Module):
    """Convolution that keeps the size (up to its stride), affine instance norm, and leaky ReLU if `is_active`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        *,
        bias: bool = True,
        is_active: bool = True,
    ) -> None:
        super().__init__()
        padding = tuple((side - 1) // 2 for side in kernel)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=bias)
        self.norm = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.nonlin = nn.LeakyReLU(SLOPE, inplace=True) if is_active else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, X / stride, Y / stride, Z / stride)."""
        return self.nonlin(self.norm(self.conv(x)))


class StackedConvolutions(nn.Module):
    """`count` convolutions in a row; the first one changes channels and stride."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple, count: int) -> None:
        super().__init__()
        rest = [ConvNorm(outputs, outputs, kernel) for _ in range(count - 1)]
        self.convs = nn.Sequential(ConvNorm(inputs, outputs, kernel, stride), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, ...)."""
        return self.convs(x)


class ResidualBlock(nn.Module):
    """Two convolutions beside a ResNet-D skip: average pooling for the stride, then 1x1x1 for the channels."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, kernel, stride)
        self.conv2 = ConvNorm(outputs, outputs, kernel, is_active=False)
        skip = [nn.AvgPool3d(stride, stride)] if max(stride) > 1 else []
        if inputs != outputs:
            skip.append(ConvNorm(inputs, outputs, (1, 1, 1), bias=False, is_active=False))
        self.skip = nn.Sequential(*skip)  # an empty one passes its input on
        self.nonlin2 = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, ...)."""
        return self.nonlin2(self.conv2(self.conv1(x)) + self.skip(x))


class ResidualStage(nn.Module):
    """`count` residual blocks in a row; the first one changes channels and stride."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, stride: Triple, count: int) -> None:
        super().__init__()
        rest = [ResidualBlock(outputs, outputs, kernel, (1, 1, 1)) for _ in range(count - 1)]
        self.blocks = nn.Sequential(ResidualBlock(inputs, outputs, kernel, stride), *rest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, X, Y, Z) to (B, outputs, ...)."""
        return self.blocks(x)


class Encoder(nn.Module):
    """Stages from fine to coarse, after a stem where there is one.

    Args:
        stages: one module a resolution.
        stem: applied first, at full resolution; None skips it.
    """

    def __init__(self, stages: Sequence[nn.Module], stem: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Identity() if stem is None else stem
        self.stages = nn.Sequential(*stages)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of every stage of an image (B, 1, X, Y, Z), finest first."""
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the coarsest stage up: transposed convolution, concatenation with the skip, convolutions, logits.

    Args:
        features: channels of the encoder's stages, finest first.
        kernels, strides: of the encoder's stages.
        counts: convolutions of each decoder level in the order of computation, coarsest first.
        channels: logits a voxel.
    """

    def __init__(
        self,
        features: Sequence[int],
        kernels: Sequence[Triple],
        strides: Sequence[Triple],
        counts: Sequence[int],
        channels: int,
    ) -> None:
        super().__init__()
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, count in zip(reversed(range(len(features) - 1)), counts, strict=True):
            skip, stride = features[level], tuple(strides[level + 1])
            self.transpconvs.append(nn.ConvTranspose3d(features[level + 1], skip, stride, stride))
            self.stages.append(StackedConvolutions(2 * skip, skip, kernels[level], (1, 1, 1), count))
            self.seg_layers.append(nn.Conv3d(skip, channels, 1))

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor] | torch.Tensor:
        """Return the logits of every level, finest first, while training; else those of the finest level.

        Args:
            features: the encoder's, finest first; the list is emptied on the way, so that each skip is freed when used.
        """
        x = features.pop()
        outputs = []
        for up, stage, head in zip(self.transpconvs, self.stages, self.seg_layers, strict=True):
            x = stage(torch.cat((up(x), features.pop()), 1))
            if self.training:
                outputs.append(head(x))
        return outputs[::-1] if self.training else self.seg_layers[-1](x)


class EncoderDecoder(nn.Module):
    """An encoder and a decoder in a row: (B, 1, X, Y, Z) to what the decoder returns."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: torch.Tensor) -> list[torch.Tensor] | torch.Tensor:
        """Return logits of (B, 1, X, Y, Z): a list, finest first, while training, else one tensor."""
        return self.decoder(self.encoder(x))


def initialize(module: nn.Module, zero_residual: bool = False) -> nn.Module:
    """Draw He-normal weights for every convolution and set its bias to 0.

    Args:
        module: changed in place.
        zero_residual: also set the last norm of every residual branch to 0, so that each block begins as its skip.
    Returns:
        The module.
    """
    for part in module.modules():
        if isinstance(part, (nn.Conv3d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(part.weight, a=SLOPE)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, ResidualBlock) and zero_residual:
            nn.init.zeros_(part.conv2.norm.weight)
            nn.init.zeros_(part.conv2.norm.bias)
    return module
