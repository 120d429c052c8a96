"""Choose the part of a case that a network sees: a box around its labels, or around the body.

Third step of the data flow, before preprocessing. A region is a value with `__call__(image_hu, labels, spacing_mm)`.

References:
    lseventeen/Two-Stage-Hybrid-Supervision (stmt trains on the box of the labels and 20 mm around it; the paper gives
    no margin); The-Veeraraghavan-Lab/FLARE23, utils/data_utils.py (swinx: MONAI `CropForeground`, windowed image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flare_core.cases.boxes import Box, bounding_box, widened


@dataclass(frozen=True)
class LabelBox:
    """The box around everything that is labeled, widened by `margin_mm` on every side within the volume.

    Margins are rounded up to whole voxels (the stmt code rounds down).
    """

    margin_mm: float

    def __call__(self, image_hu: np.ndarray, labels: np.ndarray | None, spacing_mm: Sequence[float]) -> Box:
        """Return the box.

        Args:
            image_hu: array of shape (X, Y, Z).
            labels: target ids of the same shape, 0 is background. None or nothing labeled: the whole volume.
            spacing_mm: voxel edge lengths.
        """
        if labels is None:
            return whole(image_hu.shape)
        box = bounding_box(labels)
        if box is None:
            return whole(labels.shape)
        return widened(box, (self.margin_mm,) * 3, spacing_mm, labels.shape)


@dataclass(frozen=True)
class BodyBox:
    """The box around every voxel above `threshold_hu`, widened by `margin_mm` on every side within the volume.

    MONAI's rule: every voxel counts, so that the table, or one bright voxel beside the patient, widens the box. The
    largest component alone would be tighter than what was published. Swin-X crops to where the image, clipped to
    [-250, 250] HU and scaled to [0, 1], is above 0: that is a threshold of -250 HU and no margin.
    """

    threshold_hu: float
    margin_mm: float = 0.0

    def __call__(self, image_hu: np.ndarray, labels: np.ndarray | None, spacing_mm: Sequence[float]) -> Box:
        """Return the box, the whole volume if nothing is above the threshold; arguments as in `LabelBox`."""
        sides = [np.zeros(size, bool) for size in image_hu.shape]
        for z in range(image_hu.shape[2]):  # a plane at a time: a mask of all of it would take half the image's memory
            above = image_hu[..., z] > self.threshold_hu
            columns = above.any(1)
            sides[0] |= columns
            sides[1] |= above.any(0)
            sides[2][z] = columns.any()
        if not sides[2].any():
            return whole(image_hu.shape)
        found = [np.flatnonzero(side) for side in sides]
        box = tuple(slice(int(at[0]), int(at[-1]) + 1) for at in found)
        return widened(box, (self.margin_mm,) * 3, spacing_mm, image_hu.shape)


def whole(shape: Sequence[int]) -> Box:
    """Return the box that is the whole volume."""
    return tuple(slice(0, int(size)) for size in shape)
