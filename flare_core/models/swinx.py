"""Swin-X Seg: a Swin backbone, channels narrowed at every scale, a narrow convolutional decoder.

Sixth step of the data flow. The backbone is a network of its own under the name `backbone`, so that a pretrained one
(`smit.py`) can take its place weight by weight.

References:
    swinx, section 2.3; The-Veeraraghavan-Lab/FLARE23, smit_mini.py and configs_smit.py; Hatamizadeh et al. 2022
    (Swin UNETR); Liu et al. 2021 (Swin transformer).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class SwinX:
    """Architecture of one Swin-X; the defaults are the published ones.

    Attributes:
        embed: channels of the finest Swin stage, doubling with every merging.
        depths, heads: Swin blocks and attention heads of each stage.
        window: of the attention, in voxels of the stage.
        drop_path: stochastic depth of the last Swin block, rising from 0.
        decoder: channels of every decoder level.
        norm: of the convolutions, `batch` or `instance`.
    """

    embed: int = 48
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: Triple = (4, 4, 4)
    drop_path: float = 0.3
    decoder: int = 48
    norm: str = "batch"

    @property
    def stride(self) -> int:
        """Input sides must be multiples of this: 2 for the patches, 2 for every merging."""
        return 2 ** (len(self.depths) + 1)

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of the backbone's outputs, finest (stride 2) first."""
        return tuple(self.embed * 2**stage for stage in range(len(self.depths) + 1))

    def build(self, channels: int) -> nn.Module:
        """Return the untrained module: (B, 1, X, Y, Z) to logits (B, channels, X, Y, Z), without deep supervision."""
        from flare_core.models.swinx_blocks import SwinXModule

        return SwinXModule(self, channels)
