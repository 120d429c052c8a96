"""Measure of a case what no score says: what touches a tumor, what splitting costs, false tumor, shares in a box.

Serves the experiments on inference and the claims that hang on them. Label maps are uint8 target ids (X, Y, Z) in RAS+.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation

from flare_core.cases.boxes import Box
from flare_core.cases.labels import BY_NAME, ORGANS, TARGETS, TUMOR

NEIGHBORS = np.ones((3, 3, 3), bool)
PAIRS = (("right_kidney", "left_kidney"), ("right_adrenal_gland", "left_adrenal_gland"))


def reference_facts(labels: np.ndarray, spacing_mm: Sequence[float]) -> list[dict]:
    """Return for every target its volume, whether it touches a tumor, and whether it lies low.

    Args:
        labels: the reference; an empty one gives volumes of 0.
        spacing_mm: voxel edge lengths.
    Returns:
        Rows with `target`, `volume_ml`, `touches_tumor` (a voxel of it is one of the 26 neighbors of a tumor's) and
        `is_low` (its center of mass lies below the middle between the lowest and the highest organ voxel).
    """
    counts = np.bincount(labels.ravel(), minlength=len(TARGETS) + 1)
    touched = set(np.unique(labels[binary_dilation(labels == TUMOR.id, NEIGHBORS)]).tolist()) - {0, TUMOR.id}
    voxel_ml = math.prod(spacing_mm) / 1000
    middle = _middle_of_organs(labels)
    low = {t.id for t in TARGETS if counts[t.id] and _height(labels == t.id) < middle}
    return [
        {
            "target": t.name,
            "volume_ml": round(counts[t.id] * voxel_ml, 3),
            "touches_tumor": t.id in touched,
            "is_low": t.id in low,
        }
        for t in TARGETS
    ]


def _height(mask: np.ndarray) -> float:
    """Return the z of a mask's center of mass, in voxels from below."""
    voxels = mask.sum((0, 1))
    return float(voxels @ np.arange(len(voxels)) / voxels.sum())


def _middle_of_organs(labels: np.ndarray) -> float:
    """Return the z between the lowest and the highest organ voxel; -inf without organs, so that nothing is low."""
    planes = np.flatnonzero(((labels > 0) & (labels != TUMOR.id)).any((0, 1)))
    return (planes[0] + planes[-1]) / 2 if planes.size else -math.inf


def split_dsc(reference: np.ndarray, prediction: np.ndarray, right: str, left: str) -> float | None:
    """Return what splitting a pair into right and left costs in DSC: at most 0, and 0 if no voxel is on the wrong side.

    The DSC of both sides counted together, |R n R'| + |L n L'| over the voxels of all four, minus that of the united
    pair. Both have the same denominator, so the difference is what the split alone did.

    Returns:
        None if reference and prediction are both without the pair.
    """
    ids = BY_NAME[right].id, BY_NAME[left].id
    united = [np.isin(labels, ids) for labels in (reference, prediction)]
    size = sum(mask.sum() for mask in united)
    if size == 0:
        return None
    common = united[0] & united[1]
    return float(-2 * (common & (reference != prediction)).sum() / size)


def false_tumor_ml(reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """Return the volume of predicted tumor where the reference has none."""
    is_false = (prediction == TUMOR.id) & (reference != TUMOR.id)
    return float(is_false.sum() * math.prod(spacing_mm) / 1000)


def located_share(reference: np.ndarray, box: Box) -> dict[str, float]:
    """Return the share of every target's voxels that lies in a box; targets that are not there are left out."""
    inside, all_voxels = (np.bincount(part.ravel(), minlength=len(TARGETS) + 1) for part in (reference[box], reference))
    return {t.name: float(inside[t.id] / all_voxels[t.id]) for t in (*ORGANS, TUMOR) if all_voxels[t.id]}
