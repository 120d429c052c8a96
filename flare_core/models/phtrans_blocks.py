"""The modules of PHTrans (see `phtrans.py`), on MONAI's Swin blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.nets.swin_unetr import SwinTransformerBlock, compute_mask, get_window_size
from torch import nn

if TYPE_CHECKING:
    from flare_core.models.phtrans import PHTrans, Triple


class ConvolutionPath(nn.Sequential):
    """Twice: convolution, dropout, instance norm, GELU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple, dropout: float) -> None:
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [
                nn.Conv3d(width, outputs, kernel, padding=[side // 2 for side in kernel]),
                nn.Dropout3d(dropout),
                nn.InstanceNorm3d(outputs, affine=True),
                nn.GELU(),
            ]
        super().__init__(*layers)


class SwinPath(nn.Module):
    """Swin blocks, every second one with windows shifted by half, on features (B, C, X, Y, Z)."""

    def __init__(self, width: int, heads: int, window: Triple, rates: tuple[float, ...]) -> None:
        super().__init__()
        self.window, self.shift = window, tuple(side // 2 for side in window)
        self.blocks = nn.ModuleList(
            SwinTransformerBlock(
                width, heads, window, self.shift if number % 2 else (0, 0, 0), mlp_ratio=4.0, drop_path=rate
            )
            for number, rate in enumerate(rates)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shape = features.shape[2:]
        window, shift = get_window_size(shape, self.window, self.shift)
        padded = [-(-size // side) * side for size, side in zip(shape, window, strict=True)]
        mask = compute_mask(padded, window, shift, features.device)
        tokens = features.permute(0, 2, 3, 4, 1).contiguous()
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens.permute(0, 4, 1, 2, 3)


class PHTransStage(nn.Module):
    """One stage: the convolutional path, plus the Swin path where there is one."""

    def __init__(self, architecture: PHTrans, stage: int, inputs: int) -> None:
        super().__init__()
        width, rates = architecture.features[stage], architecture.swin_rates(stage)
        kernel = architecture.first_kernel if stage == 0 else (3, 3, 3)
        self.convolutions = ConvolutionPath(inputs, width, kernel, architecture.dropout)
        self.swin = None
        if rates:
            heads = architecture.heads[stage - architecture.parallel_from]
            self.swin = SwinPath(width, heads, architecture.window, rates)

    def forward(self, features: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        together = features if skip is None else torch.cat([features, skip], 1)
        result = self.convolutions(together)
        if self.swin is not None:
            result = result + self.swin(features if skip is None else features + skip)
        return result


class PHTransModule(nn.Module):
    """Encoder, bottleneck, decoder, one head a decoder stage."""

    def __init__(self, architecture: PHTrans, channels: int) -> None:
        super().__init__()
        features, strides = architecture.features, architecture.strides
        stages = range(len(features))
        self.encoder = nn.ModuleList(PHTransStage(architecture, i, features[i] if i else 1) for i in stages)
        self.downs = nn.ModuleList(_step(nn.Conv3d, *features[i : i + 2], strides[i]) for i in stages[:-1])
        self.ups = nn.ModuleList(
            _step(nn.ConvTranspose3d, features[i + 1], features[i], strides[i]) for i in stages[:-1]
        )
        self.decoder = nn.ModuleList(PHTransStage(architecture, i, 2 * features[i]) for i in stages[:-1])
        self.heads = nn.ModuleList(nn.Conv3d(width, channels, 1, bias=False) for width in features[:-1])
        self.apply(_initialize)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        features, skips = self.encoder[0](image), []
        for down, stage in zip(self.downs, self.encoder[1:], strict=True):
            skips.append(features)
            features = stage(down(features))
        logits = []
        for i in reversed(range(len(skips))):
            features = self.decoder[i](self.ups[i](features), skips[i])
            if self.training or i == 0:
                logits.insert(0, self.heads[i](features))
        return logits if self.training else logits[0]


def _initialize(module: nn.Module) -> None:
    """Draw weights as the authors do: He-normal (slope 0.02) convolutions, linear layers of deviation 0.02."""
    if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
        nn.init.kaiming_normal_(module.weight, a=0.02)
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _step(kind: type[nn.Module], inputs: int, outputs: int, stride: Triple) -> nn.Sequential:
    """Return a convolution or its transpose with kernel = stride, and an instance norm."""
    return nn.Sequential(kind(inputs, outputs, stride, stride, bias=False), nn.InstanceNorm3d(outputs, affine=True))
