"""Compare a predicted mask with a reference: Dice similarity coefficient and normalized surface Dice.

Serves the evaluation step. These are the plain metrics; what a challenge makes of empty masks, slice ranges and
rounding stands in `flare_rules`.

References:
    Nikolov et al. 2021 (surface Dice); google-deepmind/surface-distance, as called by JunMa11/FLARE.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flare_core.cases.boxes import Box, bounding_box
from flare_core.evaluation.surface import area_table, elements_beyond, elements_far, steps_within, surface_of


def dsc(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return the Dice similarity coefficient, twice the overlap over the sum of both sizes.

    Args:
        reference, prediction: bool arrays of the same shape.
    Returns:
        A number in [0, 1]; 0 if exactly one mask is empty, NaN if both are.
    Raises:
        ValueError: if shapes differ or a mask is not boolean.
    """
    _check_masks(reference, prediction)
    size = np.count_nonzero(reference) + np.count_nonzero(prediction)
    return 2 * np.count_nonzero(reference & prediction) / size if size else float("nan")


def nsd(reference: np.ndarray, prediction: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Return the share of both surfaces, by area, that lies within `tolerance_mm` of the other one.

    What lies outside the arrays is background, so a mask that touches the border has a surface there.

    Args:
        reference, prediction: bool arrays of shape (X, Y, Z) on the same grid.
        spacing_mm: voxel edge lengths along X, Y, Z.
        tolerance_mm: largest distance that counts as agreement, >= 0 and finite.
    Returns:
        A number in [0, 1]; 0 if exactly one mask is empty, NaN if both are (FLARE's value for that: `flare_rules`).
    Raises:
        ValueError: if shapes differ, a mask is no boolean volume, a spacing is not positive, or the tolerance is
            negative or infinite.
    Reference:
        Nikolov et al. 2021 (surface Dice); google-deepmind/surface-distance.
    """
    _check_masks(reference, prediction)
    if reference.ndim != 3 or len(spacing_mm) != 3:
        raise ValueError(
            f"surface Dice needs volumes and three spacings, got {reference.ndim} axes and {len(spacing_mm)} spacings"
        )
    if not (all(np.isfinite(edge) and edge > 0 for edge in spacing_mm) and 0 <= tolerance_mm < np.inf):
        raise ValueError(
            "surface Dice needs positive spacings and a finite tolerance of at least 0, "
            f"got {tuple(spacing_mm)} mm and {tolerance_mm} mm"
        )
    within = steps_within(spacing_mm, tolerance_mm, reference.shape)
    if reference.strides[0] < reference.strides[2]:  # NIfTI's order: reversed axes give the same surfaces, contiguously
        reference, prediction, spacing_mm = reference.T, prediction.T, tuple(spacing_mm)[::-1]
        within = None if within is None else within.T
    box = bounding_box(reference | prediction)
    if box is None:
        return float("nan")
    if not reference.any() or not prediction.any():
        return 0.0
    reach = (0, 0, 0) if within is None else [steps - 1 for steps in within.shape]
    first, second = surface_of(reference[box], reach), surface_of(prediction[box], reach)
    if within is None:
        beyond = [elements_far(*pair, spacing_mm, tolerance_mm) for pair in ((first, second), (second, first))]
    else:
        beyond = [elements_beyond(*pair, within) for pair in ((first, second), (second, first))]
    if not any(elements.any() for elements in beyond):
        return 1.0
    areas = area_table(spacing_mm)
    whole = first.area_mm2(areas) + second.area_mm2(areas)
    return (whole - first.area_mm2(areas, beyond[0]) - second.area_mm2(areas, beyond[1])) / whole


def label_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of every target in one pass over a label map.

    Args:
        labels: uint8 array of shape (X, Y, Z) with values 0..15.
    Returns:
        Target id to box, for the ids that occur; background has none.
    """
    # One bit a target: the rows and columns of a plane are then united for all targets at once, empty rows left out.
    # Planes lie across the axis with the longest stride, so each is one piece of memory (NIfTI is Fortran-ordered).
    order = np.argsort([-abs(stride) for stride in labels.strides], kind="stable")
    planes = labels.transpose(order)
    profiles = [np.zeros(size, np.uint16) for size in planes.shape]
    for index, plane in enumerate(planes):
        filled = np.flatnonzero(plane.max(axis=1, initial=0))
        if filled.size:
            rows = slice(int(filled[0]), int(filled[-1]) + 1)
            bits = np.left_shift(np.uint16(1), plane[rows], dtype=np.uint16)
            in_rows = np.bitwise_or.reduce(bits, axis=1)
            profiles[0][index] = np.bitwise_or.reduce(in_rows)
            profiles[1][rows] |= in_rows
            profiles[2] |= np.bitwise_or.reduce(bits, axis=0)
    boxes = {}
    for target in range(1, 16):
        places = [np.flatnonzero(profiles[axis] & (1 << target)) for axis in np.argsort(order)]
        if all(place.size for place in places):
            boxes[target] = tuple(slice(int(place[0]), int(place[-1]) + 1) for place in places)
    return boxes


def _check_masks(reference: np.ndarray, prediction: np.ndarray) -> None:
    if reference.shape != prediction.shape:
        raise ValueError(f"both masks must lie on one grid, got shapes {reference.shape} and {prediction.shape}")
    if reference.dtype != bool or prediction.dtype != bool:
        raise ValueError(
            f"masks must be boolean, got {reference.dtype} and {prediction.dtype}; compare labels == id first"
        )
