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
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class IntensityWindow:
    """Clip HU to [low_hu, high_hu] and scale that interval to [0, 1]."""

    low_hu: float
    high_hu: float

    def __call__(self, image_hu: torch.Tensor) -> torch.Tensor:
        """Map HU of any shape to values in [0, 1]; the input is left as it is."""
        return ((image_hu - self.low_hu) / (self.high_hu - self.low_hu)).clamp_(0, 1)


@dataclass(frozen=True)
class SigmoidWindow:
    """Map [low_hu, high_hu] linearly to [-1, 1] without clipping, then through a sigmoid (the template's code)."""

    low_hu: float
    high_hu: float

    def __call__(self, image_hu: torch.Tensor) -> torch.Tensor:
        """Map HU of any shape to values in (0, 1); the input is left as it is."""
        return (2 * (image_hu - self.low_hu) / (self.high_hu - self.low_hu) - 1).sigmoid_()


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

    def __call__(self, image_hu: torch.Tensor) -> torch.Tensor:
        """Map HU of any shape to values around 0; the input is left as it is."""
        return image_hu.clamp(self.low_hu, self.high_hu).sub_(self.mean_hu).div_(max(self.deviation_hu, 1e-8))


Intensity = IntensityWindow | SigmoidWindow | ClipAndStandardize


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

    def image_to_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> torch.Tensor:
        """Return the whole image on the network's grid: float32 tensor of shape `grid_shape(...)`."""
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
        order: of the image's interpolation: 1 trilinear, plane by plane; 3 cubic splines (nnU-Net's default, by SciPy),
            which take some fifty times as long and hold the whole grid in memory.
    """

    spacing_mm: tuple[float, float, float]
    intensity: Intensity
    kept_ratio: tuple[float, float] | None = None
    order: int = 1

    def on_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> GridImage:
        """Return the image as the network sees it (see `OntoGrid.on_grid`)."""
        shape = self.grid_shape(image_hu.shape, spacing_mm)
        if self.order != 1 and image_hu.shape != shape:
            image_hu = _splines(image_hu, shape, self.order)
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


def nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Return for each of `new_size` voxels the index of the nearest of `size` voxels on the shared extent."""
    return np.minimum(((np.arange(new_size) + 0.5) * size / new_size).astype(np.intp), size - 1)


@dataclass(frozen=True, eq=False)
class GridImage:
    """An image on a network's grid that is computed where it is looked at.

    Attributes:
        image_hu: array (X, Y, Z) in HU.
        shape: of the grid.
        intensity: how HU become what the network expects.
    """

    image_hu: np.ndarray
    shape: tuple[int, int, int]
    intensity: Intensity

    def planes(self, start: int, stop: int) -> torch.Tensor:
        """Return the planes start <= z < stop of the grid: float32 tensor (x, y, stop - start)."""
        import torch

        between = (part[start:stop] for part in planes_between(self.image_hu.shape[2], self.shape[2]))
        columns, rows = self.shape[:2]
        planes = torch.empty(stop - start, rows, columns)
        for plane, lower, upper, share in zip(planes, *between, strict=True):
            plane[:] = _in_plane(self._plane(lower).lerp_(self._plane(upper), float(share))[None], (rows, columns))[0]
        return self.intensity(planes.permute(2, 1, 0))

    def _plane(self, z: int) -> torch.Tensor:
        """Return a copy of a plane of the image, float32 (Y, X)."""
        import torch

        return torch.from_numpy(self.image_hu[..., z].T.astype(np.float32, order="C"))


