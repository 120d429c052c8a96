"""PHTrans, the teacher of stmt: a U-shape whose deeper stages are convolutional and Swin in parallel.

Sixth step of the data flow. The two finest stages only convolve; from the third on, every stage of the encoder and of
the decoder adds up a convolutional path and a Swin path (window, then shifted window) that see the same features.

References:
    Liu et al. 2022 (PHTrans); lseventeen/PHTrans, network_architecture/phtrans.py and swin_3D.py (its settings for
    FLARE22); Liu et al. 2021 (Swin transformer); stmt, section 2.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class PHTrans:
    """Architecture of one PHTrans; the defaults are the authors' for FLARE22, along X, Y, Z.

    Attributes:
        base, cap: channels of the first stage, doubling with every stage up to `cap`.
        strides: of the step down to each further stage.
        first_kernel: convolution kernel of the first stage; the others have 3 x 3 x 3.
        parallel_from: first stage with a Swin path.
        depths, heads: Swin blocks and attention heads of each stage that has one.
        window: of the attention, in voxels of the stage.
        dropout: of the convolutional path.
        drop_path: stochastic depth of the last Swin block, rising from 0.
    """

    base: int = 24
    cap: int = 312
    strides: tuple[Triple, ...] = ((2, 2, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 1))
    first_kernel: Triple = (3, 3, 1)
    parallel_from: int = 2
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: Triple = (6, 7, 5)
    dropout: float = 0.1
    drop_path: float = 0.2

    @property
    def stride(self) -> Triple:
        """Input sides along X, Y, Z must be multiples of these."""
        return tuple(math.prod(along) for along in zip(*self.strides, strict=True))

    @cached_property
    def features(self) -> tuple[int, ...]:
        """Channels of each stage, finest first."""
        return tuple(min(self.base * 2**stage, self.cap) for stage in range(len(self.strides) + 1))

    def swin_rates(self, stage: int) -> tuple[float, ...]:
        """Return the stochastic depth of every Swin block of a stage (none for a stage without)."""
        if stage < self.parallel_from:
            return ()
        index, last = stage - self.parallel_from, max(1, sum(self.depths) - 1)
        start = sum(self.depths[:index])
        return tuple(self.drop_path * block / last for block in range(start, start + self.depths[index]))

    def build(self, channels: int) -> nn.Module:
        """Return the untrained module: (B, 1, X, Y, Z) to logits (B, channels, X, Y, Z).

        While training it returns a list of logits, one a decoder stage, finest first.

        Raises:
            ValueError: if depths and heads are not one a stage with a Swin path.
        """
        from flare_core.models.phtrans_blocks import PHTransModule

        wanted = len(self.features) - self.parallel_from
        if not len(self.depths) == len(self.heads) == wanted:
            raise ValueError(
                f"{wanted} stages have a Swin path, got {len(self.depths)} depths, {len(self.heads)} heads"
            )
        return PHTransModule(self, channels)
