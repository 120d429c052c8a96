"""Run a network over a volume in windows and average the scores where windows meet.

Ninth step of the data flow. Windows of the training size are laid over the volume, evenly spread so that the last one
ends at its border; each window's class scores are weighted and added up on the CPU, so that the device only ever holds
one batch of windows.

References:
    nvauto, section 2.5 (windows without overlap, one at a time on the GPU, results on the CPU).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class SlidingWindow:
    """A window scheme.

    Attributes:
        window: voxels along X, Y, Z.
        overlap: share of a window that its neighbor covers, 0 <= overlap < 1.
        weighting: `constant`, or `gaussian` (sigma = an eighth of the window).
        batch: windows a forward pass.
    """

    window: tuple[int, int, int]
    overlap: float = 0.0
    weighting: str = "constant"
    batch: int = 1

    def corners(self, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Return the lowest corner of every window over a volume at least as large as one window.

        Along each axis the windows are as few as the overlap allows and evenly spread from border to border.
        """
        axes = []
        for size, window in zip(shape, self.window, strict=True):
            step = max(1.0, window * (1 - self.overlap))
            count = max(1, math.ceil((size - window) / step) + 1)
            last = size - window
            axes.append([round(i * last / (count - 1)) for i in range(count)] if count > 1 else [0])
        return list(itertools.product(*axes))

    def weights(self) -> torch.Tensor:
        """Return the weight of each voxel of a window, shape `window`, all > 0."""
        if self.weighting == "constant":
            return torch.ones(self.window)
        if self.weighting != "gaussian":
            raise ValueError(f"weighting is 'constant' or 'gaussian', got {self.weighting!r}")
        profiles = []
        for side in self.window:
            distance = torch.arange(side) - (side - 1) / 2
            profiles.append(torch.exp(-0.5 * (distance / (side / 8)) ** 2))
        product = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
        return product.clamp_(min=1e-3 * float(product.max()))

    @torch.inference_mode()
    def __call__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        image: torch.Tensor,
        *,
        activation: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the averaged class scores of a volume.

        Args:
            network: (B, 1, *window) to (B, C, *window) on whatever device it likes.
            image: float tensor of shape (X, Y, Z); where it is smaller than a window it is padded with zeros on both
                sides and the scores are cropped back.
            activation: applied to each window's scores before averaging, e.g. a softmax; None averages logits.
        Returns:
            float32 tensor of shape (C, X, Y, Z) on the CPU.
        """
        short = [max(0, window - size) for size, window in zip(image.shape, self.window, strict=True)]
        before = [s // 2 for s in short]
        padding = [v for s, b in reversed(list(zip(short, before, strict=True))) for v in (b, s - b)]
        padded = F.pad(image, padding) if any(short) else image
        weights = self.weights()
        corners = self.corners(tuple(padded.shape))
        total, covered = None, torch.zeros(padded.shape)
        for start in range(0, len(corners), self.batch):
            group = [_box(corner, self.window) for corner in corners[start : start + self.batch]]
            scores = network(torch.stack([padded[box] for box in group])[:, None]).float()
            if activation is not None:
                scores = activation(scores)
            scores = scores.cpu()
            if total is None:
                total = torch.zeros(scores.shape[1], *padded.shape)
            for box, score in zip(group, scores, strict=True):
                total[(slice(None), *box)] += score * weights
                covered[box] += weights
        total /= covered
        kept = tuple(slice(b, b + size) for b, size in zip(before, image.shape, strict=True))
        return total[(slice(None), *kept)]


def _box(corner: tuple[int, int, int], window: tuple[int, int, int]) -> tuple[slice, ...]:
    """Return the slices of a window."""
    return tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
