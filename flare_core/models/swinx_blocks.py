"""The modules of Swin-X (see `swinx.py`), on MONAI's Swin layers and convolution blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.networks.blocks import PatchEmbed, UnetrBasicBlock, UnetrUpBlock
from monai.networks.nets.swin_unetr import BasicLayer, PatchMerging
from torch import nn

if TYPE_CHECKING:
    from flare_core.models.swinx import SwinX


class Backbone(nn.Module):
    """Patches of 2 x 2 x 2 voxels, then Swin stages, each followed by a merging (the last one, too)."""

    def __init__(self, architecture: SwinX) -> None:
        super().__init__()
        depths, widths = architecture.depths, architecture.features[:-1]
        rates = np.split(np.linspace(0, architecture.drop_path, sum(depths)), np.cumsum(depths)[:-1])
        self.embedding = PatchEmbed(patch_size=2, in_chans=1, embed_dim=architecture.embed)
        self.stages = nn.ModuleList(
            BasicLayer(width, depth, heads, architecture.window, rate.tolist(), qkv_bias=True)
            for width, depth, heads, rate in zip(widths, depths, architecture.heads, rates, strict=True)
        )
        self.mergings = nn.ModuleList(PatchMerging(width) for width in widths)

    def embedded(self, image: torch.Tensor) -> torch.Tensor:
        """Return the patches' features (B, C, X / 2, Y / 2, Z / 2)."""
        return self.embedding(image)

    def forward(self, features: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return what each stage computes (Swin-X's skips), and the same merged: half the sides, twice the channels.

        Args:
            features: from `embedded`.
        """
        computed, merged = [], []
        for stage, merging in zip(self.stages, self.mergings, strict=True):
            computed.append(stage(features.contiguous()))
            features = on_channels(merging, computed[-1])
            merged.append(features)
        return computed, merged


def on_channels(layer: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """Apply a layer that wants channels last to features (B, C, X, Y, Z)."""
    return layer(features.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


class Narrowing(nn.Module):
    """A residual 3 x 3 x 3 convolution, then 1 x 1 x 1 to the decoder's channels."""

    def __init__(self, inputs: int, outputs: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.residual = nn.Sequential(nn.Conv3d(inputs, inputs, 3, padding=1, bias=False), norm(inputs))
        self.narrow = nn.Sequential(nn.Conv3d(inputs, outputs, 1, bias=False), norm(outputs))
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = self.activation(self.residual(features) + features)
        return self.activation(self.narrow(features))


class SwinXModule(nn.Module):
    """Backbone, narrowing at every scale, decoder up to the image's own resolution."""

    def __init__(self, architecture: SwinX, channels: int) -> None:
        super().__init__()
        width, kind = architecture.decoder, architecture.norm
        norm = {"batch": nn.BatchNorm3d, "instance": lambda inputs: nn.InstanceNorm3d(inputs, affine=True)}[kind]
        name = kind if kind == "batch" else ("instance", {"affine": True})
        self.backbone = Backbone(architecture)
        self.norms = nn.ModuleList(nn.LayerNorm(inputs) for inputs in architecture.features[:-1])
        self.image = UnetrBasicBlock(3, 1, width, 3, 1, name, res_block=False)
        self.narrowings = nn.ModuleList(Narrowing(inputs, width, norm) for inputs in architecture.features)
        self.ups = nn.ModuleList(
            UnetrUpBlock(3, width, width, 3, 2, name, res_block=True) for _ in architecture.features
        )
        self.head = nn.Conv3d(width, channels, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        computed, merged = self.backbone(self.backbone.embedded(image))
        scales = [on_channels(norm, features) for norm, features in zip(self.norms, computed, strict=True)]
        scales.append(merged[-1])
        skips: Sequence[torch.Tensor] = [self.image(image)]
        skips = [*skips, *(narrow(scale) for narrow, scale in zip(self.narrowings, scales, strict=True))]
        features = skips[-1]
        for up, skip in zip(self.ups, skips[-2::-1], strict=True):
            features = up(features, skip)
        return self.head(features)
