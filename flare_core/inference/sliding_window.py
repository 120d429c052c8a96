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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Visits:
    """Which windows of a volume were run.

    Attributes:
        window: voxels along X, Y, Z.
        corners: lowest corner of each window in the order of the visits, in voxels of the volume (negative where it
            was padded).
        scheme: windows of the scheme if none is skipped.
        dense: windows of a dense scheme with the same window and overlap.
    """

    window: tuple[int, int, int]
    corners: tuple[tuple[int, int, int], ...]
    scheme: int
    dense: int

    @property
    def count(self) -> int:
        """Number of windows that were run."""
        return len(self.corners)


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
        axes = [evenly_spread(size, side, self.overlap) for size, side in zip(shape, self.window, strict=True)]
        return list(itertools.product(*axes))

    def visits(self, network: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> Visits:
        """Return the windows that are run over a volume (arguments as in the call; the network is not asked)."""
        padded, kept = padded_to(image, self.window)
        corners = self.corners(tuple(padded.shape))
        return Visits(self.window, in_volume(corners, kept), len(corners), len(corners))

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
        padded, kept = padded_to(image, self.window)
        corners = self.corners(tuple(padded.shape))
        sums = None
        for start in range(0, len(corners), self.batch):
            group = corners[start : start + self.batch]
            scores = run_windows(network, padded, group, self.window, activation)
            if sums is None:
                sums = ScoreSums(scores.shape[1], tuple(padded.shape), self.weights())
            sums.add(group, scores)
        return sums.means()[(slice(None), *kept)]


class ScoreSums:
    """Weighted sums of window scores over a volume, on the CPU."""

    def __init__(self, channels: int, shape: tuple[int, int, int], weights: torch.Tensor) -> None:
        self.weights = weights
        self._total = torch.zeros(channels, *shape)
        self._covered = torch.zeros(shape)

    def add(self, corners: Sequence[tuple[int, int, int]], scores: torch.Tensor) -> None:
        """Add the scores (B, C, *window) of the windows at `corners`."""
        for corner, score in zip(corners, scores, strict=True):
            box = box_at(corner, tuple(self.weights.shape))
            self._total[(slice(None), *box)] += score * self.weights
            self._covered[box] += self.weights

    def means(self) -> torch.Tensor:
        """Return the weighted means (C, X, Y, Z), 0 in every channel where no window was; call it once, at the end."""
        return self._total.div_(self._covered.clamp_(min=1e-7))


def evenly_spread(size: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of the windows along an axis with `size` >= `window`, from border to border.

    They are as few as the overlap allows and evenly spread, as nnU-Net's are.
    """
    step = max(1.0, window * (1 - overlap))
    count = max(1, math.ceil((size - window) / step) + 1)
    return [round(i * (size - window) / (count - 1)) for i in range(count)] if count > 1 else [0]


def padded_to(image: torch.Tensor, shape: Sequence[int]) -> tuple[torch.Tensor, tuple[slice, ...]]:
    """Pad a volume with zeros on both sides to at least a shape.

    Args:
        image: tensor of shape (X, Y, Z).
        shape: smallest sides.
    Returns:
        The padded volume (the input itself where it is large enough) and the slices where the input lies in it.
    """
    short = [max(0, side - size) for size, side in zip(image.shape, shape, strict=True)]
    before = [s // 2 for s in short]
    kept = tuple(slice(b, b + size) for b, size in zip(before, image.shape, strict=True))
    if not any(short):
        return image, kept
    return F.pad(image, [v for s, b in reversed(list(zip(short, before, strict=True))) for v in (b, s - b)]), kept


def in_volume(corners: Sequence[tuple[int, int, int]], kept: Sequence[slice]) -> tuple[tuple[int, int, int], ...]:
    """Return corners on a padded volume as voxels of the volume itself, which lies at `kept` (see `padded_to`)."""
    return tuple(tuple(c - k.start for c, k in zip(corner, kept, strict=True)) for corner in corners)


def run_windows(
    network: Callable[[torch.Tensor], torch.Tensor],
    image: torch.Tensor,
    corners: Sequence[tuple[int, int, int]],
    window: tuple[int, int, int],
    activation: Callable[[torch.Tensor], torch.Tensor] | None,
) -> torch.Tensor:
    """Return a network's float32 scores (B, C, *window), on the CPU, for the windows at B corners of a volume."""
    scores = network(torch.stack([image[box_at(corner, window)] for corner in corners])[:, None]).float()
    return (scores if activation is None else activation(scores)).cpu()


def box_at(corner: tuple[int, int, int], window: tuple[int, int, int]) -> tuple[slice, ...]:
    """Return the slices of a window."""
    return tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
