"""Measure which part of one mask's surface lies within a tolerance of another mask's surface.

Serves the normalized surface Dice. A surface element sits wherever a 2 x 2 x 2 neighborhood of voxels is cut by the
mask; its area is that of the marching-cubes triangles in this neighborhood. Distances run between neighborhood centers.

References:
    Nikolov et al. 2021, "Clinically applicable segmentation of head and neck anatomy" (surface Dice), and its
    implementation google-deepmind/surface-distance (Apache-2.0), whose areas these equal in all 256 neighborhoods.
    Lorensen and Cline 1987 (marching cubes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import edt
import numpy as np

# The surface that cuts off one connected group of corners: the corners, and for each triangle of the cap the area of
# its projection along X, Y and Z, in eighths of a voxel face (edge midpoints joined as marching cubes joins them).
_CAPS = (
    (((0, 0, 0),), ((1, 1, 1),)),
    (((0, 0, 0), (0, 0, 1)), ((2, 2, 0), (2, 2, 0))),
    (((0, 0, 0), (0, 0, 1), (0, 1, 0)), ((4, 0, 0), (2, 2, 2), (1, 1, 1))),
    (((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)), ((4, 0, 0), (4, 0, 0))),
    (((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)), ((1, 1, 1), (1, 1, 1), (2, 2, 2), (2, 2, 2))),
    (((1, 0, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1)), ((1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 0, 2))),
)
_CORNERS = tuple(product((0, 1), repeat=3))
_MARGIN = 2  # voxels of background around a crop: the code map then keeps one empty voxel on every side
_TIE_BAND = 1e-4  # edt computes in float32; distances this close to the tolerance (relative) are decided in float64


def _bit(corner: tuple[int, int, int]) -> int:
    """Return the code of one corner: 128 at (0, 0, 0) down to 1 at (1, 1, 1)."""
    x, y, z = corner
    return 128 >> (4 * x + 2 * y + z)


@cache
def _cap_of_group() -> dict[int, tuple[tuple[int, int, int], ...]]:
    """Map the code of each connected group of up to four corners to its triangles: six shapes, 48 symmetries."""
    caps = {}
    for corners, triangles in _CAPS:
        for order, flips in product(permutations(range(3)), _CORNERS):
            moved = [tuple(corner[axis] ^ flip for axis, flip in zip(order, flips, strict=True)) for corner in corners]
            code = sum(_bit(corner) for corner in moved)
            caps[code] = tuple(tuple(triangle[axis] for axis in order) for triangle in triangles)
    return caps


def _groups(code: int) -> list[int]:
    """Split the corners of a neighborhood into groups joined by cube edges, each as a code."""
    left = {corner for corner in _CORNERS if code & _bit(corner)}
    groups = []
    while left:
        group, frontier = set(), {min(left)}
        while frontier:
            group |= frontier
            left -= frontier
            frontier = {c for c in left if any(sum(a != b for a, b in zip(c, g, strict=True)) == 1 for g in frontier)}
        groups.append(sum(_bit(corner) for corner in group))
    return groups


@cache
def _triangle_counts() -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct triangles (T, 3), in voxel faces, and how many of each a neighborhood code holds (256, T).

    The surface cuts off the groups of the smaller side: up to four corners inside, else the corners outside.
    """
    caps = _cap_of_group()
    kinds = sorted({triangle for cap in caps.values() for triangle in cap})
    counts = np.zeros((256, len(kinds)), np.int64)
    for code in range(1, 255):
        smaller = code if code.bit_count() <= 4 else 255 - code
        for group in _groups(smaller):
            for triangle in caps[group]:
                counts[code, kinds.index(triangle)] += 1
    return np.array(kinds) / 8, counts


