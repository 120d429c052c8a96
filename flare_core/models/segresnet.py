"""SegResNet with deep supervision, the network of nvauto (MONAI's `SegResNetDS`).

Sixth step of the data flow. An asymmetric residual encoder-decoder: more blocks going down than coming up, skip
connections added (not concatenated), one output a decoder level while training.

References:
    Myronenko 2018, 3D MRI brain tumor segmentation using autoencoder regularization; nvauto, section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SegResNet:
    """Architecture of one SegResNet.

    Attributes:
        width: filters of the first level, doubling with every level.
        blocks: residual blocks in each encoder level; sides must divide by 2 ** (levels - 1).
        supervised_levels: outputs while training, finest first, at strides 1, 2, 4, ...
        norm: `instance` or `batch`.
    """

    width: int
    blocks: tuple[int, ...]
    supervised_levels: int
    norm: str = "instance"

    @property
    def stride(self) -> int:
        """Input sides must be multiples of this."""
        return 2 ** (len(self.blocks) - 1)

    def build(self, channels: int) -> nn.Module:
        """Return the untrained module: (B, 1, X, Y, Z) to logits (B, channels, X, Y, Z).

        While training it returns a list of `supervised_levels` logits, finest first.
        """
        from monai.networks.nets import SegResNetDS

        return SegResNetDS(
            spatial_dims=3,
            init_filters=self.width,
            in_channels=1,
            out_channels=channels,
            norm=self.norm,
            blocks_down=self.blocks,
            dsdepth=self.supervised_levels,
            upsample_mode="deconv",
        )
