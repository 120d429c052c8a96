"""Make a volume small enough to be shown: leave out the air around the body, then unite voxels.

Serves the viewers at the end of the data flow. Nothing that is computed or scored goes through here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flare_core.cases.boxes import Box, bounding_box
from flare_core.cases.geometry import Geometry
from flare_core.cases.nifti import Volume

AIR_HU = -500


@dataclass(frozen=True)
class Reduction:
    """A part of a grid, and how many of its voxels along each axis become one.

    Attributes:
        box: the part; its edges are multiples of the factors.
        factors: along X, Y, Z, each >= 1.
    """

    box: Box
    factors: tuple[int, int, int]

    @classmethod
    def of(cls, image: Volume, most_voxels: int) -> Reduction:
        """Return what leaves at most so many voxels; an image that has no more stays whole.

        Air around the body goes first; then the axis with the shortest edges is halved, then cut to a third, and so on,
        each time the one that is finest now. Up to `factor - 1` planes at the far border are lost.

        Args:
            image: HU.
            most_voxels: >= 1.
        """
        shape, factors = image.data.shape, [1, 1, 1]
        box = tuple(slice(0, size) for size in shape)
        if math.prod(shape) > most_voxels:
            box = bounding_box(image.data > AIR_HU) or box
        edges = [part.stop - part.start for part in box]
        while math.prod(edge // factor for edge, factor in zip(edges, factors, strict=True)) > most_voxels:
            divisible = [axis for axis in range(3) if edges[axis] // (factors[axis] + 1)]
            finest = min(divisible, key=lambda axis: image.spacing_mm[axis] * factors[axis])
            factors[finest] += 1
        whole_blocks = tuple(
            slice(part.start, part.start + edge // factor * factor)
            for part, edge, factor in zip(box, edges, factors, strict=True)
        )
        return cls(whole_blocks, tuple(factors))

    @property
    def is_coarser(self) -> bool:
        """Whether voxels are united."""
        return max(self.factors) > 1

    def of_image(self, image: Volume) -> Volume:
        """Return the image's means over blocks, in whole HU (int16)."""
        return self._volume(image, _block_means(image.data[self.box], self.factors))

    def of_labels(self, labels: Volume) -> Volume:
        """Return the label of a voxel in the middle of each block: thin structures may break or vanish."""
        middles = tuple(slice((factor - 1) // 2, None, factor) for factor in self.factors)
        return self._volume(labels, labels.data[self.box][middles])

    def _volume(self, source: Volume, data: np.ndarray) -> Volume:
        """Return reduced data in their place: a new voxel's center is the middle of its block."""
        steps = np.eye(4)
        for axis, (part, factor) in enumerate(zip(self.box, self.factors, strict=True)):
            steps[axis, axis], steps[axis, 3] = factor, part.start + (factor - 1) / 2
        return Volume(data, Geometry.from_affine(data.shape, source.affine @ steps))


def _block_means(data: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Return means over blocks, rounded, clipped to int16; one layer of blocks at a time, to keep memory small."""
    x, y, z = (size // factor for size, factor in zip(data.shape, factors, strict=True))
    means, limits = np.empty((x, y, z), np.int16), np.iinfo(np.int16)
    for layer in range(z):
        part = data[:, :, layer * factors[2] : (layer + 1) * factors[2]]
        blocks = part.reshape(x, factors[0], y, factors[1], factors[2])
        layer_means = np.rint(blocks.mean(axis=(1, 3, 4), dtype=np.float32))
        means[:, :, layer] = layer_means.clip(limits.min, limits.max)
    return means
