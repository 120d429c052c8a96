"""Measure which part of one mask's surface lies within a tolerance of another mask's surface.

Serves the normalized surface Dice. A surface element sits wherever a 2 x 2 x 2 neighborhood of voxels is cut by the
mask; its area is that of the marching-cubes triangles in this neighborhood. Distances run between neighborhood centers.

Which neighborhoods are cut, and which of them lie near others, is worked out with one bit a neighborhood, 64 by one
operation, and whether a distance equals the tolerance is decided once for each step of the grid, in float64.

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
_WORD = np.dtype("<u8")
_WORD_BITS = 64
_SPREAD_BYTES = 2**25  # of spread surfaces held at once
LONGEST_REACH = 64
"""Steps of the grid within the tolerance along one axis; beyond (no CT has such spacing) SciPy's distances are used."""


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
    """The surface elements of one mask, one bit a neighborhood.

    Neighborhood i along an axis spans voxels i and i + 1 of the mask with a border of background. Grid, border and some
    empty rows and columns behind it (the gaps) are flattened, so that a step along any axis is a step along the flat
    bits, and one over the end of a row or plane of up to the gaps' size meets nothing.

    Attributes:
        voxels: flat uint8 array, the mask in its border and gaps.
        present: flat array of 64-bit words, lowest bit first, set where a neighborhood is cut by the mask.
        row_words, plane_words: words a row (the last axis) and a plane (the last two) take.
    """

    voxels: np.ndarray
    present: np.ndarray
    row_words: int
    plane_words: int

    def area_mm2(self, areas_mm2: np.ndarray, among: np.ndarray | None = None) -> float:
        """Return the area of all elements, or of those marked.

        Args:
            areas_mm2: the table of `area_table`.
            among: words like `present`, marking some of its elements.
        """
        places = _marked(self.present if among is None else among)
        codes = np.zeros(places.size, np.uint8)
        for corner in _CORNERS:
            step = corner[0] * self.plane_words * _WORD_BITS + corner[1] * self.row_words * _WORD_BITS + corner[2]
            codes |= self.voxels[places + step] * np.uint8(_bit(corner))
        return float(np.bincount(codes, minlength=256) @ areas_mm2)


