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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.inference.backends import Network
from flare_core.inference.planes import Corner, Held, Padded, Planes
from flare_core.timing import counted, timed


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

    def window_for(self, network: Network, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the window, which is the same for every network and volume."""
        return self.window

    def layers(self, shape: Sequence[int]) -> list[list[Corner]]:
        """Return the lowest corners of the windows over a volume at least as large as one window, layer by layer.

        Along each axis the windows are as few as the overlap allows and evenly spread from border to border.
        """
        xs, ys, zs = (evenly_spread(size, side, self.overlap) for size, side in zip(shape, self.window, strict=True))
        return [[(x, y, z) for x in xs for y in ys] for z in zs]

    def visits(self, network: Network, image: Planes) -> Visits:
        """Return the windows that are run over a volume (arguments as in `slabs`; the network is not asked)."""
        sums = RollingSums(Padded(image, self.window), self.weights())
        layers, visited = self.layers(sums.image.shape), []
        for layer in layers:
            sums.skip_to(layer[0][2])
            visited += sums.inhabited(layer)
        count = sum(map(len, layers))
        return Visits(self.window, tuple(map(sums.image.in_image, visited)), count, count)

    def weights(self) -> np.ndarray:
        """Return the weight of each voxel of a window, shape `window`, all > 0."""
        if self.weighting == "constant":
            return np.ones(self.window, np.float32)
        if self.weighting != "gaussian":
            raise ValueError(f"weighting is 'constant' or 'gaussian', got {self.weighting!r}")
        profiles = []
        for side in self.window:
            distance = np.arange(side, dtype=np.float32) - (side - 1) / 2
            profiles.append(np.exp(-0.5 * (distance / (side / 8)) ** 2))
        product = profiles[0][:, None, None] * profiles[1][:, None] * profiles[2]
        return np.maximum(product, 1e-3 * product.max())

    def slabs(self, network: Network, image: Planes, probabilities: bool = False) -> Iterator[np.ndarray]:
        """Yield the averaged class scores of a volume from its first planes to its last.

        Args:
            network: what computes a batch of windows (`backends.Network`).
            image: the volume; where it is smaller than a window, zeros surround it, and the scores are cropped back.
            probabilities: average probabilities, not logits.
        Yields:
            float32 arrays of shape (C, X, Y, n), one a layer of windows.
        """
        padded = Padded(image, self.window)
        sums = RollingSums(padded, self.weights())
        batch = getattr(network, "batch", None) or self.batch
        channels = getattr(getattr(network, "scheme", None), "channels", None)
        network = mirrored(network, self.mirror_axes)
        for layer in self.layers(padded.shape):
            yield from sums.planes_below(layer[0][2], channels)
            layer = sums.inhabited(layer)
            for first in range(0, len(layer), batch):
                group = layer[first : first + batch]
                sums.add(group, sums.run(network, group, probabilities))
        yield from sums.planes_below(padded.shape[2], channels)

    def __call__(self, network: Network, image: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the scores of a whole volume (X, Y, Z) in one array (C, X, Y, Z); arguments as in `slabs`."""
        return np.concatenate(list(self.slabs(network, Held(image), probabilities)), axis=3)


class RollingSums:
    """Weighted sums of window scores, on the CPU, over the planes that windows still reach.

    Layers of windows come in the order of their z, and `planes_below(z)` comes before the layer at z.
    """

    def __init__(self, image: Padded, weights: np.ndarray) -> None:
        self.image, self.weights, self.window = image, weights, weights.shape
        self._start = 0  # the first plane that has not left yet; the sums begin here
        self._covered = np.zeros((*image.shape[:2], self.window[2]), np.float32)
        self._total: np.ndarray | None = None
        self._layer: np.ndarray | None = None

    def run(self, network: Network, corners: Sequence[Corner], probabilities: bool) -> np.ndarray:
        """Return a network's float32 scores (B, C, *window) for the windows at B corners of this layer."""
        windows = [self._window(corner) for corner in corners]
        counted("windows", len(windows))
        counted("voxels", sum(window.size for window in windows))
        with timed("network"):
            return network(np.stack(windows)[:, None], *([True] if probabilities else []))

    def inhabited(self, corners: Sequence[Corner]) -> list[Corner]:
        """Return the corners of this layer whose windows hold more than air, if the image says what air is."""
        level = self.image.air_level
        if level == -math.inf:
            return list(corners)
        return [corner for corner in corners if self._window(corner).max() > level]

    def skip_to(self, z: int) -> None:
        """Go to the layer at z without sums."""
        self._start, self._layer = z, None

    def _window(self, corner: Corner) -> np.ndarray:
        """Return the image in a window of this layer."""
        if self._layer is None:
            self._layer = self.image.planes(self._start, self._start + self.window[2])
        return self._layer[box_at((*corner[:2], 0), self.window)]

    def add(self, corners: Sequence[Corner], scores: np.ndarray) -> None:
        """Add the scores (B, C, *window) of the windows at `corners` of this layer."""
        if self._total is None:
            self._total = np.zeros((scores.shape[1], *self._covered.shape), np.float32)
        for (x, y, _), score in zip(corners, scores, strict=True):
            box = box_at((x, y, 0), self.window)
            self._total[(slice(None), *box)] += score * self.weights
            self._covered[box] += self.weights

    def planes_below(self, z: int, channels: int | None = None) -> Iterator[np.ndarray]:
        """Yield the weighted means (C, X, Y, n) of the planes below z that have not left yet, cropped to the image.

        They are 0 in every channel where no window was (`channels` of them, if there has been no window at all).
        """
        count, first = z - self._start, self._start
        if count == 0:
            return
        if self._total is None:
            self._total = np.zeros((channels, *self._covered.shape), np.float32)
        means = self._total[..., :count] / self._covered[..., :count].clip(1e-7)
        for sums in (self._total, self._covered):
            left = sums.shape[-1] - count
            sums[..., :left] = sums[..., count:].copy()
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

    def averaged(windows: np.ndarray, *probabilities: bool) -> np.ndarray:
        total = network(windows, *probabilities)
        for view in views:
            counted("voxels", windows.size)
            total = total + np.flip(network(np.flip(windows, view), *probabilities), view)
        return total / np.float32(len(views) + 1)

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
