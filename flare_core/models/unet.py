"""nnU-Net's two networks: the plain U-Net and the U-Net with a residual encoder.

Sixth step of the data flow. Everything is along X, Y, Z: what nnU-Net or a paper writes as (1, 3, 3) along z, y, x is
(3, 3, 1) here. The modules are in `flare_core.models.blocks`; the values here need no torch until something is built.

References:
    Isensee et al. 2021 (nnU-Net); Isensee et al. 2024, nnU-Net revisited (residual encoder presets M and L);
    dkfz, section 2 and table 2; efficient_nnunet, section 2.2; stmt, section 2.3 (residual encoder).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class PlainUNet:
    """Architecture of nnU-Net's `PlainConvUNet`: stacked convolutions going down and coming up.

    Attributes:
        features: channels of each stage, finest first.
        kernels: convolution kernel of each stage; the decoder uses that of the stage at its resolution.
        strides: of each stage's first convolution; the first stage's is (1, 1, 1).
        convolutions: of each stage.
        decoder_convolutions: of each decoder level in the order of computation, coarsest first; one fewer than stages.
    """

    features: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    convolutions: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]

    @property
    def stride(self) -> Triple:
        """Input sides along X, Y, Z must be multiples of these."""
        return _total_stride(self.strides)

    def build(self, channels: int) -> nn.Module:
        """Return the untrained module: (B, 1, X, Y, Z) to logits (B, channels, X, Y, Z).

        While training it returns a list of logits, one a decoder level, finest first.

        Args:
            channels: logits a voxel, background included.
        Raises:
            ValueError: if the fields do not agree on the number of stages.
        """
        from torch import nn

        from flare_core.models.blocks import Decoder, Encoder, EncoderDecoder, StackedConvolutions, initialize

        _check_stages(self, self.convolutions)
        stages = [
            nn.Sequential(StackedConvolutions(*stage))
            for stage in zip(
                (1, *self.features[:-1]), self.features, self.kernels, self.strides, self.convolutions, strict=True
            )
        ]
        decoder = Decoder(self.features, self.kernels, self.strides, self.decoder_convolutions, channels)
        return initialize(EncoderDecoder(Encoder(stages), decoder))


@dataclass(frozen=True)
class ResidualEncoderUNet:
    """Architecture of nnU-Net's `ResidualEncoderUNet`: residual blocks going down, stacked convolutions coming up.

    A stem of one convolution to `features[0]` channels comes first; blocks have the skip of ResNet-D.

    Attributes:
        features: channels of each stage, finest first.
        kernels: convolution kernel of each stage; the stem uses the first.
        strides: of each stage's first block; the first stage's is (1, 1, 1).
        blocks: residual blocks of each stage.
        decoder_convolutions: of each decoder level in the order of computation, coarsest first; one fewer than stages.
        zero_residual: begin with the last norm of every residual branch at 0, as nnU-Net and StMt do.
    """

    features: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    blocks: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    zero_residual: bool = True

    @property
    def stride(self) -> Triple:
        """Input sides along X, Y, Z must be multiples of these."""
        return _total_stride(self.strides)

    def build(self, channels: int) -> nn.Module:
        """Return the untrained module: (B, 1, X, Y, Z) to logits (B, channels, X, Y, Z).

        While training it returns a list of logits, one a decoder level, finest first.

        Args:
            channels: logits a voxel, background included.
        Raises:
            ValueError: if the fields do not agree on the number of stages.
        """
        from flare_core.models.blocks import (
            Decoder,
            Encoder,
            EncoderDecoder,
            ResidualStage,
            StackedConvolutions,
            initialize,
        )

        _check_stages(self, self.blocks)
        first = self.features[0]
        inputs = (first, *self.features[:-1])
        stages = [
            ResidualStage(*stage)
            for stage in zip(inputs, self.features, self.kernels, self.strides, self.blocks, strict=True)
        ]
        stem = StackedConvolutions(1, first, self.kernels[0], (1, 1, 1), 1)
        decoder = Decoder(self.features, self.kernels, self.strides, self.decoder_convolutions, channels)
        return initialize(EncoderDecoder(Encoder(stages, stem), decoder), self.zero_residual)


def _total_stride(strides: Sequence[Triple]) -> Triple:
    """Return the product of all stages' strides along each axis."""
    return tuple(math.prod(along) for along in zip(*strides, strict=True))


def _check_stages(network: PlainUNet | ResidualEncoderUNet, counts: tuple[int, ...]) -> None:
    """Refuse fields that speak of different numbers of stages."""
    lengths = [len(network.features), len(network.kernels), len(network.strides), len(counts)]
    decoder = len(network.decoder_convolutions) + 1
    if len({*lengths, decoder}) > 1 or lengths[0] < 2:
        raise ValueError(
            f"expected as many features, kernels, strides and counts as stages (two at least) and one decoder count "
            f"fewer, got {lengths} and {decoder - 1}: {network}"
        )
