"""Networks whose answer one can read off the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from flare_core.cases.labels import LabelScheme
from flare_core.cases.preprocessing import IntensityWindow, Preprocessing
from flare_core.inference.network import TrainedNetwork
from flare_core.models.segresnet import SegResNet

SPACING = (4.0, 4.0, 4.0)
GRID = Preprocessing(SPACING, IntensityWindow(0, 20))  # an image value k becomes k / 20


class Sees(torch.nn.Module):
    """Says channel i (score 9) wherever the image had the i-th value, else background; counts its windows."""

    def __init__(self, *values: int) -> None:
        super().__init__()
        self.values, self.windows = values, 0
        self.anchor = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.windows += len(x)
        seen = [(x[:, 0] * 20 - value).abs() < 1e-3 for value in self.values]
        return 9.0 * torch.stack([~torch.stack(seen).any(0), *seen], 1).float()


class Constant(torch.nn.Module):
    """Says the same scores everywhere."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.scores = torch.tensor(scores)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores.view(1, -1, 1, 1, 1).expand(len(x), -1, *x.shape[2:])


class Threshold:
    """Stands for a submission: liver wherever the image is above 0 HU; counts its calls."""

    stages = ()

    def __init__(self):
        self.calls = 0

    def looks(self):
        return ()

    def __call__(self, image_hu, spacing_mm, networks):
        self.calls += 1
        return (image_hu > 0).astype(np.uint8)


def fake_network(scheme: LabelScheme, module: torch.nn.Module | None = None, preprocessing: Any = GRID):
    """A network with stride 2 that sees channel i where the image has the value i, or `module`."""
    module = module or Sees(*range(1, scheme.channels))
    return TrainedNetwork(module, SegResNet(4, (1, 1), 1), scheme, preprocessing)
