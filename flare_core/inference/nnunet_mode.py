"""nnU-Net version 2's own inference, step by step: the same labels as its predictor gives.

Tenth step of the data flow for imported networks; an explicit mode beside our faster one. Read
`NnUNetPredictor.__call__` from top to bottom: crop, normalize, resample, average windows, folds and mirrored views as
logits, resample the logits, take the best channel, put the crop back. Sums are kept in half precision because nnU-Net
keeps them so: where two channels are equally good, rounding decides.

References:
    MIC-DKFZ/nnUNet 2.8, inference/predict_from_raw_data.py, inference/sliding_window_prediction.py,
    inference/export_prediction.py. Equal labels: tests/inference/test_nnunet_import.py, benchmarks/nnunet_parity.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from flare_core.inference.ensemble import check_one_grid, is_constant
from flare_core.inference.nnunet_preprocessing import NnUNetPreprocessing, NnUNetResampling, nonzero_box
from flare_core.inference.planes import Held, Padded
from flare_core.inference.sliding_window import box_at, mirrored
from flare_core.inference.trace import Look
from flare_core.timing import counted, timed

if TYPE_CHECKING:
    from flare_core.inference.backends import Network

CENTER_WEIGHT = 10
"""Weight of a window's center. Half precision holds 65504, so sums of logits beyond some 200 would overflow."""


