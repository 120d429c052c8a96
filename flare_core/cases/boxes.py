"""Find the box around what is marked, so that later steps look only there.

Serves inference (crops) and evaluation (surfaces).
"""

from __future__ import annotations

import numpy as np

Box = tuple[slice, slice, slice]


def bounding_box(mask: np.ndarray) -> Box | None:
    """Return the smallest box that holds the mask, or None if the mask is empty.

    Args:
        mask: bool array of shape (X, Y, Z).
    """
    box = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not filled.size:
            return None
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)
