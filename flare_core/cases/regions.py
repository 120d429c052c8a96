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
        return _around(labels > 0, self.margin_mm, spacing_mm)


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
        return _around(image_hu > self.threshold_hu, self.margin_mm, spacing_mm)


def whole(shape: Sequence[int]) -> Box:
    """Return the box that is the whole volume."""
    return tuple(slice(0, int(size)) for size in shape)


def _around(mask: np.ndarray, margin_mm: float, spacing_mm: Sequence[float]) -> Box:
    """Return the widened box around a mask, or the whole volume if the mask is empty."""
    box = bounding_box(mask)
    if box is None:
        return whole(mask.shape)
    return widened(box, (margin_mm,) * 3, spacing_mm, mask.shape)
