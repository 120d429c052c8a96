"""Place the grid of a scan in the patient: canonical coordinates, trunk wall and diaphragm at every voxel.

Anatomy is written once, in canonical millimeters: x to the right, y to the front, z to the head, the origin in the
middle of the first lumbar vertebral body. A patient is a scaled and smoothly warped copy; `Space` holds, for each voxel
of a box, its canonical coordinates and how far it lies outside the body cavity and above the diaphragm. Shapes read
nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from flare_core.cases.cohort.fields import SplineField

Box = tuple[slice, slice, slice]
Axes = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Warp:
    """The map from scanner millimeters to canonical ones: canonical = (position + bend(position)) / scale.

    Attributes:
        scale: size of the patient along x, y, z relative to the canonical adult.
        bend: displacement field of three channels in mm.
    """

    scale: np.ndarray
    bend: SplineField
    _known: dict[bytes, np.ndarray] = field(default_factory=dict, repr=False)

    def on_grid(self, axes_mm: Axes) -> np.ndarray:
        """Return canonical coordinates, float32 of shape (3, X, Y, Z)."""
        moved = self.bend.on_grid(axes_mm)
        for axis in range(3):
            shape = [1, 1, 1]
            shape[axis] = -1
            moved[axis] += axes_mm[axis].astype(np.float32).reshape(shape)
            moved[axis] /= np.float32(self.scale[axis])
        return moved

    def to_scanner(self, canonical_mm: np.ndarray) -> np.ndarray:
        """Return the scanner position of canonical points, shape (N, 3), to within about 1 mm (fixed point)."""
        goal = np.asarray(canonical_mm, float) * self.scale
        key = goal.tobytes()
        if key not in self._known:  # the same tubes are asked for at calibration and at painting
            place = goal
            for _ in range(3):
                place = goal - self.bend.at_points(place)
            self._known[key] = place
        return self._known[key]


@dataclass(frozen=True, eq=False)
class Space:
    """What the anatomy may know about the voxels of one box.

    Attributes:
        axes_mm: scanner positions of the voxel centers along X, Y, Z.
        warp: the patient's warp.
        x, y, z: canonical coordinates in mm, float32 arrays of the box's shape.
        wall: distance in mm outside the wall of the trunk's cavity, negative inside.
        dome: height in mm above the diaphragm, negative in the abdomen.
        lumps: smooth random field of standard deviation 1 and about 25 mm grain.
        grain: the same with about 9 mm grain.
    """

    axes_mm: Axes
    warp: Warp
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    wall: np.ndarray
    dome: np.ndarray
    lumps: np.ndarray
    grain: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along X, Y, Z."""
        return self.x.shape

    def box_around(self, points: np.ndarray, reach_mm: float) -> Box:
        """Return the index box that holds everything within `reach_mm` of canonical points (N, 3); may be empty."""
        places = self.warp.to_scanner(points)
        low, high = places.min(0) - reach_mm, places.max(0) + reach_mm
        return tuple(slice(*np.searchsorted(axis, (low[i], high[i]))) for i, axis in enumerate(self.axes_mm))

    def boxes_along(self, path: np.ndarray, margin_mm: float = 12.0) -> Iterator[tuple[int, Box]]:
        """Yield the number and the index box of each piece of a tube that meets the grid.

        Args:
            path: canonical points and radii, shape (N, 4).
            margin_mm: how far outside the tube its distance must be right.
        """
        places = self.warp.to_scanner(path[:, :3])
        reach = np.maximum(path[:-1, 3], path[1:, 3])[:, None] + margin_mm
        low = np.minimum(places[:-1], places[1:]) - reach
        high = np.maximum(places[:-1], places[1:]) + reach
        starts = np.stack([np.searchsorted(axis, low[:, i]) for i, axis in enumerate(self.axes_mm)], axis=1)
        stops = np.stack([np.searchsorted(axis, high[:, i]) for i, axis in enumerate(self.axes_mm)], axis=1)
        for i in np.flatnonzero((stops > starts).all(1)):
            yield int(i), tuple(slice(a, b) for a, b in zip(starts[i], stops[i], strict=True))

    def crop(self, box: Box) -> Space:
        """Return a view of one index box."""
        parts = {name: getattr(self, name)[box] for name in ("x", "y", "z", "wall", "dome", "lumps", "grain")}
        return Space(tuple(axis[part] for axis, part in zip(self.axes_mm, box, strict=True)), self.warp, **parts)


def is_empty(box: Box) -> bool:
    """Say whether an index box holds no voxel."""
    return any(part.stop <= part.start for part in box)