def planes_between(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how each of `new_size` planes lies between `size` planes of the same extent.

    Returns:
        Lower plane, upper plane, and share of the upper one in linear interpolation (float32 in [0, 1)); beyond the
        outermost centers both are the outermost plane.
    """
    place = ((np.arange(new_size) + 0.5) * size / new_size - 0.5).clip(0, size - 1)
    lower = np.floor(place).astype(np.intp)
    return lower, np.minimum(lower + 1, size - 1), (place - lower).astype(np.float32)


def _splines(image_hu: np.ndarray, shape: tuple[int, int, int], order: int) -> np.ndarray:
    """Resample by splines, within the range of the image's values as nnU-Net does."""
    from scipy import ndimage

    factors = [new / size for size, new in zip(image_hu.shape, shape, strict=True)]
    resized = ndimage.zoom(image_hu, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(resized, image_hu.min(), image_hu.max(), out=resized)


def _in_plane(planes: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Resample planes (C, two sides) bilinearly to other sides."""
    import torch.nn.functional as F

    if tuple(planes.shape[1:]) == tuple(sides):
        return planes
    return F.interpolate(planes[None], size=tuple(sides), mode="bilinear", align_corners=False)[0]


def resample_labels(labels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return a label map (X, Y, Z) on another grid over the same extent, by nearest neighbor."""
    return labels[np.ix_(*(nearest_indices(n, m) for n, m in zip(labels.shape, shape, strict=True)))]


def resample(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Resample one volume trilinearly to a shape over the same physical extent.

    Args:
        volume: float tensor of shape (X, Y, Z).
        shape: the new shape.
    Returns:
        Tensor of that shape (the input itself when nothing changes).
    """
    if tuple(volume.shape) == tuple(shape):
        return volume
    return GridImage(volume.numpy(), tuple(shape), lambda planes: planes).planes(0, shape[2])


def slabs_to_labels(
    slabs: Iterable[torch.Tensor], grid_shape: tuple[int, int, int], shape: tuple[int, int, int]
) -> np.ndarray:
    """Resample class scores trilinearly, as they come, and return the best channel of every voxel.

    No more than two planes of the grid and one plane of the result exist with all their channels.

    Args:
        slabs: float tensors of shape (C, x, y, any number of planes) that make up the grid from its first plane to its
            last; logits or probabilities.
        grid_shape: (x, y, z) of the grid.
        shape: the grid (X, Y, Z) to return, over the same extent.
    Returns:
        uint8 array of shape (X, Y, Z) with channels 0..C - 1; of equally good channels the lower one.
    """
    labels = np.zeros(shape, np.uint8, order="F")
    between = zip(*planes_between(grid_shape[2], shape[2]), strict=True)
    wanted = next(between, None)
    held: dict[int, torch.Tensor] = {}
    done = 0
    planes = (plane for slab in slabs for plane in _planes_first(slab.float()))
    for index, plane in enumerate(planes):
        held = {index - 1: held.get(index - 1), index: plane}
        while wanted is not None and wanted[1] <= index:
            lower, upper, share = wanted
            labels[..., done] = _best_channel(_in_plane(held[lower].lerp(held[upper], float(share)), shape[:2]))
            done, wanted = done + 1, next(between, None)
    if wanted is not None:
        raise ValueError(f"the slabs hold fewer planes than the grid's {grid_shape[2]}")
    return labels


def _planes_first(slab: torch.Tensor) -> torch.Tensor:
    """Return scores (C, x, y, n) as (n, C, x, y), copied as one transposition of a matrix: four times as fast."""
    return slab.reshape(-1, slab.shape[3]).t().contiguous().view(-1, *slab.shape[:3])


def _best_channel(scores: torch.Tensor) -> torch.Tensor:
    """Return the best channel of every pixel of a plane (C, X, Y): a third of the time of `argmax`."""
    import torch

    best, channels = scores[0].clone(), torch.zeros(scores.shape[1:], dtype=torch.uint8)
    for channel in range(1, len(scores)):
        channels.masked_fill_(scores[channel] > best, channel)
        torch.maximum(best, scores[channel], out=best)
    return channels


def scores_to_labels(scores: torch.Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the best channel of every voxel of a grid (X, Y, Z) from scores (C, x, y, z): see `slabs_to_labels`."""
    return slabs_to_labels([scores], tuple(scores.shape[1:]), shape)