@dataclass(frozen=True)
class NnUNetPredictor:
    """nnU-Net's predictor.

    nnU-Net shows the network an image as its file stores it and never reorients. `flare predict` reads every file as
    RAS+, and this value turns it into the orientation that the network was trained in
    (`NnUNetPreprocessing.axes`, given at import). Labels therefore equal nnU-Net's own wherever a file is stored in
    that orientation; a file that is stored otherwise is still shown the right way up, where nnU-Net would show it
    turned or mirrored.

    Attributes:
        members: stage whose folds are averaged; they share one `NnUNetPreprocessing`.
        window: voxels along the network's axes (nnU-Net's patch size turned around).
        tile_step: largest step from window to window as a share of the window, 0 < tile_step <= 1.
        mirror_axes: axes of the network's arrays to mirror, in all combinations; () mirrors nothing.
        resampling: of the logits back to the image's grid.
    """

    members: str
    window: tuple[int, int, int]
    tile_step: float = 0.5
    mirror_axes: tuple[int, ...] = ()
    resampling: NnUNetResampling = NnUNetResampling(order=1)

    @property
    def parts(self) -> tuple[NnUNetPredictor, ...]:
        """What is merged: this prediction alone."""
        return (self,)

    def looks(self) -> tuple[Look, ...]:
        """Return the one look of all folds."""
        return (Look(self.stages, self),)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose networks a submission must hold."""
        return (self.members,)

    def __call__(
        self,
        image_hu: np.ndarray,
        spacing_mm: tuple[float, float, float],
        networks: Mapping[str, Sequence[Network]],
    ) -> np.ndarray:
        """Return the label map of one case.

        Args:
            image_hu: float32 array (X, Y, Z) in HU, RAS+. A constant image gives an empty map.
            spacing_mm: voxel edge lengths along X, Y, Z.
            networks: the folds of the stage `members`, at least one.
        Returns:
            uint8 array of the same shape with target ids 0..14.
        Raises:
            ValueError: if the folds do not share grid and labels, or if logits overflow half precision.
        """
        if is_constant(image_hu):
            return np.zeros(image_hu.shape, np.uint8)
        members = networks[self.members]
        check_one_grid(members)
        preprocessing: NnUNetPreprocessing = members[0].preprocessing
        image, spacing = preprocessing.to_axes(image_hu), preprocessing.spacing_along_axes(spacing_mm)
        box = nonzero_box(image)
        with timed("resample"):
            grid = np.ascontiguousarray(preprocessing.to_grid(image[box], spacing))
        logits = self._mean_logits(members, grid)
        labels = np.zeros(image.shape, np.uint8)
        with timed("reduce"):
            channels = self._best_channels(logits, image[box].shape, preprocessing.spacing_mm, spacing)
        labels[box] = members[0].scheme.to_targets(channels)
        return np.ascontiguousarray(preprocessing.from_axes(labels))

    def window_for(self, network: Network, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the window, which is the same for every network and volume."""
        return self.window

    def held_bytes(self, channels: int, grid: Sequence[int], shape: Sequence[int]) -> int:
        """Return the memory of what is held of a whole volume: logits on the grid, and one channel on the image's.

        It grows with the number of slices, as nnU-Net's own does.
        """
        padded = [max(size, side) for size, side in zip(grid, self.window, strict=True)]
        doubles = 5  # one channel in float64 before and after, sorted by axis, and its limits
        return 2 * 2 * (channels + 1) * math.prod(padded) + (8 * doubles + 2) * math.prod(shape)

    def corners(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return the lowest corner of every window over a volume at least as large as one.

        They are evenly spread from border to border. The last axis is the outermost loop, as nnU-Net's first one is:
        half-precision sums depend on the order.
        """
        starts = []
        for size, side in zip(shape, self.window, strict=True):
            count = math.ceil((size - side) / (side * self.tile_step)) + 1
            step = (size - side) / (count - 1) if count > 1 else 0.0
            starts.append([round(step * index) for index in range(count)])
        return [corner[::-1] for corner in itertools.product(*reversed(starts))]

    def weights(self) -> np.ndarray:
        """Return the weight of each voxel of a window, shape `window`, float16, all > 0.

        A Gaussian around voxel side // 2 with a deviation of an eighth of the side, cut off at four deviations; what
        half precision makes 0 gets the smallest weight that is not.
        """
        from scipy import ndimage

        point = np.zeros(self.window)
        point[tuple(side // 2 for side in self.window)] = 1
        bell = ndimage.gaussian_filter(point, [side / 8 for side in self.window], mode="constant")
        weights = (bell / (bell.max() / CENTER_WEIGHT)).astype(np.float16)
        weights[weights == 0] = weights[weights > 0].min()
        return weights

    def _mean_logits(self, members: Sequence[Network], grid: np.ndarray) -> np.ndarray:
        """Return the logits of all folds, averaged, on the grid (float16, (C, X, Y, Z))."""
        total = self._logits(members[0], grid)
        for member in members[1:]:
            total += self._logits(member, grid)
        if len(members) > 1:
            total /= len(members)
        return total

    def _logits(self, network: Network, grid: np.ndarray) -> np.ndarray:
        """Return one fold's logits on the grid (float16, (C, X, Y, Z))."""
        image = Padded(Held(grid), self.window)
        padded, kept = image.planes(0, image.shape[2]), image.kept
        weights = self.weights()
        total = np.zeros((network.scheme.channels, *padded.shape), np.float16)
        covered = np.zeros(padded.shape, np.float16)
        run = mirrored(network, self.mirror_axes)
        with np.errstate(over="ignore", invalid="ignore"):  # refused below
            for corner in self.corners(padded.shape):
                at = box_at(corner, self.window)
                with timed("network"):
                    scores = run(padded[at][None, None])[0]
                counted("windows", 2 ** len(self.mirror_axes))
                counted("voxels", math.prod(self.window))  # `mirrored` counts the views
                total[(slice(None), *at)] += scores * weights  # half += float: added in single precision, then rounded
                covered[at] += weights
            total /= covered
        if not np.isfinite(total).all():
            raise ValueError("logits are not finite in half precision, in which nnU-Net adds them up, too")
        return total[(slice(None), *kept)]

    def _best_channels(
        self,
        logits: np.ndarray,
        shape: tuple[int, ...],
        spacing_mm: Sequence[float],
        new_spacing_mm: Sequence[float],
    ) -> np.ndarray:
        """Resample logits to a shape, one channel at a time, and return the best channel of every voxel (uint8)."""
        best, channels = None, np.zeros(shape, np.uint8)
        for channel, scores in enumerate(logits):
            candidate = self.resampling(scores, shape, spacing_mm, new_spacing_mm)
            if best is None:
                best = candidate.copy()
                continue
            better = candidate > best  # of equals the lower channel wins
            channels[better] = channel
            best[better] = candidate[better]
        return channels
