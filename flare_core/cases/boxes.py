"""Find the box around what is marked, so that later steps look only there.

Serves inference (crops) and evaluation (surfaces).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Box = tuple[slice, slice, slice]


def bounding_box(mask: np.ndarray) -> Box | None:
    """Return the smallest box that holds all that is not 0, or None if there is nothing.

    Args:
        mask: bool or integer array of shape (X, Y, Z).
    """
    box = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def rescaled(box: Box, shape: Sequence[int], new_shape: Sequence[int]) -> Box:
    """Return the box of a grid on another grid over the same extent, with every voxel that it touches.

    Args:
        box: on the grid of `shape`.
        shape, new_shape: voxels along X, Y, Z of the two grids.
    """
    return tuple(
        slice(b.start * new // old, -(-b.stop * new // old)) for b, old, new in zip(box, shape, new_shape, strict=True)
    )


def widened(box: Box, margin_mm: Sequence[float], spacing_mm: Sequence[float], shape: Sequence[int]) -> Box:
    """Return the box with a margin on both sides, cut off at the volume's border.

    Args:
        box: on a grid of `shape`.
        margin_mm: along X, Y, Z; rounded up to whole voxels.
        spacing_mm: voxel edge lengths.
        shape: voxels along X, Y, Z.
    """
    voxels = [math.ceil(margin / spacing) for margin, spacing in zip(margin_mm, spacing_mm, strict=True)]
    return tuple(
        slice(max(0, b.start - margin), min(size, b.stop + margin))
        for b, margin, size in zip(box, voxels, shape, strict=True)
    )
