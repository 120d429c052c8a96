"""Run a network over a volume in windows and average the scores where windows meet.

Ninth step of the data flow. Windows of the training size are laid over the volume, evenly spread so that the last one
ends at its border; each window's class scores are weighted and added up on the CPU, so that the device only ever holds
one batch of windows. Windows go up the body layer by layer (a layer: all windows at one z), and planes that no later
window reaches leave at once: memory does not grow with the length of the body.

References:
    nvauto, section 2.5 (windows without overlap, one at a time on the GPU, results on the CPU).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from flare_core.inference.planes import Corner, Held, Padded, Planes

Activation = Callable[[torch.Tensor], torch.Tensor] | None
Network = Callable[[torch.Tensor], torch.Tensor]


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
        mirror_axes: each window is also run mirrored along these axes, in all combinations, and the scores averaged
            (nnU-Net's default is all three: eight passes); () mirrors nothing.
    """

    window: tuple[int, int, int]
    overlap: float = 0.0
    weighting: str = "constant"
    batch: int = 1
    mirror_axes: tuple[int, ...] = ()

    def layers(self, shape: Sequence[int]) -> list[list[Corner]]:
        """Return the lowest corners of the windows over a volume at least as large as one window, layer by layer.

        Along each axis the windows are as few as the overlap allows and evenly spread from border to border.
        """
        xs, ys, zs = (evenly_spread(size, side, self.overlap) for size, side in zip(shape, self.window, strict=True))
        return [[(x, y, z) for x in xs for y in ys] for z in zs]

    def visits(self, network: Network, image: Planes) -> Visits:
        """Return the windows that are run over a volume (arguments as in `slabs`; the network is not asked)."""
        padded = Padded(image, self.window)
        corners = tuple(padded.in_image(corner) for layer in self.layers(padded.shape) for corner in layer)
        return Visits(self.window, corners, len(corners), len(corners))

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

    def slabs(self, network: Network, image: Planes, activation: Activation = None) -> Iterator[torch.Tensor]:
        """Yield the averaged class scores of a volume from its first planes to its last.

        Args:
            network: (B, 1, *window) to (B, C, *window) on whatever device it likes.
            image: the volume; where it is smaller than a window, zeros surround it, and the scores are cropped back.
            activation: applied to each window's scores before averaging, e.g. a softmax; None averages logits.
        Yields:
            float32 tensors of shape (C, X, Y, n) on the CPU, one a layer of windows.
        """
        padded = Padded(image, self.window)
        sums = RollingSums(padded, self.weights())
        network = mirrored(network, self.mirror_axes)
        for layer in self.layers(padded.shape):
            yield from sums.planes_below(layer[0][2])
            for first in range(0, len(layer), self.batch):
                group = layer[first : first + self.batch]
                sums.add(group, sums.run(network, group, activation))
        yield from sums.planes_below(padded.shape[2])

    def __call__(self, network: Network, image: torch.Tensor, activation: Activation = None) -> torch.Tensor:
        """Return the scores of a whole volume (X, Y, Z) in one tensor (C, X, Y, Z); arguments as in `slabs`."""
        return torch.cat(list(self.slabs(network, Held(image), activation)), dim=3)


class RollingSums:
    """Weighted sums of window scores, on the CPU, over the planes that windows still reach.

    Layers of windows come in the order of their z, and `planes_below(z)` comes before the layer at z.
    """

    def __init__(self, image: Padded, weights: torch.Tensor) -> None:
        self.image, self.weights, self.window = image, weights, tuple(weights.shape)
        self._start = 0  # the first plane that has not left yet; the sums begin here
        self._covered = torch.zeros(*image.shape[:2], self.window[2])
        self._total: torch.Tensor | None = None
        self._layer: torch.Tensor | None = None

    @torch.inference_mode()
    def run(self, network: Network, corners: Sequence[Corner], activation: Activation) -> torch.Tensor:
        """Return a network's float32 scores (B, C, *window), on the CPU, for the windows at B corners of this layer."""
        if self._layer is None:
            self._layer = self.image.planes(self._start, self._start + self.window[2])
        windows = [self._layer[box_at((x, y, 0), self.window)] for x, y, _ in corners]
        scores = network(torch.stack(windows)[:, None]).float()
        return (scores if activation is None else activation(scores)).cpu()

    @torch.inference_mode()
    def add(self, corners: Sequence[Corner], scores: torch.Tensor) -> None:
        """Add the scores (B, C, *window) of the windows at `corners` of this layer."""
        if self._total is None:
            self._total = torch.zeros(scores.shape[1], *self._covered.shape)
        for (x, y, _), score in zip(corners, scores, strict=True):
            box = box_at((x, y, 0), self.window)
            self._total[(slice(None), *box)] += score * self.weights
            self._covered[box] += self.weights

    @torch.inference_mode()
    def planes_below(self, z: int, channels: int | None = None) -> Iterator[torch.Tensor]:
        """Yield the weighted means (C, X, Y, n) of the planes below z that have not left yet, cropped to the image.

        They are 0 in every channel where no window was (`channels` of them, if there has been no window at all).
        """
        count, first = z - self._start, self._start
        if count == 0:
            return
        if self._total is None:
            self._total = torch.zeros(channels, *self._covered.shape)
        means = self._total[..., :count] / self._covered[..., :count].clamp(min=1e-7)
        for sums in (self._total, self._covered):
            left = sums.shape[-1] - count
            sums[..., :left] = sums[..., count:].clone()
            sums[..., left:] = 0
        self._start, self._layer = z, None
        x, y, kept = self.image.kept
        means = means[:, x, y, max(kept.start - first, 0) : max(kept.stop - first, 0)]
        if means.shape[3]:
            yield means


def mirrored(network: Network, axes: Sequence[int]) -> Network:
    """Return what averages a network's scores over its input and all its mirrored views along some of three axes."""
    views = [
        [axis + 2 for axis in chosen]
        for count in range(1, len(axes) + 1)
        for chosen in itertools.combinations(axes, count)
    ]

    def averaged(windows: torch.Tensor) -> torch.Tensor:
        total = network(windows)
        for view in views:
            total = total + network(windows.flip(view)).flip(view)
        return total / (len(views) + 1)

    return averaged if views else network


def evenly_spread(size: int, window: int, overlap: float) -> list[int]:
    """Return the first voxels of the windows along an axis with `size` >= `window`, from border to border.

    They are as few as the overlap allows and evenly spread, as nnU-Net's are.
    """
    step = max(1.0, window * (1 - overlap))
    count = max(1, math.ceil((size - window) / step) + 1)
    return [round(i * (size - window) / (count - 1)) for i in range(count)] if count > 1 else [0]


def box_at(corner: Corner, window: tuple[int, int, int]) -> tuple[slice, ...]:
    """Return the slices of a window."""
    return tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))
