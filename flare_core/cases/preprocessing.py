"""Bring a case onto a network's grid and bring class scores back onto the case's own grid.

Third step of the data flow: orientation is already RAS+ (`nifti.read_image`); here the volume is resampled to the
network's spacing and its HU are mapped to the interval the network expects. Grids share their outer faces (voxel
centers at half-integer positions), so resampling there and back returns the original shape exactly.

References:
    nvauto section 2.1 (1 mm, trilinear / nearest, [-250, 250] to [0, 1]); Project-MONAI/research-contributions,
    auto3dseg/algorithm_templates/segresnet, scripts/segmenter.py (sigmoid normalization, spacing tolerance);
    MIC-DKFZ/nnUNet (CT normalization); stmt section 2.1 and lseventeen/Two-Stage-Hybrid-Supervision (whole volumes).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from flare_core.cases.interpolation import GridImage, Intensity, nearest_indices
from flare_core.cases.splines import SplineImage


@dataclass(frozen=True)
class IntensityWindow:
    """Clip HU to [low_hu, high_hu] and scale that interval to [0, 1]."""

    low_hu: float
    high_hu: float

    def __call__(self, image_hu: np.ndarray) -> np.ndarray:
        """Map HU of any shape to values in [0, 1]; the input is left as it is."""
        scaled = (image_hu - self.low_hu) / (self.high_hu - self.low_hu)
        return scaled.clip(0, 1, out=scaled)


@dataclass(frozen=True)
class SigmoidWindow:
    """Map [low_hu, high_hu] linearly to [-1, 1] without clipping, then through a sigmoid (the template's code)."""

    low_hu: float
    high_hu: float

    def __call__(self, image_hu: np.ndarray) -> np.ndarray:
        """Map HU of any shape to values in (0, 1); the input is left as it is."""
        scaled = 2 * (image_hu - self.low_hu) / (self.high_hu - self.low_hu) - 1
        return 0.5 * (1 + np.tanh(0.5 * scaled))  # the sigmoid, without overflow


@dataclass(frozen=True)
class ClipAndStandardize:
    """Clip HU to [low_hu, high_hu], subtract a mean and divide by a standard deviation (nnU-Net's normalization of CT).

    In nnU-Net all four numbers are from the labeled voxels of the training cases: the 0.5 and 99.5 percentiles, the
    mean and the standard deviation (at least 1e-8). Version 2 does this before resampling, version 1 after it, as here.
    """

    low_hu: float
    high_hu: float
    mean_hu: float
    deviation_hu: float

    def __call__(self, image_hu: np.ndarray) -> np.ndarray:
        """Map HU of any shape to values around 0; the input is left as it is."""
        clipped = np.clip(image_hu, self.low_hu, self.high_hu)
        clipped -= self.mean_hu
        clipped /= max(self.deviation_hu, 1e-8)
        return clipped


class OntoGrid:
    """What every preprocessing does once it knows its grid.

    A preprocessing has a field `intensity` and says in `grid_shape` how many voxels a volume gets.
    """

    intensity: Intensity

    def grid_shape(self, shape: Iterable[int], spacing_mm: Iterable[float]) -> tuple[int, int, int]:
        """Return the network grid's shape for a volume, at least one voxel an axis.

        Args:
            shape: voxels along X, Y, Z.
            spacing_mm: voxel edge lengths along X, Y, Z.
        """
        raise NotImplementedError

    def on_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> GridImage:
        """Return the image as the network sees it, to be read plane by plane.

        Args:
            image_hu: array of shape (X, Y, Z) in HU, RAS+; it is not copied.
            spacing_mm: its voxel edge lengths.
        """
        return GridImage(image_hu, self.grid_shape(image_hu.shape, spacing_mm), self.intensity)

    def image_to_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> np.ndarray:
        """Return the whole image on the network's grid: float32 array of shape `grid_shape(...)`."""
        grid = self.on_grid(image_hu, spacing_mm)
        return grid.planes(0, grid.shape[2])

    def labels_to_grid(self, labels: np.ndarray, spacing_mm: Iterable[float]) -> np.ndarray:
        """Return a label map on the network's grid by nearest neighbor (uint8, shape `grid_shape(...)`)."""
        return resample_labels(labels, self.grid_shape(labels.shape, spacing_mm))


@dataclass(frozen=True)
class Preprocessing(OntoGrid):
    """Resample to a spacing, then normalize intensities.

    Attributes:
        spacing_mm: voxel edge lengths of the network's grid along X, Y, Z.
        intensity: maps HU to what the network expects.
        kept_ratio: an axis whose spacing is already within this range times the target is not resampled
            (the template's 0.75..1.25); None resamples always.
        order: of the image's interpolation: 1 trilinear; 3 cubic splines (nnU-Net's default), which take longer.
    """

    spacing_mm: tuple[float, float, float]
    intensity: Intensity
    kept_ratio: tuple[float, float] | None = None
    order: int = 1

    def on_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> GridImage:
        """Return the image as the network sees it (see `OntoGrid.on_grid`)."""
        shape = self.grid_shape(image_hu.shape, spacing_mm)
        if self.order != 1 and image_hu.shape != shape:
            return SplineImage(image_hu, shape, self.intensity, self.order)
        return GridImage(image_hu, shape, self.intensity)

    def grid_shape(self, shape: Iterable[int], spacing_mm: Iterable[float]) -> tuple[int, int, int]:
        """Return the volume's extent divided by the spacing, rounded."""
        sides = []
        for size, have, want in zip(shape, spacing_mm, self.spacing_mm, strict=True):
            keep = self.kept_ratio is not None and self.kept_ratio[0] <= have / want <= self.kept_ratio[1]
            sides.append(int(size) if keep else max(1, round(size * have / want)))
        return tuple(sides)


@dataclass(frozen=True)
class FixedGrid(OntoGrid):
    """Resize every volume to the same number of voxels, whatever its spacing and extent, then normalize intensities.

    Images are resized trilinearly and labels by nearest neighbor (the stmt code: cubic splines and linear in training,
    trilinear in inference).

    Attributes:
        shape: voxels of the network's grid along X, Y, Z.
        intensity: maps HU to what the network expects.
    """

    shape: tuple[int, int, int]
    intensity: Intensity

    def grid_shape(self, shape: Iterable[int], spacing_mm: Iterable[float]) -> tuple[int, int, int]:
        """Return `shape`, for any volume."""
        return tuple(self.shape)


def resample_labels(labels: np.ndarray, shape: tuple[int, int, int], out: np.ndarray | None = None) -> np.ndarray:
    """Return a label map (X, Y, Z) on another grid over the same extent, by nearest neighbor.

    Args:
        labels: the map.
        shape: of the grid.
        out: array of that shape that takes the result.
    """
    out = np.empty(shape, labels.dtype, order="F") if out is None else out
    x, y, z = (nearest_indices(n, m) for n, m in zip(labels.shape, shape, strict=True))
    for index, plane in enumerate(z):
        out[..., index] = labels[..., plane].T[y].take(x, 1).T
    return out
