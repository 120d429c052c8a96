"""Count which lesions were found and which were invented, one connected component at a time.

Serves the evaluation of tumors, beside the voxel scores: a mean of DSC hides whether one large lesion is outlined well
or ten small ones are missed.

The rule: components are 26-connected. A pair of components, one a side, matches if it shares a voxel and its
intersection over union reaches a threshold (0: a shared voxel is enough). A reference lesion is found if any predicted
one matches it, and a predicted one that matches none is a false positive. So one prediction over two lesions finds
both, and two predictions within one lesion are both right.

References:
    connected-components-3d (cc3d), https://github.com/seung-lab/connected-components-3d.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class LesionMatching:
    """When two components are the same lesion.

    Attributes:
        minimum_iou: intersection over union, 0 to 1; 0 asks for one shared voxel.
        minimum_voxels: smaller components are overlooked on both sides.
    """

    minimum_iou: float = 0.0
    minimum_voxels: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.minimum_iou <= 1 or self.minimum_voxels < 1:
            raise ValueError(
                f"expected an IoU from 0 to 1 and at least 1 voxel, got {self.minimum_iou}, {self.minimum_voxels}"
            )


ANY_OVERLAP = LesionMatching()


@dataclass(frozen=True)
class LesionCounts:
    """Lesions of one case.

    Attributes:
        lesions: that the annotator marked.
        found: those of them that the prediction matches.
        predicted: components of the prediction.
        false_positives: those of them that match no reference lesion.
    """

    lesions: int
    found: int
    predicted: int
    false_positives: int


def count_lesions(
    reference: np.ndarray, prediction: np.ndarray, matching: LesionMatching = ANY_OVERLAP
) -> LesionCounts:
    """Match the components of two masks.

    Args:
        reference, prediction: bool arrays of the same shape, best cropped to the box around both.
        matching: the rule.
    Returns:
        The counts; an empty mask, or one of size 0, has no component.
    Raises:
        ValueError: if the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"both masks must lie on one grid, got shapes {reference.shape} and {prediction.shape}")
    sides = [_components(mask, matching.minimum_voxels) for mask in (reference, prediction)]
    (first, sizes), (second, other_sizes) = sides
    shared = (first > 0) & (second > 0)
    pairs, counts = np.unique(np.stack([first[shared], second[shared]]), axis=1, return_counts=True)
    unions = sizes[pairs[0]] + other_sizes[pairs[1]] - counts
    matched = pairs[:, counts / unions >= matching.minimum_iou]
    found, right = (len(np.unique(side)) for side in matched)
    lesions, predicted = (int(np.count_nonzero(voxels)) for voxels in (sizes, other_sizes))
    return LesionCounts(lesions, found, predicted, predicted - right)


def _components(mask: np.ndarray, minimum_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of the components (0: none) and the voxels of each, those too small erased from both."""
    if not mask.any():
        return np.zeros(mask.shape, np.uint32), np.zeros(1, np.int64)
    components = cc3d.connected_components(mask, connectivity=26)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    kept = sizes >= minimum_voxels
    return np.where(kept[components], components, 0), np.where(kept, sizes, 0)


def lesion_summary(table: pd.DataFrame) -> pd.Series:
    """Return the figures of a table of lesions.

    Args:
        table: a row a case with columns `case`, `lesions`, `found`, `predicted` and `false_positives`.
    Returns:
        `cases`, `lesions` and `found` (sums), `sensitivity` (found over lesions, of all cases together: every lesion
        weighs alike, whoever has it; NaN without any) and `false_positives_a_case` (NaN of no case).
    """
    lesions, found = int(table["lesions"].sum()), int(table["found"].sum())
    figures = {"cases": table["case"].nunique(), "lesions": lesions, "found": found}
    figures["sensitivity"] = found / lesions if lesions else NAN
    return pd.Series(figures | {"false_positives_a_case": table["false_positives"].mean()}, dtype=object)
