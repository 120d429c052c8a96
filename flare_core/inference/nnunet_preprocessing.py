"""Bring an image onto an nnU-Net's grid, and its scores back, by nnU-Net's own rules.

Third step of the data flow for imported networks: crop to what is not zero, normalize, then resample (in this order
since version 2). Resampling is scikit-image's `resize`: splines with edge voxels repeated, grids sharing their outer
faces, results kept within the input's range. Where one axis is more than three times coarser than the finest, planes
across it are resampled one by one and the axis itself by the nearest plane.

Arrays here run along the network's axes: nnU-Net's (z, y, x) turned around, in the orientation that its training files
were stored in. `NnUNetPreprocessing.axes` says which that is.

References:
    MIC-DKFZ/nnUNet 2.8, preprocessing/preprocessors/default_preprocessor.py, preprocessing/resampling/
    default_resampling.py, preprocessing/normalization; scikit-image 0.26, skimage/transform/_warps.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.boxes import Box, bounding_box
from flare_core.cases.preprocessing import ClipAndStandardize

COARSE_RATIO = 3
"""Above this ratio of the largest to the smallest spacing, the coarsest axis is resampled by itself."""

_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class ZScoreNormalization:
    """Subtract the image's mean and divide by its standard deviation.

    Attributes:
        masked: count and change only voxels that are not zero, or are enclosed by such.
    """

    masked: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the normalized image (X, Y, Z); the input is left as it is."""
        from scipy import ndimage

        normalized = image.copy()
        inside = ndimage.binary_fill_holes(normalized != 0) if self.masked else ...
        values = normalized[inside]
        normalized[inside] = (values - values.mean()) / max(values.std(), 1e-8)
        return normalized


@dataclass(frozen=True)
class NoNormalization:
    """Leave intensities as they are."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the image."""
        return image


@dataclass(frozen=True)
class NnUNetResampling:
    """Resample a volume to a shape on the same extent.

    Attributes:
        order: of the spline; 3 for images, 1 for scores.
        separate: whether the coarsest axis is resampled by itself, by the nearest plane; None decides by the spacings.
    """

    order: int
    separate: bool | None = None

    def __call__(
        self,
        volume: np.ndarray,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        new_spacing_mm: Sequence[float],
    ) -> np.ndarray:
        """Return the volume on the new grid, in its own number format.

        Args:
            volume: floating-point array (X, Y, Z); returned as it is if it has the shape already.
            shape: voxels of the new grid.
            spacing_mm, new_spacing_mm: voxel edge lengths of both grids; they only decide how.
        """
        shape = tuple(shape)
        if volume.shape == shape:
            return volume
        axis = self.coarse_axis(spacing_mm, new_spacing_mm)
        if axis is None:
            return _resized(volume.astype(np.float64), shape, self.order).astype(volume.dtype)
        plane = (*shape[:axis], *shape[axis + 1 :])
        planes = [_resized(one.astype(np.float64), plane, self.order) for one in np.moveaxis(volume, axis, 0)]
        return np.stack(planes, axis).astype(volume.dtype).take(_nearest(volume.shape[axis], shape[axis]), axis)

    def coarse_axis(self, spacing_mm: Sequence[float], new_spacing_mm: Sequence[float]) -> int | None:
        """Return the axis to resample by itself, None if there is none (also where two axes are equally coarse)."""
        grids = [spacing_mm] if self.separate else [spacing_mm, new_spacing_mm]
        uneven = [grid for grid in grids if self.separate or max(grid) / min(grid) > COARSE_RATIO]
        if self.separate is False or not uneven:
            return None
        coarsest = [axis for axis, edge in enumerate(uneven[0]) if max(uneven[0]) / edge == 1]
        return coarsest[0] if len(coarsest) == 1 else None


@dataclass(frozen=True)
class NnUNetPreprocessing:
    """What nnU-Net does to an image before the network sees it.

    Attributes:
        axes: where each axis of the network's arrays points to, such as "LPS". nnU-Net never reorients: this is the
            orientation in which its training files were stored, after nnU-Net's own transposition.
        normalization: of the cropped image.
        resampling: of the normalized image.
        spacing_mm: voxel edge lengths of the network's grid along `axes`.
    """

    axes: str
    normalization: ClipAndStandardize | ZScoreNormalization | NoNormalization
    resampling: NnUNetResampling
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        along = sorted(_DIRECTIONS[letter][0] for letter in self.axes if letter in _DIRECTIONS)
        if along != [0, 1, 2] or len(self.axes) != 3:
            raise ValueError(f"expected three letters, one of each pair R/L, A/P, S/I (such as LPS), got {self.axes!r}")

    def to_axes(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array (X, Y, Z) in RAS+ along the network's axes."""
        order, signs = self._order_and_signs()
        return array.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]

    def from_axes(self, array: np.ndarray) -> np.ndarray:
        """Return a view in RAS+ of an array along the network's axes: the inverse of `to_axes`."""
        order, signs = self._order_and_signs()
        return array[tuple(slice(None, None, sign) for sign in signs)].transpose(np.argsort(order))

    def spacing_along_axes(self, spacing_mm: Sequence[float]) -> tuple[float, float, float]:
        """Return edge lengths along X, Y, Z in the order of the network's axes."""
        return tuple(spacing_mm[world] for world in self._order_and_signs()[0])

    def grid_shape(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
        """Return the network grid's shape for a cropped volume, at least one voxel an axis (network's axes)."""
        sides = zip(shape, spacing_mm, self.spacing_mm, strict=True)
        return tuple(max(1, int(round(have / want * size))) for size, have, want in sides)

    def to_grid(self, image: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
        """Return the cropped image, normalized and resampled, as float32 (all along the network's axes)."""
        normalized = self.normalization(np.array(image, np.float32, order="C"))
        return self.resampling(normalized, self.grid_shape(image.shape, spacing_mm), spacing_mm, self.spacing_mm)

    def _order_and_signs(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return for each axis of the network the RAS+ axis that it lies along, and +1 or -1."""
        return tuple(zip(*(_DIRECTIONS[letter] for letter in self.axes), strict=True))


def nonzero_box(image: np.ndarray) -> Box:
    """Return the box around all voxels that are not 0; the whole volume if there are none."""
    return bounding_box(image != 0) or tuple(slice(0, size) for size in image.shape)


def _resized(volume: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    """Resample a float64 array of any dimension as scikit-image's resize(mode="edge", anti_aliasing=False) does."""
    from scipy import ndimage

    factors = [1 / (size / new) for size, new in zip(volume.shape, shape, strict=True)]
    resized = ndimage.zoom(volume, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(resized, volume.min(), volume.max(), out=resized)


def _nearest(size: int, new_size: int) -> np.ndarray:
    """Return for each of `new_size` planes the nearest of `size` planes (ties go up, as scipy's order 0 does)."""
    if size == new_size:
        return np.arange(size)
    place = float(size) / new_size * (np.arange(new_size) + 0.5) - 0.5
    return np.clip(np.floor(place + 0.5).astype(np.intp), 0, size - 1)
