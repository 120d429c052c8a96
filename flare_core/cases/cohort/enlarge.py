"""Bring what was painted on a working grid to the scan's own finer grid, a few slices at a time.

A full-size scan has up to 160 million voxels; anatomy is smooth at 2 mm, so it is painted there and then interpolated.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects, gaussian_filter

from flare_core.cases.cohort.space import Axes

BLUR_VOXELS = 0.7


def interpolate(values: np.ndarray, old_axes: Axes, new_axes: Axes) -> np.ndarray:
    """Interpolate linearly from one grid to another; outside, the border value goes on.

    Args:
        values: float32 of shape (X, Y, Z), at least one voxel along each axis.
        old_axes, new_axes: positions in mm along X, Y, Z, each rising; the old ones evenly.
    Returns:
        float32 array on the new grid.
    """
    for axis in (2, 1, 0):  # the slow axis last: the big arrays are then read row by row
        old, new = old_axes[axis], new_axes[axis]
        step = old[1] - old[0] if len(old) > 1 else 1.0
        place = np.clip((new - old[0]) / step, 0, len(old) - 1)
        below = np.minimum(place.astype(int), max(len(old) - 2, 0))
        shape = [1, 1, 1]
        shape[axis] = -1
        share = (place - below).astype(np.float32).reshape(shape)
        first = np.take(values, below, axis=axis)
        second = np.take(values, np.minimum(below + 1, len(old) - 1), axis=axis)
        second -= first
        second *= share
        second += first
        values = second
    return values


def interpolate_labels(labels: np.ndarray, old_axes: Axes, new_axes: Axes) -> np.ndarray:
    """Bring a label map to another grid: each label's smoothed share is interpolated and the largest one wins.

    Args:
        labels: uint8 of shape (X, Y, Z).
        old_axes, new_axes: as in `interpolate`.
    Returns:
        uint8 map on the new grid; without any label, all zero.
    """
    shape = tuple(len(axis) for axis in new_axes)
    winner, best = np.zeros(shape, np.uint8), np.full(shape, np.float32(0.45))
    for label, part in enumerate(find_objects(labels), start=1):
        if part is None:
            continue
        wide = tuple(slice(max(p.start - 2, 0), p.stop + 2) for p in part)
        ends = [axis[p][[0, -1]] for axis, p in zip(old_axes, wide, strict=True)]
        box = tuple(slice(*np.searchsorted(axis, end + (0, 1e-6))) for axis, end in zip(new_axes, ends, strict=True))
        share = gaussian_filter((labels[wide] == label).astype(np.float32), BLUR_VOXELS, truncate=2.5)
        fine = interpolate(
            share,
            tuple(axis[p] for axis, p in zip(old_axes, wide, strict=True)),
            tuple(axis[p] for axis, p in zip(new_axes, box, strict=True)),
        )
        wins = fine > best[box]
        winner[box][wins] = label
        best[box][wins] = fine[wins]
    return winner
