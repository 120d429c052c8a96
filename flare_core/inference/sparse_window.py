"""Run a network over few windows: nine a slab at most, and fewer where the middle one says that little is there.

Ninth step of the data flow, the FLARE22 winner's efficient sliding window. Along z the windows overlap as usual. In x
and y there are three positions each, around the middle of the volume. In every slab the central window is run first,
and what it holds decides on the other eight; read `SparseWindow._visit` from top to bottom.

References:
    Huang et al. 2022, Revisiting nnU-Net for iterative pseudo labeling and efficient sliding window inference;
    Ziyan-Huang/FLARE22, nnunet/network_architecture/neural_network.py (numbers; its z is our last axis).
    efficient_nnunet, section 1 (uses it).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.interpolation import best_channel
from flare_core.cases.labels import LabelScheme
from flare_core.inference.backends import Network
from flare_core.inference.planes import Corner, Held, Padded, Planes
from flare_core.inference.sliding_window import RollingSums, SlidingWindow, Visits, evenly_spread, mirrored

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SparseWindow:
    """A window scheme that skips windows by what the central one of a slab holds.

    The rules count the voxels that the network calls foreground in the central window:

    - below `empty_voxels`: the slab is dropped, its central window too, and the next slab is not looked at;
    - else below `half_empty_voxels` in the front part: the slab is dropped;
    - else only tubes: of the other windows only those in front of and behind it, each if more than `edge_voxels`
      foreground voxels lie in the central window's plane on that side;
    - else all of them.

    The rules suit organs. A network without tube channels (a binary tumor scheme) never uses the third rule, and the
    first ones then drop every slab whose tumor is small or not in the middle: set `empty_voxels` and
    `half_empty_voxels` to 0, which keeps the three by three positions, or use `SlidingWindow`.

    The published code counts the front part along the wrong axis, where it covers the whole window, so that its
    second rule never adds anything to the first; here it means what its author says (0 turns it off).

    Attributes:
        window: voxels along X, Y, Z.
        overlap: share of a window that its neighbor along z covers.
        empty_voxels, half_empty_voxels, edge_voxels: as above.
        front_share: share of the central window that is its front part (front = anterior, the high end of y in RAS+).
        tubes: names of the targets that run along the body.
        weighting: `gaussian` or `constant`, as in `SlidingWindow`.
        batch: windows a forward pass (the central one is always alone).
        mirror_axes: as in `SlidingWindow`.
    """

    window: tuple[int, int, int]
    overlap: float = 0.5
    empty_voxels: int = 1000
    half_empty_voxels: int = 500
    front_share: float = 0.6
    edge_voxels: int = 10
    tubes: tuple[str, ...] = ("aorta", "inferior_vena_cava", "esophagus")
    weighting: str = "gaussian"
    batch: int = 1
    mirror_axes: tuple[int, ...] = ()

    def window_for(self, network: Network, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the window, which is the same for every network and volume."""
        return self.window

    def positions(self, shape: tuple[int, int, int]) -> tuple[list[int], list[int], list[int]]:
        """Return the windows' first voxels along X, Y and Z over a volume at least as large as one window.

        Along x and y: one where the volume is as large as the window; from border to border up to two windows;
        beyond that two windows around the middle, so that the margin of the volume is never looked at.
        """
        in_plane = [_around_middle(size, side) for size, side in zip(shape[:2], self.window[:2], strict=True)]
        return *in_plane, evenly_spread(shape[2], self.window[2], self.overlap)

    def slabs(self, network: Network, image: Planes, probabilities: bool = False) -> Iterator[np.ndarray]:
        """Yield the averaged class scores of a volume from its first planes to its last, as `SlidingWindow.slabs`.

        Where no window was, all channels are 0, so that background (the first) wins.

        Args:
            network: (B, 1, *window) to (B, C, *window); its `scheme` says which channels are tubes.
            image, probabilities: as there.
        """
        return self._visit(network, image, probabilities, [])

    def __call__(self, network: Network, image: np.ndarray, probabilities: bool = False) -> np.ndarray:
        """Return the scores of a whole volume (X, Y, Z) in one array (C, X, Y, Z); arguments as in `slabs`."""
        return np.concatenate(list(self.slabs(network, Held(image), probabilities)), axis=3)

    def visits(self, network: Network, image: Planes) -> Visits:
        """Return the windows that are run over a volume; which ones the network decides, so it is run."""
        visited: list[Corner] = []
        for _ in self._visit(network, image, False, visited):
            pass
        return self._record(image, visited)

    def _record(self, image: Planes, visited: list[Corner]) -> Visits:
        """Return the record of windows that were run, given by their corners on the padded volume."""
        padded = Padded(image, self.window)
        scheme = math.prod(map(len, self.positions(padded.shape)))
        dense = SlidingWindow(self.window, self.overlap).layers(padded.shape)
        return Visits(self.window, tuple(map(padded.in_image, visited)), scheme, sum(map(len, dense)))

    def _visit(
        self, network: Network, image: Planes, probabilities: bool, visited: list[Corner]
    ) -> Iterator[np.ndarray]:
        """Yield the scores as `slabs` does, and note the corner of every window that is run, on the padded volume."""
        padded = Padded(image, self.window)
        xs, ys, zs = self.positions(padded.shape)
        sums = RollingSums(padded, SlidingWindow(self.window, weighting=self.weighting).weights())
        channels, scheme, batch = network.scheme.channels, network.scheme, getattr(network, "batch", None) or self.batch
        network = mirrored(network, self.mirror_axes)
        is_empty = False
        for z in zs:
            yield from sums.planes_below(z, channels)
            if is_empty:  # the slab before was
                is_empty = False
                continue
            center = (xs[len(xs) // 2], ys[len(ys) // 2], z)
            scores = sums.run(network, [center], probabilities)
            visited.append(center)
            labels = best_channel(scores[0])
            is_empty = int((labels > 0).sum()) < self.empty_voxels
            if is_empty or self._is_half_empty(labels):
                continue
            sums.add([center], scores)
            others = self._others(labels, scheme, [(x, y, z) for y in ys for x in xs], center)
            others = sums.inhabited(others)
            for start in range(0, len(others), batch):
                group = others[start : start + batch]
                sums.add(group, sums.run(network, group, probabilities))
            visited += others
        yield from sums.planes_below(padded.shape[2], channels)
        record = self._record(image, visited)
        log.debug("%d windows (all of the scheme %d, dense %d)", record.count, record.scheme, record.dense)

    def _is_half_empty(self, labels: np.ndarray) -> bool:
        """Say whether the front part of a window holds too little."""
        behind = self.window[1] - int(self.front_share * self.window[1])
        return int((labels[:, behind:] > 0).sum()) < self.half_empty_voxels

    def _others(self, labels: np.ndarray, scheme: LabelScheme, slab: list[Corner], center: Corner) -> list[Corner]:
        """Return the windows of a slab that the labels of its central window call for."""
        others = [corner for corner in slab if corner != center]
        tubes = {i for i, group in enumerate(scheme.groups, start=1) if set(group) <= set(self.tubes)}
        found = set(np.unique(labels).tolist()) - {0}
        if not found or not found <= tubes:
            return others
        is_behind, is_in_front = (int((labels[:, side] > 0).sum()) > self.edge_voxels for side in (0, -1))
        column = [corner for corner in others if corner[0] == center[0]]
        return [c for c in column if (is_behind and c[1] < center[1]) or (is_in_front and c[1] > center[1])]


def _around_middle(size: int, window: int) -> list[int]:
    """Return one or three positions along an in-plane axis (see `SparseWindow.positions`)."""
    if size <= window:
        return [0]
    if size <= 2 * window:
        return [0, round((size - window) / 2), size - window]
    middle = round(size / 2)
    return [middle - window, int(middle - window / 2), middle]
