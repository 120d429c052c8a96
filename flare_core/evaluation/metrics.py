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
from flare_core.evaluation.surface import agreeing_area, area_table, surface_of


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
        tolerance_mm: largest distance that counts as agreement, >= 0.
    Returns:
        A number in [0, 1]; 0 if exactly one mask is empty, NaN if both are (FLARE's value for that: `flare_rules`).
    Raises:
        ValueError: if shapes differ, a mask is no boolean volume, a spacing is not positive or the tolerance negative.
    Reference:
        Nikolov et al. 2021 (surface Dice); google-deepmind/surface-distance.
    """
    _check_masks(reference, prediction)
    if reference.ndim != 3 or len(spacing_mm) != 3:
        raise ValueError(
            f"surface Dice needs volumes and three spacings, got {reference.ndim} axes and {len(spacing_mm)} spacings"
        )
    if not (all(np.isfinite(edge) and edge > 0 for edge in spacing_mm) and tolerance_mm >= 0):
        raise ValueError(
            "surface Dice needs positive spacings and a tolerance of at least 0, "
            f"got {tuple(spacing_mm)} mm and {tolerance_mm} mm"
        )
    if reference.strides[0] < reference.strides[2]:  # NIfTI's order: reversed axes give the same surfaces, contiguously
        reference, prediction, spacing_mm = reference.T, prediction.T, tuple(spacing_mm)[::-1]
    box = bounding_box(reference | prediction)
    if box is None:
        return float("nan")
    areas = area_table(spacing_mm)
    first, second = surface_of(reference[box], areas), surface_of(prediction[box], areas)
    agreeing = agreeing_area(first, second, spacing_mm, tolerance_mm) + agreeing_area(
        second, first, spacing_mm, tolerance_mm
    )
    return agreeing / float(first.areas_mm2.sum() + second.areas_mm2.sum())


def label_boxes(labels: np.ndarray) -> dict[int, Box]:
    """Return the bounding box of every target in one pass over a label map.

    Args:
        labels: uint8 array of shape (X, Y, Z) with values 0..15.
    Returns:
        Target id to box, for the ids that occur; background has none.
    """
    # One bit a target: a plane's rows and columns are then united for all targets at once. Planes are taken along the
    # axis with the longest stride, so each is one piece of memory (NIfTI arrays are Fortran-ordered).
    bits = np.left_shift(1, np.arange(16)).astype(np.uint16)
    bits[0] = 0
    axis = int(np.argmax(np.abs(labels.strides)))
    planes = np.moveaxis(labels, axis, 0)
    along = np.zeros(planes.shape[0], np.uint16)
    rows, columns = np.zeros(planes.shape[1], np.uint16), np.zeros(planes.shape[2], np.uint16)
    for index, plane in enumerate(planes):
        coded = bits[plane]
        in_rows = np.bitwise_or.reduce(coded, axis=1)
        rows |= in_rows
        columns |= np.bitwise_or.reduce(coded, axis=0)
        along[index] = np.bitwise_or.reduce(in_rows)
    profiles = [rows, columns]
    profiles.insert(axis, along)
    boxes = {}
    for target in range(1, 16):
        places = [np.flatnonzero(profile & bits[target]) for profile in profiles]
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
