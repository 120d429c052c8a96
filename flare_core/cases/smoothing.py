"""Smooth a volume with a Gaussian, one axis after the other.

Serves augmentation (blur, elastic deformation). Along an axis smoothing is a product with a small banded matrix; that
is as fast as a convolution where the Gaussian is narrow, and many times faster where it is as wide as the patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

REACH = 4
"""How many standard deviations the Gaussian is followed on either side (SciPy's value)."""


def gaussian_smoothed(volume: np.ndarray, deviation: Sequence[float], border: str) -> np.ndarray:
    """Return a smoothed copy of a volume.

    Args:
        volume: float32 array of shape (X, Y, Z).
        deviation: standard deviation along each axis in voxels; 0 leaves an axis as it is.
        border: `mirror` (what lies beyond the border mirrors what lies before it) or `zero`.
    Returns:
        float32 array of the same shape.
    """
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    for one in deviation:  # the axis in turn is always the first
        if one > 0:
            weights = torch.from_numpy(_weights(tensor.shape[0], one, border))
            tensor = (weights @ tensor.flatten(1)).unflatten(1, tensor.shape[1:])
        tensor = tensor.permute(1, 2, 0)
    return tensor.numpy()


def _weights(size: int, deviation: float, border: str) -> np.ndarray:
    """Return the matrix (size, size) that smooths a line of voxels."""
    radius = math.ceil(REACH * deviation)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    mode = {"mirror": "symmetric", "zero": "constant"}[border]
    source = np.pad(
        np.eye(size), ((radius, radius), (0, 0)), mode
    )  # which voxel stands at each place of the longer line
    return sum(weight * source[start : start + size] for start, weight in enumerate(kernel)).astype(np.float32)
