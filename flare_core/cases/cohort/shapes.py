"""Describe bodies by implicit functions: negative inside, about millimeters from the surface.

Every function takes a `Space` (canonical coordinates of a box of voxels) and returns a float32 array of its shape.
An empty box gives an empty array.

Reference:
    Quilez, I., distance functions (the ellipsoid's bound and the polynomial smooth minimum): iquilezles.org/articles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flare_core.cases.cohort.space import Space

Field = Callable[[Space], np.ndarray]
FAR_MM = np.float32(60.0)


def rotation(direction: tuple[float, float, float], roll: float = 0.0) -> np.ndarray:
    """Return rows (u, v, w) of an orthonormal frame, w along `direction`; `roll` turns u and v (radians)."""
    w = np.asarray(direction, float)
    w = w / np.linalg.norm(w)
    start = np.array([1.0, 0.0, 0.0]) if abs(w[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    u = start - w * (start @ w)
    u /= np.linalg.norm(u)
    v = np.cross(w, u)
    return np.stack([np.cos(roll) * u + np.sin(roll) * v, np.cos(roll) * v - np.sin(roll) * u, w])


def ellipsoid(center, radii, frame: np.ndarray | None = None) -> Field:
    """Return an ellipsoid around `center` with `radii` in mm along the rows of `frame` (default: the axes)."""

    def field(space: Space) -> np.ndarray:
        x, y, z = (part - np.float32(c) for part, c in zip((space.x, space.y, space.z), center, strict=True))
        if frame is not None:
            f = frame.astype(np.float32)
            x, y, z = (f[i, 0] * x + f[i, 1] * y + f[i, 2] * z for i in range(3))
        rx, ry, rz = (np.float32(r) for r in radii)
        x, y, z = x / rx, y / ry, z / rz
        near = np.sqrt(x * x + y * y + z * z)
        x, y, z = x / rx, y / ry, z / rz
        slope = np.sqrt(x * x + y * y + z * z)
        return near * (near - 1) / np.maximum(slope, 1e-6)

    return field


def smooth_path(nodes, steps: int = 3) -> np.ndarray:
    """Return a Catmull-Rom curve through `nodes` (N, columns), `steps` points a piece; needs at least two nodes."""
    nodes = np.asarray(nodes, float)
    padded = np.vstack([2 * nodes[0] - nodes[1], nodes, 2 * nodes[-1] - nodes[-2]])
    t = (np.arange(steps) / steps)[:, None]
    pieces = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.vstack([*pieces, nodes[-1:]])


def tube(path: np.ndarray, flatten: float = 1.0) -> Field:
    """Return a bent tube along `path`.

    Args:
        path: shape (N, 4), N >= 2: x, y, z and radius in mm.
        flatten: thickness along y relative to x and z (0.6 for a flat vein).
    """
    path = np.asarray(path, float)

    def field(space: Space) -> np.ndarray:
        result = np.full(space.shape, FAR_MM)
        if result.size == 0:
            return result
        for i, box in space.boxes_along(path):
            part = _capsule(space.crop(box), path[i], path[i + 1], flatten)
            np.minimum(result[box], part, out=result[box])
        return result

    return field


def _capsule(space: Space, start: np.ndarray, end: np.ndarray, flatten: float) -> np.ndarray:
    """One piece of a tube, its radius going linearly from one end to the other."""
    squash = np.array([1.0, 1.0 / flatten, 1.0])
    along = ((end[:3] - start[:3]) * squash).astype(np.float32)
    x = space.x - np.float32(start[0])
    y = (space.y - np.float32(start[1])) * np.float32(squash[1])
    z = space.z - np.float32(start[2])
    t = np.clip((x * along[0] + y * along[1] + z * along[2]) / max(float(along @ along), 1e-6), 0, 1)
    x, y, z = x - t * along[0], y - t * along[1], z - t * along[2]
    return np.sqrt(x * x + y * y + z * z) - (np.float32(start[3]) + t * np.float32(end[3] - start[3]))


def blob_path(path: np.ndarray, lumps_mm: float = 0.0, grain_mm: float = 0.0, flatten: float = 1.0) -> Field:
    """Return a tube whose surface is roughened by the patient's random fields (amplitudes in mm)."""
    smooth = tube(path, flatten)
    return lambda space: smooth(space) + np.float32(lumps_mm) * space.lumps + np.float32(grain_mm) * space.grain


def soft_max(a: np.ndarray, b: np.ndarray, rounding_mm: float) -> np.ndarray:
    """Return the intersection of two bodies with edges rounded over `rounding_mm`."""
    blend = np.maximum(rounding_mm - np.abs(a - b), 0)
    return np.maximum(a, b) + blend * blend * np.float32(0.25 / rounding_mm)


def soft_min(a: np.ndarray, b: np.ndarray, rounding_mm: float) -> np.ndarray:
    """Return the union of two bodies with the groove between them filled over `rounding_mm`."""
    return -soft_max(-a, -b, rounding_mm)


def under_dome(wall_gap_mm: float, dome_gap_mm: float, rounding_mm: float) -> Field:
    """Return the room inside the wall and below the diaphragm, less a gap to each."""
    wall_gap, dome_gap = np.float32(wall_gap_mm), np.float32(dome_gap_mm)
    return lambda space: soft_max(space.wall + wall_gap, space.dome + dome_gap, rounding_mm)


def union(*fields: Field) -> Field:
    """Return the union of bodies with sharp grooves."""

    def field(space: Space) -> np.ndarray:
        result = fields[0](space)
        for other in fields[1:]:
            result = np.minimum(result, other(space))
        return result

    return field
