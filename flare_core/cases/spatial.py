"""Rotate, scale and bend a training patch at random, as nnU-Net does; turn it by right angles, as Swin-X does.

Fifth step of the data flow; see `augmentation.py` for what a transform is. Rotation, scale and bending are drawn
independently, and the patch is resampled once for all of them. Geometry is in voxels, as in nnU-Net: the spacing plays
no part. For anisotropic grids `axes` names the axes of the fine plane: every slice is changed alike ("dummy 2D").

Image: trilinear (as nnU-Net version 2; version 1 uses cubic splines, seven times slower). Channels: the channel whose
mask, interpolated trilinearly, is largest (version 2's rule). Beyond the patch both are 0, as in nnU-Net.

References:
    MIC-DKFZ/batchgenerators, augmentations/spatial_transformations.py (version 1); MIC-DKFZ/batchgeneratorsv2,
    transforms/spatial/spatial.py (version 2); MIC-DKFZ/nnUNet, nnUNetTrainer (ranges, the larger patch that is cut);
    MONAI `RandRotate90`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.augmentation import Patch, around_one
from flare_core.cases.smoothing import gaussian_smoothed

AXES = (0, 1, 2)


@dataclass(frozen=True)
class Rotation:
    """With `probability`, turn in every plane of the axes, each by an angle from [-`angle_rad`, `angle_rad`]."""

    probability: float
    angle_rad: float

    def matrix(self, axes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
        """Return the matrix (3, 3) from voxels of the result to voxels of the patch, or None if none was drawn."""
        if rng.random() >= self.probability:
            return None
        whole = np.eye(3)
        for i, j in itertools.combinations(axes, 2):
            angle = rng.uniform(-self.angle_rad, self.angle_rad)
            plane = np.eye(3)
            plane[[i, j, i, j], [i, j, j, i]] = np.cos(angle), np.cos(angle), -np.sin(angle), np.sin(angle)
            whole = plane @ whole
        return whole


@dataclass(frozen=True)
class Scaling:
    """With `probability`, scale all axes by one factor; above 1 things become smaller.

    Half of the factors are below 1 (nnU-Net version 1; version 2 draws uniformly).
    """

    probability: float
    factor: tuple[float, float]

    def matrix(self, axes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
        """Return the matrix (3, 3) from voxels of the result to voxels of the patch, or None if none was drawn."""
        if rng.random() >= self.probability:
            return None
        factor = around_one(self.factor, rng)
        return np.diag([factor if axis in axes else 1.0 for axis in AXES])


@dataclass(frozen=True)
class Elastic:
    """With `probability`, shift every voxel by smoothed noise.

    Attributes:
        probability: of doing it.
        alpha: range of the noise's strength, in voxels before smoothing: (0, 900), slice-wise (0, 200).
        deviation: range of the smoothing Gaussian's standard deviation in voxels: (9, 13).
    """

    probability: float
    alpha: tuple[float, float]
    deviation: tuple[float, float]

    def offsets(self, shape: Sequence[int], axes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
        """Return how far each voxel of the result looks aside, (3, X, Y, Z) in voxels, or None if none was drawn.

        Along an axis that is not among `axes` the offsets do not change (their shape is 1 there) and are 0.
        """
        if rng.random() >= self.probability:
            return None
        alpha, deviation = rng.uniform(*self.alpha), rng.uniform(*self.deviation)
        moved = [n if axis in axes else 1 for axis, n in enumerate(shape)]
        smooth = [deviation if axis in axes else 0.0 for axis in AXES]
        offsets = np.zeros((3, *moved), np.float32)
        for axis in axes:
            noise = rng.random(moved, dtype=np.float32) * 2 - 1
            offsets[axis] = gaussian_smoothed(noise, smooth, border="zero") * np.float32(alpha)
        return offsets


@dataclass(frozen=True)
class SpatialTransform:
    """Bend, rotate and scale, each with its own probability, in one resampling.

    Attributes:
        rotation, scaling, elastic: what may happen; None never does.
        axes: axes that take part: all, or the two of the fine plane.
        patch: voxels of the result, taken from the middle of the patch that comes in, which should then be larger
            (`outer_patch`) so that turning brings in no border; None: as it comes in.
    """

    rotation: Rotation | None = None
    scaling: Scaling | None = None
    elastic: Elastic | None = None
    axes: tuple[int, ...] = AXES
    patch: tuple[int, int, int] | None = None

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the changed patch; if nothing was drawn, its middle without resampling.

        Raises:
            ValueError: if the result should be larger than the patch that comes in.
        """
        shape = self.patch or image.shape
        if any(n < p for n, p in zip(image.shape, shape, strict=True)):
            raise ValueError(f"a patch of {image.shape} voxels has no middle of {shape}; cut a larger one")
        matrices = [part.matrix(self.axes, rng) for part in (self.rotation, self.scaling) if part]
        matrices = [matrix for matrix in matrices if matrix is not None]
        offsets = self.elastic.offsets(shape, self.axes, rng) if self.elastic else None
        if not matrices and offsets is None:
            box = tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(image.shape, shape, strict=True))
            return image[box], channels[box]
        matrix = np.eye(3)
        for one in matrices:
            matrix = one @ matrix
        places = looked_up(matrix, offsets, shape, image.shape)
        return image_at(image, places), channels_at(channels, places)


