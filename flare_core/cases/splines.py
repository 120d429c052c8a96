"""Interpolate images by splines onto a network's grid, plane by plane as `interpolation` does by straight lines.

Serves the third step of the data flow where a method asks for it. Along each axis a spline through the voxels is linear
in their values, so all of it is one small matrix an axis. A voxel's weight falls below a fourth from one voxel to the
next: a few voxels beyond those asked for stand for all others, and nothing here grows with the length of the body.

References:
    Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Processing Magazine 16(6), 1999.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from flare_core.cases.interpolation import GridImage

REACH = 24
"""Voxels on both sides that still count; what a cubic spline leaves out beyond them is 1e-13 of their values."""


@dataclass(frozen=True, eq=False)
class SplineImage(GridImage):
    """An image on a network's grid, by splines within the range of its own values (as nnU-Net has it).

    Attributes:
        order: of the splines; 3 is cubic.
    """

    order: int = 3
    _held: dict[str, tuple[slice, np.ndarray]] = field(default_factory=dict, repr=False)

    def _planes(self, start: int, stop: int) -> np.ndarray:
        needed, along = spline_rows(self.image_hu.shape[2], self.shape[2], slice(start, stop), self.order)
        planes = np.tensordot(along, self._in_plane(needed), 1)
        np.clip(planes, *self._range, out=planes)
        return self.intensity(planes.transpose(2, 1, 0))

    def _in_plane(self, needed: slice) -> np.ndarray:
        """Return some planes of the image on the grid's rows and columns (z, y, x); those of the last call are kept."""
        last, kept = self._held.get("last", (slice(0, 0), None))
        planes = np.empty((needed.stop - needed.start, *self.shape[1::-1]), np.float32)
        for index, z in enumerate(range(needed.start, needed.stop)):
            if last.start <= z < last.stop:
                planes[index] = kept[z - last.start]
            else:
                planes[index] = self._rows @ self.image_hu[..., z].T.astype(np.float32) @ self._columns
        self._held["last"] = needed, planes
        return planes

    @cached_property
    def _columns(self) -> np.ndarray:
        return self._whole_axis(0).T

    @cached_property
    def _rows(self) -> np.ndarray:
        return self._whole_axis(1)

    def _whole_axis(self, axis: int) -> np.ndarray:
        return spline_rows(self.image_hu.shape[axis], self.shape[axis], slice(0, self.shape[axis]), self.order)[1]

    @cached_property
    def _range(self) -> tuple[float, float]:
        return float(self.image_hu.min()), float(self.image_hu.max())


def spline_rows(size: int, new_size: int, part: slice, order: int) -> tuple[slice, np.ndarray]:
    """Return how some of `new_size` voxels follow from `size` voxels over the same extent.

    Beyond the outermost centers the outermost voxel goes on, as in `scipy.ndimage.zoom` (mode "nearest", grid_mode).

    Returns:
        Which of the old voxels count, and their weights: float32 array (new voxels of the part, old ones that count).
    """
    from scipy import ndimage  # late: methods without splines never need it

    step = size / new_size
    first, last = (((index + 0.5) * step - 0.5) for index in (part.start, part.stop - 1))
    needed = slice(max(0, math.floor(first) - REACH), min(size, math.ceil(last) + REACH + 1))
    count = needed.stop - needed.start
    weights = ndimage.affine_transform(
        np.eye(count),
        (step, 1.0),
        offset=(first - needed.start, 0.0),
        output_shape=(part.stop - part.start, count),
        order=order,
        mode="nearest",
    )
    return needed, weights.astype(np.float32)


def spline_bytes(shape: Sequence[int], grid: Sequence[int], planes: int) -> int:
    """Return the bytes that a `SplineImage` holds while it gives so many planes of a grid."""
    needed = min(shape[2], math.ceil(planes * shape[2] / grid[2]) + 2 * REACH)
    return 4 * grid[0] * grid[1] * (2 * needed + planes)  # those of the call before, too, until it has taken them
