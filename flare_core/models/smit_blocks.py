"""The modules of SMIT's pretraining (see `smit.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from flare_core.models.swinx_blocks import Backbone

if TYPE_CHECKING:
    from flare_core.models.smit import SmitPretraining


class Views(NamedTuple):
    """What the network says about a batch of views.

    Attributes:
        tokens: (B, N, K) prototype scores of every cube.
        whole: (B, K) prototype scores of the view.
        image: (B, 1, X, Y, Z) the view as predicted.
    """

    tokens: torch.Tensor
    whole: torch.Tensor
    image: torch.Tensor


class DistillationHead(nn.Module):
    """Three linear layers, unit length, then a linear layer whose rows have unit length."""

    def __init__(self, inputs: int, width: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, bottleneck))
        )
        for layer in self.layers[::2]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        # the length of a row has no effect on the scores but divides its learning rate: that of a linear layer, 0.58
        self.prototypes = nn.Parameter(nn.Linear(bottleneck, outputs, bias=False).weight.detach().clone())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.linear(F.normalize(self.layers(features), dim=-1), F.normalize(self.prototypes, dim=-1))


class SmitModule(nn.Module):
    """Backbone with masked tokens, two distillation heads, image head."""

    def __init__(self, architecture: SmitPretraining) -> None:
        super().__init__()
        network, widths = architecture.network, architecture.network.features
        self.cube = architecture.mask_cube
        self.token_stage = self.cube.bit_length() - 3  # merged, its tokens are 4 * 2 ** stage voxels wide
        width = widths[self.token_stage + 1]
        sizes = (width, architecture.head_width, architecture.head_bottleneck, architecture.prototypes)
        self.backbone = Backbone(network)
        self.mask_token = nn.Parameter(torch.zeros(1, network.embed, 1, 1, 1))
        self.token_norm = nn.LayerNorm(width, eps=1e-6)
        self.token_head, self.whole_head = DistillationHead(*sizes), DistillationHead(*sizes)
        self.stride = network.stride
        self.image_head = nn.Conv3d(widths[-1], self.stride**3, 1)

    def forward(self, views: torch.Tensor, masks: torch.Tensor | None = None) -> Views:
        """Return what the network says about views (B, 1, X, Y, Z) whose masked cubes it does not see.

        Args:
            views: images.
            masks: (B, X / cube, Y / cube, Z / cube) bool, True where a cube is hidden; None hides nothing.
        """
        features = self.backbone.embedded(views)
        if masks is not None:
            hidden = F.interpolate(masks[:, None].float(), size=features.shape[2:], mode="nearest") > 0.5
            features = torch.where(hidden, self.mask_token.to(features.dtype), features)
        _, merged = self.backbone(features)
        tokens = self.token_norm(merged[self.token_stage].flatten(2).transpose(1, 2))
        return Views(self.token_head(tokens), self.whole_head(tokens.mean(1)), self._image(merged[-1]))

    def _image(self, features: torch.Tensor) -> torch.Tensor:
        """Return the predicted image from the coarsest features: each position holds a cube of stride^3 voxels."""
        cubes, side = self.image_head(features), self.stride
        batch, _, x, y, z = cubes.shape
        cubes = cubes.view(batch, side, side, side, x, y, z).permute(0, 4, 1, 5, 2, 6, 3)
        return cubes.reshape(batch, 1, x * side, y * side, z * side)