def outer_patch(
    patch: tuple[int, int, int], angle_rad: float, axes: tuple[int, ...] = AXES, smallest_factor: float = 0.85
) -> tuple[int, int, int]:
    """Return the size to cut so that a patch can be turned and shrunk with hardly any border in it (nnU-Net's rule).

    The patch is turned in each plane alone by the largest angle, 90 degrees at most, and the result is divided by a
    factor that nnU-Net keeps at 0.85 whatever its scaling is; so the extremes still reach the border.
    nnU-Net looks at one direction of turning, so that an axis can come out smaller: for a patch of 160 x 160 x 96 and
    30 degrees it cuts 219 x 257 x 191, this 257 x 257 x 191.

    Args:
        patch: voxels of the network's patch.
        angle_rad: the largest angle of `Rotation`.
        axes: as in `SpatialTransform`; other axes stay as they are.
        smallest_factor: see above.
    """
    cos, sin = math.cos(min(angle_rad, math.pi / 2)), math.sin(min(angle_rad, math.pi / 2))
    outer = list(patch)
    for axis in axes:
        turned = [patch[axis] * cos + patch[other] * sin for other in axes if other != axis]
        outer[axis] = int(max(patch[axis], *turned) / smallest_factor)
    return tuple(outer)


def looked_up(
    matrix: np.ndarray, offsets: np.ndarray | None, shape: Sequence[int], source: Sequence[int]
) -> np.ndarray:
    """Return where each voxel of the result looks in the source.

    Args:
        matrix: (3, 3), from voxels of the result to voxels of the source, both counted from their middles.
        offsets: (3, X, Y, Z) or broadcast to that, added before the matrix; None: none.
        shape, source: voxels of the result and of the source.
    Returns:
        float32 array (3, X, Y, Z) of voxel indices in the source.
    """
    matrix = matrix.astype(np.float32)
    lines = np.ix_(*(np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in shape))
    places = np.empty((3, *shape), np.float32)
    for axis in AXES:
        middle = np.float32((source[axis] - 1) / 2)
        places[axis] = matrix[axis, 0] * lines[0] + matrix[axis, 1] * lines[1] + (matrix[axis, 2] * lines[2] + middle)
    if offsets is not None:
        places += np.tensordot(matrix, offsets, 1)
    return places


def image_at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the image at the given places (3, X, Y, Z), trilinear, 0 beyond its border (float32)."""
    import torch
    import torch.nn.functional as F

    # grid_sample counts from -1 to 1 between the outer faces, last axis first
    scale = np.array([2 / n for n in image.shape], np.float32)[:, None, None, None]
    grid = torch.from_numpy(places * scale + (scale / 2 - 1)).flip(0).permute(1, 2, 3, 0)
    tensor = torch.from_numpy(np.array(image, np.float32))
    return F.grid_sample(tensor[None, None], grid[None], mode="bilinear", align_corners=False)[0, 0].numpy()


def channels_at(channels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return for each place (3, X, Y, Z) the channel with the largest trilinear weight among the eight voxels around.

    That is the channel whose interpolated mask is largest; beyond the border lies background. Where the eight agree,
    as they do in most places, nothing is weighed.
    """
    sides = np.array(channels.shape, np.float32)[:, None, None, None]
    places = np.clip(places, -1, sides)
    low = np.minimum(np.floor(places), sides - 1)
    padded = np.pad(channels, 1)
    row, column, depth = (low + 1).astype(np.int32)
    first = ((row * padded.shape[1] + column) * padded.shape[2] + depth).ravel()
    steps = np.array([np.ravel_multi_index(corner, padded.shape) for corner in itertools.product((0, 1), repeat=3)])
    padded = padded.ravel()
    result = padded[first]
    mixed = np.flatnonzero(_differs(padded, steps)[first])
    corners = padded[first[mixed] + steps[:, None]]
    above = (places - low).reshape(3, -1)[:, mixed]
    pairs = [np.stack((1 - part, part)) for part in above]
    weights = (pairs[0][:, None, None] * pairs[1][:, None] * pairs[2]).reshape(8, -1)
    result[mixed] = _heaviest(corners, weights)
    return result.reshape(places.shape[1:])


def _differs(flat: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Say for each voxel of a flattened volume whether any voxel at one of the steps from it differs."""
    differs = np.zeros(flat.size, bool)
    size = flat.size - steps.max()
    for step in steps[1:]:
        differs[:size] |= flat[:size] != flat[step : step + size]
    return differs


def _heaviest(corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return for each column the value whose weights add up to the most; weights of a column add up to 1."""
    chosen = np.take_along_axis(corners, weights.argmax(0)[None], 0)[0]
    unsure = np.flatnonzero((weights * (corners == chosen)).sum(0) < 0.5)
    corners, weights = corners[:, unsure], weights[:, unsure]
    support = np.stack([(weights * (corners == corner)).sum(0) for corner in corners])
    chosen[unsure] = np.take_along_axis(corners, support.argmax(0)[None], 0)[0]
    return chosen


@dataclass(frozen=True)
class RightAngleRotation:
    """With `probability`, turn by 90, 180 or 270 degrees in the plane of two axes (MONAI `RandRotate90`)."""

    probability: float
    axes: tuple[int, int] = (0, 1)

    def __call__(self, image: np.ndarray, channels: np.ndarray, rng: np.random.Generator) -> Patch:
        """Return the turned patch.

        Raises:
            ValueError: if the patch is not as long along one of the axes as along the other.
        """
        first, second = self.axes
        if image.shape[first] != image.shape[second]:
            raise ValueError(f"turning a patch of {image.shape} voxels in axes {self.axes} would change its shape")
        if rng.random() >= self.probability:
            return image, channels
        turns = int(rng.integers(1, 4))
        return np.rot90(image, turns, self.axes), np.rot90(channels, turns, self.axes)
