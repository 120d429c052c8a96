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

    def image_to_grid(self, image_hu: np.ndarray, spacing_mm: Iterable[float]) -> torch.Tensor:
        """Return the normalized image on the network's grid.

        Args:
            image_hu: float32 array of shape (X, Y, Z) in HU, RAS+.
            spacing_mm: its voxel edge lengths.
        Returns:
            float32 tensor of shape `grid_shape(...)`.
        """
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(image_hu, dtype=np.float32))
        shape = self.grid_shape(tensor.shape, spacing_mm)
        return self.intensity(resample(tensor, shape))

    def labels_to_grid(self, labels: np.ndarray, spacing_mm: Iterable[float]) -> np.ndarray:
        """Return a label map on the network's grid by nearest neighbor (uint8, shape `grid_shape(...)`)."""
        shape = self.grid_shape(labels.shape, spacing_mm)
        return labels[np.ix_(*(nearest_indices(n, m) for n, m in zip(labels.shape, shape, strict=True)))]


@dataclass(frozen=True)
class Preprocessing(OntoGrid):
    """Resample to a spacing, then normalize intensities.

    Attributes:
        spacing_mm: voxel edge lengths of the network's grid along X, Y, Z.
        intensity: maps HU to what the network expects.
        kept_ratio: an axis whose spacing is already within this range times the target is not resampled
            (the template's 0.75..1.25); None resamples always.
    """

    spacing_mm: tuple[float, float, float]
    intensity: Intensity
    kept_ratio: tuple[float, float] | None = None

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


def resample(volume: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Resample one volume trilinearly to a shape over the same physical extent.

    Args:
        volume: float tensor of shape (X, Y, Z).
        shape: the new shape.
    Returns:
        Tensor of that shape (the input itself when nothing changes).
    """
    import torch.nn.functional as F

    if tuple(volume.shape) == tuple(shape):
        return volume
    return F.interpolate(volume[None, None], size=tuple(shape), mode="trilinear", align_corners=False)[0, 0]


def scores_to_labels(scores: torch.Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    """Resample class scores trilinearly and return the best channel of every voxel.

    One channel at a time goes to the full grid and is folded into a running maximum, so the scores of all classes never
    exist there at once; the result equals resampling all of them and taking the argmax (ties to the lower channel).

    Args:
        scores: float tensor of shape (C, x, y, z), C >= 1, logits or probabilities.
        shape: the grid (X, Y, Z) to return.
    Returns:
        uint8 array of shape (X, Y, Z) with channels 0..C - 1.
    """
    import torch

    if tuple(scores.shape[1:]) == tuple(shape):
        return scores.argmax(0).to(torch.uint8).numpy()
    best = resample(scores[0].float(), shape).clone()
    labels = torch.zeros(best.shape, dtype=torch.uint8)
    for channel in range(1, len(scores)):
        candidate = resample(scores[channel].float(), shape)
        labels[candidate > best] = channel
        torch.maximum(best, candidate, out=best)
    return labels.numpy()