def surface_of(mask: np.ndarray, reach: Sequence[int] = (0, 0, 0)) -> Surface:
    """Find the surface elements of a mask; what lies outside the array counts as background.

    Args:
        mask: bool array of shape (X, Y, Z), fastest if C-contiguous.
        reach: longest steps along the three axes that will be taken from element to element.
    """
    x, y, z = mask.shape
    words = -(-(z + 2 + reach[2]) // _WORD_BITS)
    voxels = np.zeros((x + 2, y + 2 + reach[1], words * _WORD_BITS), np.uint8)
    voxels[1:-1, 1 : y + 1, 1 : z + 1] = mask
    filled = np.packbits(voxels.ravel(), bitorder="little").view(_WORD)
    plane = words * voxels.shape[1]
    some, every = filled | _moved_down(filled), filled & _moved_down(filled)
    for step in (words, plane):  # each is joined with its successor; the last ones are border, which is empty
        some[:-step] |= some[step:].copy()
        every[:-step] &= every[step:].copy()
    return Surface(voxels.ravel(), some & ~every, words, plane)


def steps_within(spacing_mm: Sequence[float], tolerance_mm: float, shape: Sequence[int]) -> np.ndarray | None:
    """Say which steps of the grid are no longer than the tolerance.

    A length equal to the tolerance is within. Ties are decided in float64 on the spacing given, summed in the order of
    the axes: header spacings are float32 (0.8 is 0.80000001), and the official code counts them so.

    Args:
        spacing_mm: voxel edge lengths along the three axes.
        tolerance_mm: >= 0.
        shape: of the masks, whose surfaces have one place more along each axis; longer steps are left out.
    Returns:
        bool array: element (i, j, k) tells whether a step of i, j and k places (forward or back) is within, with the
        longest steps that are along each axis; None if these exceed `LONGEST_REACH`.
    """
    reach = [min(int(tolerance_mm / edge) + 1, size) for edge, size in zip(spacing_mm, shape, strict=True)]
    if max(reach) > LONGEST_REACH:
        return None
    x, y, z = ((np.arange(steps + 1) * np.float64(edge)) ** 2 for steps, edge in zip(reach, spacing_mm, strict=True))
    within = np.sqrt((x[:, None, None] + y[:, None]) + z) <= tolerance_mm
    counts = within[:, 0, 0].sum(), within[0, :, 0].sum(), within[0, 0].sum()
    return within[tuple(slice(count) for count in counts)]


def elements_beyond(surface: Surface, other: Surface, within: np.ndarray) -> np.ndarray:
    """Mark the elements of a surface that have no element of another one within the tolerance.

    The other surface is spread along the rows by 0, 1, 2, ... places; an element is then near it if, in one of the rows
    around, the surface spread as far as the ball reaches there meets it. Nearest rows come first: most elements of a
    good prediction are settled by them and looked up no more.

    Args:
        surface, other: surfaces of two masks of the same shape, made for the reach of `within`.
        within: the table of `steps_within` along the axes of the masks.
    Returns:
        Words like `surface.present`.
    """
    rings = _rings(within)
    planes, margin = surface.present.size // surface.plane_words, (within.shape[0] - 1) * surface.plane_words
    margin += (within.shape[1] - 1) * surface.row_words
    at_once = max(4 * within.shape[0], _SPREAD_BYTES // (8 * surface.plane_words * within.shape[2]))
    beyond = np.zeros_like(surface.present)
    for first in range(0, planes, at_once):
        start, stop = first * surface.plane_words, min(first + at_once, planes) * surface.plane_words
        words = start + np.flatnonzero(surface.present[start:stop])
        if not words.size:
            continue
        spread = _spread(_cut(other.present, start - margin, stop + margin), within.shape[2] - 1)
        left = surface.present[words]
        for ring in rings:
            for plane, row, reach in ring:
                step = margin - start + plane * surface.plane_words + row * surface.row_words
                left &= ~spread[reach][words + step]
            is_open = left != 0
            words, left = words[is_open], left[is_open]
            if not words.size:
                break
        beyond[words] = left
    return beyond


def elements_far(surface: Surface, other: Surface, spacing_mm: Sequence[float], tolerance_mm: float) -> np.ndarray:
    """Mark the same elements as `elements_beyond` by SciPy's distance transform: any reach, slow, much memory.

    Args:
        surface, other: surfaces of two masks of the same shape.
        spacing_mm: voxel edge lengths along the axes of the masks.
        tolerance_mm: >= 0.
    Returns:
        Words like `surface.present`.
    """
    from scipy.ndimage import distance_transform_edt  # here, since almost nobody needs it

    if not other.present.any():
        return surface.present
    shape = (-1, surface.plane_words // surface.row_words, surface.row_words * _WORD_BITS)
    absent = np.unpackbits(~other.present.view(np.uint8), bitorder="little").reshape(shape)
    far = distance_transform_edt(absent, sampling=[float(edge) for edge in spacing_mm]) > tolerance_mm
    return surface.present & np.packbits(far.ravel(), bitorder="little").view(_WORD)


def _rings(within: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """List the rows of a ball as (step along planes, step along rows, reach in the row), nearest first."""
    reaches = within.sum(axis=2)
    rings = [[] for _ in range(max(within.shape[:2]))]
    for plane, row in np.argwhere(reaches):
        ring = rings[max(plane, row)]
        ring += [(p, r, reaches[plane, row] - 1) for p in {plane, -plane} for r in {row, -row}]
    return [ring for ring in rings if ring]


def _spread(present: np.ndarray, reach: int) -> list[np.ndarray]:
    """Return flat bits spread by 0, 1, ... `reach` places in both directions."""
    spread = [present]
    for _ in range(reach):
        spread.append(spread[-1] | _moved_down(spread[-1]) | _moved_up(spread[-1]))
    return spread


def _moved_down(words: np.ndarray) -> np.ndarray:
    """Move flat bits by one place toward the start."""
    moved = words >> 1
    moved[:-1] |= words[1:] << 63
    return moved


def _moved_up(words: np.ndarray) -> np.ndarray:
    """Move flat bits by one place toward the end."""
    moved = words << 1
    moved[1:] |= words[:-1] >> 63
    return moved


def _cut(words: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return words from start to stop, empty ones where these lie outside."""
    inside = words[max(start, 0) : stop]
    return np.concatenate([np.zeros(max(-start, 0), _WORD), inside, np.zeros(max(stop - words.size, 0), _WORD)])


def _marked(words: np.ndarray) -> np.ndarray:
    """Return the places of the bits that are set, ascending."""
    filled = np.flatnonzero(words)
    bits = np.flatnonzero(np.unpackbits(words[filled].view(np.uint8), bitorder="little"))
    return filled[bits // _WORD_BITS] * _WORD_BITS + bits % _WORD_BITS