def area_table(spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the surface area inside each of the 256 neighborhoods of 2 x 2 x 2 voxels.

    Args:
        spacing_mm: voxel edge lengths along the three array axes.
    Returns:
        float64 array of shape (256,) in mm^2; 0 for the codes 0 (all background) and 255 (all foreground).
    """
    x, y, z = (float(edge) for edge in spacing_mm)
    kinds, counts = _triangle_counts()
    return counts @ np.linalg.norm(kinds * (y * z, x * z, x * y), axis=1)


@dataclass(frozen=True, eq=False)
class Surface:
    """The surface elements of one mask on its padded crop.

    Attributes:
        present: bool array, C-contiguous, one element a neighborhood; the outermost layer is empty.
        places: flat indices of the elements in `present`, ascending.
        areas_mm2: area of each element, in the order of `places`.
    """

    present: np.ndarray
    places: np.ndarray
    areas_mm2: np.ndarray


def surface_of(mask: np.ndarray, areas_mm2: np.ndarray) -> Surface:
    """Find the surface elements of a mask; what lies outside the array counts as background.

    Args:
        mask: bool array of shape (X, Y, Z).
        areas_mm2: the table of `area_table`.
    Returns:
        Its surface on a grid of shape (X + 3, Y + 3, Z + 3); no elements if the mask is empty.
    """
    codes = np.pad(np.ascontiguousarray(mask), _MARGIN).view(np.uint8)
    codes = codes[:, :, :-1] << 1 | codes[:, :, 1:]
    codes = codes[:, :-1] << 2 | codes[:, 1:]
    codes = codes[:-1] << 4 | codes[1:]
    present = (codes - np.uint8(1)) < 254  # 0 wraps to 255: neither empty (0) nor full (255)
    places = np.flatnonzero(present)
    return Surface(present, places, areas_mm2[codes.ravel()[places]])


def agreeing_area(surface: Surface, other: Surface, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Return the area of those elements of `surface` that have an element of `other` within the tolerance.

    Most elements of a good prediction lie on the reference's surface or next to it, so 27 look-ups settle them; the
    rest is settled by a distance transform of the region around it. A distance equal to the tolerance agrees, and ties
    are decided in float64 on the spacing given, because header spacings are float32 (0.8 is 0.80000001).

    Args:
        surface, other: surfaces of two masks of the same shape.
        spacing_mm: voxel edge lengths along the three array axes.
        tolerance_mm: largest distance that counts as agreement, >= 0.
    Returns:
        Area in mm^2; 0 if either surface has no elements.
    """
    if not other.places.size:
        return 0.0
    spacing = np.asarray(spacing_mm, np.float64)
    present = other.present
    left = np.arange(surface.places.size)
    for offset in _offsets(np.ones(3, np.int64), spacing, 0.0, tolerance_mm):
        step = offset @ _flat_steps(present.shape)
        left = left[~present.ravel()[surface.places[left] + step]]
    if left.size:
        places = np.stack(np.unravel_index(surface.places[left], present.shape), axis=1)
        left = left[~_is_near(places, present, spacing, tolerance_mm)]
    return float(surface.areas_mm2.sum() - surface.areas_mm2[left].sum())


def _flat_steps(shape: tuple[int, ...]) -> np.ndarray:
    """Return how far a step along each axis leads in the flat C-ordered array."""
    return np.array((shape[1] * shape[2], shape[2], 1))


def _offsets(reach: np.ndarray, spacing: np.ndarray, shortest_mm: float, longest_mm: float) -> np.ndarray:
    """List the steps of up to `reach` voxels whose float64 length lies in a closed range, shortest first."""
    steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((steps * spacing) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")
    return steps[order][(lengths[order] >= shortest_mm) & (lengths[order] <= longest_mm)]


def _is_near(places: np.ndarray, present: np.ndarray, spacing: np.ndarray, tolerance_mm: float) -> np.ndarray:
    """Say for each place (N, 3) whether an element of `present` lies within the tolerance."""
    reach = np.ceil(tolerance_mm / spacing).astype(np.int64) + 1
    start = np.maximum(places.min(axis=0) - reach, 0)
    stop = np.minimum(places.max(axis=0) + reach + 1, present.shape)
    region = np.ascontiguousarray(present[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))])
    if not region.any():
        return np.zeros(len(places), bool)
    local = places - start
    distance = edt.edt(~region, anisotropy=tuple(spacing), black_border=False)[tuple(local.T)]
    near = distance <= tolerance_mm
    tied = np.flatnonzero(np.abs(distance - tolerance_mm) <= _TIE_BAND * tolerance_mm)
    if tied.size:
        near[tied] = _has_element(
            local[tied], region, _offsets(reach, spacing, (1 - 2 * _TIE_BAND) * tolerance_mm, tolerance_mm)
        )
    return near


def _has_element(places: np.ndarray, region: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Say for each place (N, 3) whether any of the offsets (M, 3) leads to an element of the region."""
    found = np.zeros(len(places), bool)
    for offset in offsets:
        target = places + offset
        inside = ((target >= 0) & (target < region.shape)).all(axis=1)
        found[inside] |= region[tuple(target[inside].T)]
    return found
