"""The network that Swin-X's backbone is pretrained in: masked tokens, two distillation heads, an image head (SMIT).

Sixth step of the data flow. Its Swin weights have the names that they have in `SwinX`, so fine-tuning starts from them.

References:
    Jiang et al. 2022 (SMIT); The-Veeraraghavan-Lab/SMIT, models/Trans.py, train_model/head.py; Zhou et al. 2022 (iBOT);
    swinx, section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flare_core.models.swinx import SwinX

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SmitPretraining:
    """Architecture of the pretraining; the defaults are the published ones.

    Attributes:
        network: whose backbone is pretrained.
        mask_cube: side in voxels of the cubes that are masked; a token of the distillation stands for one of them.
        head_width, head_bottleneck: of the distillation heads.
        prototypes: outputs of the distillation heads.
    """

    network: SwinX
    mask_cube: int = 16
    head_width: int = 2048
    head_bottleneck: int = 256
    prototypes: int = 8192

    @property
    def stride(self) -> int:
        """Input sides must be multiples of this."""
        return self.network.stride

    def build(self, channels: int = 0) -> nn.Module:
        """Return the untrained module (`smit_blocks.SmitModule`); `channels` plays no part: nothing is labeled.

        Raises:
            ValueError: if no stage of the backbone, merged, has one token a cube.
        """
        from flare_core.models.smit_blocks import SmitModule

        sides = [4 * 2**stage for stage in range(len(self.network.depths))]
        if self.mask_cube not in sides:
            raise ValueError(f"the backbone has tokens of {sides} voxels, none for masked cubes of {self.mask_cube}")
        return SmitModule(self)
